"""Where each dataset is found, and that nothing damaged, mislabelled or incomplete is ever used."""

import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from mnist_core.data.datasets import ARCHIVE_KEYS, FILES, load
from mnist_core.data.download import MNIST, Published, Release
from mnist_core.data.idx import content_sha256, write_idx
from mnist_core.data.split import Dataset, Split, hold_out
from mnist_core.data.synthetic import draw
from mnist_core.errors import InputError, UsageError

ARRAYS = (*draw(60, seed=0), *draw(20, seed=1))
# Nobody listens on port 9 (discard) of a machine of today, so each request is refused at once.
OFFLINE = ("http://127.0.0.1:9/",)


def published() -> tuple[Published, ...]:
    headers = {1: 8, 3: 16}
    return tuple(
        Published(name, content_sha256(array), headers[array.ndim] + array.size)
        for name, array in zip(FILES, ARRAYS, strict=True)
    )


SMALL_MNIST = Release(published(), OFFLINE)


def write_files(folder: Path, arrays=ARRAYS, names=FILES, ending: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        write_idx(folder / (name + ending), array)
    return folder


def write_archive(path: Path, arrays=ARRAYS, **changes: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{**dict(zip(ARCHIVE_KEYS, arrays, strict=True)), **changes})
    return path


def arrays_of(dataset: Dataset) -> tuple[np.ndarray, ...]:
    return dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels


def assert_holds(dataset: Dataset, arrays=ARRAYS) -> None:
    for found, expected in zip(arrays_of(dataset), arrays, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """An empty home and working folder."""
    monkeypatch.delenv("MNIST_CORE_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mirror(tmp_path):
    """A server of the four files; it lists the names that it was asked for."""
    folder = write_files(tmp_path / "mirror", ending=".gz")
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            requests.append(Path(self.path).stem)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Release(published(), (f"http://127.0.0.1:{server.server_port}/",)), requests
        server.shutdown()
        thread.join()


# Where MNIST is found


@pytest.mark.parametrize("name", ["mnist", "auto"])
@pytest.mark.parametrize("form", ["raw", "gz", "npz"])
def test_the_named_folder_may_hold_any_form(tmp_path, name, form):
    if form == "npz":
        write_archive(tmp_path / "here" / "mnist.npz")
    else:
        write_files(tmp_path / "here", ending=".gz" if form == "gz" else "")
    dataset = load(name, tmp_path / "here", release=SMALL_MNIST)
    assert dataset.name == "mnist"
    assert_holds(dataset)


@pytest.mark.parametrize("place", ["cache/mnist_core", "keras/datasets", "data/MNIST/raw"])
@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_the_usual_places_are_searched(home, name, place):
    if place.startswith("keras"):
        write_archive(home / place / "mnist.npz")
    else:
        write_files(home / place)
    assert_holds(load(name, release=SMALL_MNIST))


def test_the_flag_wins_over_the_environment_which_wins_over_the_caches(home, monkeypatch):
    others = [tuple(array[::step] for array in ARRAYS) for step in (2, 3)]
    write_files(home / "flag")
    write_files(home / "environment", others[0])
    write_files(home / "cache" / "mnist_core", others[1])
    monkeypatch.setenv("MNIST_CORE_DATA_DIR", str(home / "environment"))
    assert_holds(load("mnist", home / "flag", release=SMALL_MNIST))
    with pytest.raises(InputError, match="environment"):
        load("mnist", release=SMALL_MNIST)


@pytest.mark.parametrize("name", ["mnist", "auto"])
@pytest.mark.parametrize("by_flag", [True, False], ids=["flag", "environment"])
def test_a_named_folder_without_the_files_is_an_error_not_a_reason_to_look_elsewhere(
    home, monkeypatch, name, by_flag
):
    write_files(home / "cache" / "mnist_core")
    folder = write_files(home / "half", ARRAYS[:2], FILES[:2])
    for path, missing in ((folder, FILES[2:]), (home / "absent", ["no such folder"])):
        monkeypatch.setenv("MNIST_CORE_DATA_DIR", str(home / "cache" / "mnist_core" if by_flag else path))
        with pytest.raises(InputError) as raised:
            load(name, path if by_flag else None, release=SMALL_MNIST)
        for part in (str(path), *missing):
            assert part in str(raised.value)


def test_mapped_files_are_not_read_into_memory(tmp_path):
    write_files(tmp_path / "here")
    dataset = load("mnist", tmp_path / "here", mmap=True, release=SMALL_MNIST)
    assert all(isinstance(array, np.memmap) for array in arrays_of(dataset))
    assert_holds(dataset)


# What is not MNIST


@pytest.mark.parametrize("name", ["mnist", "auto"])
@pytest.mark.parametrize("place", ["here", "keras/datasets", "data/MNIST/raw"])
@pytest.mark.parametrize("form", ["idx", "npz"])
def test_wrong_content_is_named_with_both_hashes(home, name, place, form):
    changed = ARRAYS[2].copy()
    changed[7, 14, 14] ^= 1
    arrays = (*ARRAYS[:2], changed, ARRAYS[3])
    write_archive(home / place / "mnist.npz", arrays) if form == "npz" else write_files(home / place, arrays)
    with pytest.raises(InputError) as raised:
        load(name, "here" if place == "here" else None, release=SMALL_MNIST)
    wrong = f"{place}/mnist.npz[x_test]" if form == "npz" else f"{place}/{FILES[2]}"
    for part in (wrong, content_sha256(changed), SMALL_MNIST.files[2].sha256):
        assert part in str(raised.value)


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_another_dataset_in_mnists_file_names_is_not_mnist(tmp_path, name):
    write_files(tmp_path / "here")
    with pytest.raises(InputError, match=MNIST.files[0].sha256):
        load(name, tmp_path / "here")


# Downloads


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_mnist_is_downloaded_once_into_the_cache(home, mirror, name):
    release, requests = mirror
    for _ in range(2):
        assert_holds(load(name, release=release))
    assert requests == list(FILES)
    assert sorted(path.name for path in (home / "cache" / "mnist_core").iterdir()) == sorted(FILES)


def test_only_what_the_cache_lacks_is_downloaded(home, mirror):
    release, requests = mirror
    write_files(home / "cache" / "mnist_core", ARRAYS[:3], FILES[:3])
    assert_holds(load("mnist", release=release))
    assert requests == [FILES[3]]


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_damaged_file_in_the_cache_is_named_and_downloaded_again(home, mirror, capsys, name):
    release, requests = mirror
    damage(write_files(home / "cache" / "mnist_core") / FILES[1])
    assert_holds(load(name, release=release))
    assert requests == [FILES[1]]
    assert FILES[1] in capsys.readouterr().err


def test_a_damaged_cache_is_never_replaced_by_a_stand_in(home):
    damage(write_files(home / "cache" / "mnist_core") / FILES[0])
    with pytest.raises(InputError, match="could not be downloaded"):
        load("auto", release=SMALL_MNIST)


def test_offline_auto_gives_digits_with_one_line_of_warning(capsys):
    dataset = load("auto", release=SMALL_MNIST)
    assert dataset.name == "digits"
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    for part in ("warning", "'digits'", "127.0.0.1:9", "--data-dir"):
        assert part in output.err


def test_offline_mnist_is_an_error(home):
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9"):
        load("mnist", release=SMALL_MNIST)
    assert list((home / "cache" / "mnist_core").iterdir()) == []


# Folders and archives by path


def test_a_folder_of_idx_files_is_a_dataset_of_its_name(tmp_path):
    dataset = load(str(write_files(tmp_path / "fashion", ending=".gz")))
    assert dataset.name == "fashion"
    assert_holds(dataset)


def test_a_folder_is_not_taken_for_the_dataset_that_it_is_called_after(tmp_path):
    folder = str(write_files(tmp_path / "mnist"))
    assert load(folder).name == folder


def test_the_spelling_with_a_dot_is_known(tmp_path):
    write_files(tmp_path / "kaggle", names=[name.replace("-idx", ".idx") for name in FILES])
    assert_holds(load(str(tmp_path / "kaggle")))


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_emnist_images_are_turned_upright(tmp_path, ending, mmap):
    stored = [array.transpose(0, 2, 1) if array.ndim == 3 else array for array in ARRAYS]
    parts = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")
    names = [f"emnist-digits-{part}-ubyte" for part in parts]
    assert_holds(load(str(write_files(tmp_path / "emnist", stored, names, ending)), mmap=mmap))


def test_an_archive_is_a_dataset_of_its_name(tmp_path):
    dataset = load(str(write_archive(tmp_path / "kuzushiji.npz")))
    assert dataset.name == "kuzushiji.npz"
    assert_holds(dataset)


def test_an_archives_labels_may_be_wider_integers(tmp_path):
    path = write_archive(tmp_path / "wide.npz", y_train=ARRAYS[1].astype(np.int64))
    assert_holds(load(str(path)))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"x_train": ARRAYS[0][:-1]}, "59"),
        ({"y_test": ARRAYS[3][:-1]}, "19"),
        ({"y_train": ARRAYS[1] + 1}, "1 to 10"),
        ({"y_train": ARRAYS[1].astype(int) - 1}, "-1 to 8"),
        ({"y_train": ARRAYS[1].astype(float)}, "float64"),
        ({"y_train": ARRAYS[0]}, "28"),
        ({"x_train": ARRAYS[0][:, 1:]}, "27"),
        ({"x_train": ARRAYS[0] / 255}, "float64"),
        ({"x_train": ARRAYS[0].reshape(60, -1)}, "784"),
        ({"x_test": ARRAYS[2][:0], "y_test": ARRAYS[3][:0]}, "no image"),
        ({"x_test": np.array([{}])}, "allow_pickle"),
    ],
)
def test_unfit_arrays_are_refused_by_file_and_figure(tmp_path, changes, found):
    path = write_archive(tmp_path / "unfit.npz", **changes)
    with pytest.raises(InputError) as raised:
        load(str(path))
    assert str(path) in str(raised.value)
    assert found in str(raised.value)


def test_mismatched_idx_files_are_refused_by_name(tmp_path):
    folder = write_files(tmp_path / "swapped", (ARRAYS[0], ARRAYS[3], ARRAYS[2], ARRAYS[1]))
    with pytest.raises(InputError, match=f"{FILES[1]}.*20.*60"):
        load(str(folder))


def test_an_archive_without_keras_keys_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", images=ARRAYS[0])
    with pytest.raises(InputError, match="x_train"):
        load(str(tmp_path / "other.npz"))


def test_a_damaged_archive_is_refused_or_still_holds_the_same(tmp_path):
    whole = write_archive(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "damaged.npz"
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole[: random.integers(len(whole))] if random.random() < 0.3 else whole)
        if content:
            content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)
        try:
            assert_holds(load(str(path)))
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("name", ["minst", "no/such/folder", "gone.npz"])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(InputError, match=rf"^{name}: .*mnist, digits, synthetic, auto"):
        load(name)


# What needs no file


def test_digits_are_in_mnists_frame():
    dataset = load("digits")
    assert dataset.name == "digits"
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    images = np.concatenate([dataset.train.images, dataset.test.images])
    assert images.dtype == dataset.train.labels.dtype == np.uint8
    assert images.shape == (1797, 28, 28)
    assert set(np.unique(dataset.test.labels)) == set(range(10))
    heights = (images > 0).any(axis=2).sum(axis=1)
    assert heights.max() <= 20
    mass = images.sum(axis=(1, 2), dtype=float)
    for axis in (1, 2):
        centres = images.sum(axis=3 - axis) @ np.arange(28) / mass
        assert abs(centres - 14).max() < 1


def test_synthetic_has_a_test_set_of_its_own():
    dataset = load("synthetic")
    assert dataset.name == "synthetic"
    assert (len(dataset.train), len(dataset.test)) == (6000, 1000)
    both = np.concatenate([dataset.train.images, dataset.test.images]).reshape(7000, -1)
    assert len(np.unique(both, axis=0)) == 7000


# The validation split


@pytest.mark.parametrize("size", [0, 1, 59])
def test_hold_out_cuts_views_off_the_end(size):
    train = Split(*ARRAYS[:2])
    training, validation = hold_out(train, size)
    assert (len(training), len(validation)) == (60 - size, size)
    np.testing.assert_array_equal(np.concatenate([training.images, validation.images]), train.images)
    np.testing.assert_array_equal(np.concatenate([training.labels, validation.labels]), train.labels)
    assert np.shares_memory(training.images, train.images)
    assert not size or np.shares_memory(validation.images, train.images)


@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("count", [400, 3000])
def test_a_sorted_file_gives_a_warning_that_validation_lacks_digits(count, is_sorted, capsys):
    labels = np.random.default_rng(0).integers(0, 10, count).astype(np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    hold_out(Split(images, np.sort(labels) if is_sorted else labels), None)
    lacking = (
        f"the last {count // 12} images, which validate, have no 0, 1, 2, 3, 4, 5, 6, 7, 8; shuffle the data"
    )
    assert capsys.readouterr().err.splitlines() == [f"warning: {lacking}"] * is_sorted


@pytest.mark.parametrize("size", [60, 61, -1])
def test_hold_out_leaves_at_least_one_training_image(size):
    with pytest.raises(UsageError, match=f"--validation-size.*59.*{size}"):
        hold_out(Split(*ARRAYS[:2]), size)


# The real files


@pytest.fixture(scope="module")
def mnist(mnist_dir) -> Dataset:
    return load("mnist", mnist_dir)


@pytest.mark.mnist
def test_real_mnist_has_its_shapes_counts_and_content(mnist):
    assert mnist.name == "mnist"
    assert mnist.train.images.shape == (60_000, 28, 28)
    assert mnist.test.images.shape == (10_000, 28, 28)
    # As in the table of LeCun et al.'s page: how often each digit occurs.
    assert np.bincount(mnist.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    for array, file in zip(arrays_of(mnist), MNIST.files, strict=True):
        assert content_sha256(array) == file.sha256


@pytest.mark.mnist
@pytest.mark.parametrize("form", ["raw", "mapped", "npz"])
def test_real_mnist_is_the_same_in_every_form(tmp_path, mnist, form):
    arrays = arrays_of(mnist)
    if form == "npz":
        np.savez(tmp_path / "mnist.npz", **dict(zip(ARCHIVE_KEYS, arrays, strict=True)))
    else:
        write_files(tmp_path, arrays)
    assert_holds(load("mnist", tmp_path, mmap=form == "mapped"), arrays)
