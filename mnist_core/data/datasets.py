"""Finds, verifies and reads the images: MNIST, what stands in for it, and files in its formats."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnist_core.data.download import MNIST, Patience, Release, fetch
from mnist_core.data.idx import content_sha256, read_idx
from mnist_core.data.split import SIDE, Dataset, Split, check, hold_out
from mnist_core.data.synthetic import draw
from mnist_core.errors import InputError, warn
from mnist_core.files import expanded

DATA_DIR_VARIABLE = "MNIST_CORE_DATA_DIR"
NAMES = ("mnist", "digits", "synthetic")
DIGITS_TEST_COUNT = 360
SYNTHETIC_COUNTS = (6000, 1000)

# The four files, and the four arrays of an archive, in the order of a `_Part` list.
FILES = tuple(file.name for file in MNIST.files)
EMNIST_FILES = tuple("emnist-digits-" + name.replace("t10k", "test") for name in FILES)
ARCHIVE = "mnist.npz"
ARCHIVE_KEYS = ("x_train", "y_train", "x_test", "y_test")


class _Part(NamedTuple):
    where: str
    array: np.ndarray


def load(
    name: str, data_dir: str | Path | None = None, *, mmap: bool = False, release: Release = MNIST
) -> Dataset:
    """Loads a dataset by name.

    MNIST is read from ``data_dir``, else from the folder that MNIST_CORE_DATA_DIR names. Where neither is
    given it is looked for in the caches of this project, Keras and torchvision, then downloaded.

    Args:
      name: ``mnist``, ``digits``, ``synthetic``, ``auto``, a folder of four IDX files or an ``.npz``.
      data_dir: Folder of the MNIST files; the other datasets don't heed it.
      mmap: Map raw IDX files instead of reading them into memory.
      release: What counts as MNIST.

    Raises:
      InputError: a file is missing, corrupt or not what it should be, or can't be downloaded.
    """
    if name in ("mnist", "auto"):
        return _load_mnist(data_dir, mmap, release, or_digits=name == "auto")
    if name == "digits":
        return _load_digits()
    if name == "synthetic":
        return Dataset(name, *(Split(*draw(count, seed)) for seed, count in enumerate(SYNTHETIC_COUNTS)))
    path = expanded(name)
    if not _exists(path):
        raise InputError(
            f"{name}: no such dataset, folder or file; --dataset takes mnist, digits, synthetic, auto, "
            "a folder of four IDX files or an .npz"
        )
    if not path.is_dir():
        return _dataset(_own_name(path), _read_archive(path))
    emnist = any(_find(path, file) for file in EMNIST_FILES) and not any(_find(path, file) for file in FILES)
    parts = _read_files(path, EMNIST_FILES if emnist else FILES, mmap)
    # EMNIST stores its images column by column.
    return _dataset(_own_name(path), parts, transposed=emnist)


def _own_name(path: Path) -> str:
    """The last part of a path, unless that is the name of another dataset."""
    name = path.resolve().name
    return str(path) if name in NAMES else name


def _load_mnist(data_dir: str | Path | None, mmap: bool, release: Release, *, or_digits: bool) -> Dataset:
    named = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if named:
        return _read_mnist(expanded(named), mmap, release)
    cache = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mnist_core"
    keras = expanded(os.environ.get("KERAS_HOME") or "~/.keras") / "datasets"
    # torchvision has no cache of its own; its examples download to here.
    for folder in (cache, keras, Path("data/MNIST/raw")):
        if all(_find(folder, name) for name in FILES) or _exists(folder / ARCHIVE):
            try:
                return _read_mnist(folder, mmap, release)
            except InputError as error:
                if folder != cache:
                    raise
                warn(f"warning: {error}; looking further")
                # A damaged file is worth an error, not a stand-in.
                or_digits = False
    try:
        return _download_mnist(cache, mmap, release)
    except InputError as error:
        if not or_digits:
            raise
        stand_in = "dataset 'digits' (1,797 small digits) stands in for MNIST"
        warn(f"warning: {stand_in}: {error}")
        return _load_digits()


def _read_mnist(folder: Path, mmap: bool, release: Release) -> Dataset:
    packed = _exists(folder / ARCHIVE) and not all(_find(folder, name) for name in FILES)
    parts = _read_archive(folder / ARCHIVE) if packed else _read_files(folder, FILES, mmap)
    dataset = _dataset("mnist", parts)
    arrays = [array for split in (dataset.train, dataset.test) for array in (split.images, split.labels)]
    for part, array, file in zip(parts, arrays, release.files, strict=True):
        found = content_sha256(array)
        if found != file.sha256:
            raise InputError(
                f"{part.where}: not MNIST's {file.name}: sha256 {found} unpacked, {file.sha256} expected; "
                "replace or delete it, or name another folder with --data-dir"
            )
    return dataset


def _download_mnist(folder: Path, mmap: bool, release: Release) -> Dataset:
    patience = Patience()
    for file in release.files:
        try:
            right = content_sha256(read_idx(folder / file.name)) == file.sha256
        except InputError:
            right = False
        if not right:
            fetch(file.name, file.sha256, folder, release.mirrors, size=file.size, patience=patience)
    return _read_mnist(folder, mmap, release)


def _load_digits() -> Dataset:
    """scikit-learn's digits in MNIST's frame: 20 pixels high, the centre of mass in the middle."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    bundled = load_digits()
    # They are 8 pixels high, in levels of 0 to 16.
    boxes = zoom(bundled.images, (1, 2.5, 2.5), order=3, mode="grid-constant", grid_mode=True)
    boxes = np.rint(boxes.clip(0, 16) * (255 / 16)).astype(np.uint8)
    side, room = boxes.shape[1], SIDE - boxes.shape[1]
    images = np.zeros((len(boxes), SIDE, SIDE), np.uint8)
    for image, box in zip(images, boxes, strict=True):
        masses = np.stack([box.sum(axis=1), box.sum(axis=0)])
        top, left = np.rint(SIDE / 2 - masses @ np.arange(side) / box.sum()).clip(0, room).astype(int)
        image[top : top + side, left : left + side] = box
    digits = Split(images, bundled.target.astype(np.uint8))
    return Dataset("digits", *hold_out(digits, DIGITS_TEST_COUNT))


def _read_files(folder: Path, names: Sequence[str], mmap: bool) -> list[_Part]:
    paths = [_find(folder, name) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        entered = os.access(folder, os.X_OK)
        found = f"lacks {', '.join(missing)}" if entered else "no such folder, or no permission to enter it"
        raise InputError(f"{folder}: {found}; name a folder of the four IDX files, each raw or with .gz")
    return [_Part(str(path), read_idx(path, mmap=mmap)) for path in paths if path]


def _read_archive(path: Path) -> list[_Part]:
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            return [_Part(f"{path}[{key}]", np.asarray(archive[key])) for key in ARCHIVE_KEYS]
    except KeyError as error:
        reason = str(error.args[0])
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:
        # What zipfile, zlib and numpy's parser raise for damaged files is not one family.
        reason = f"not a readable .npz ({str(error) or type(error).__name__})"
    raise InputError(f"{path}: {reason}; an .npz with {', '.join(ARCHIVE_KEYS)} is needed")


def _dataset(name: str, parts: Sequence[_Part], *, transposed: bool = False) -> Dataset:
    return Dataset(name, _split(*parts[:2], transposed), _split(*parts[2:], transposed))


def _split(images: _Part, labels: _Part, transposed: bool) -> Split:
    """Checks that the arrays are images and their labels."""
    (where, pixels), (labels_where, classes) = images, labels
    check(pixels, classes, (where, labels_where))
    if not len(pixels):
        raise InputError(f"{where}: holds no image; name other data")
    if transposed:
        pixels = pixels.swapaxes(1, 2)
        pixels = pixels if isinstance(pixels, np.memmap) else np.ascontiguousarray(pixels)
    return Split(pixels, classes)


def _find(folder: Path, name: str) -> Path | None:
    """The file, raw or compressed, in its original spelling or with the dot that some unpackers make."""
    dotted = name.replace("-idx", ".idx")
    paths = (folder / spelling for spelling in (name, f"{name}.gz", dotted, f"{dotted}.gz"))
    return next(filter(_exists, paths), None)


def _exists(path: Path) -> bool:
    # Path.exists raises where a folder on the way can't be entered.
    return os.access(path, os.F_OK)
