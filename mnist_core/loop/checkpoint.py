"""Checkpoints: one ``.npz`` file each, written whole or not at all, readable without TensorFlow.

A file holds arrays named ``group/000`` and a JSON text ``meta``. The zip container keeps a CRC of every
member, so a file that was cut short or changed on the disk is found out when it is read.
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_core.errors import InputError
from mnist_core.files import atomic_write, sync_folder

FORMAT = 1
CHECKPOINTS = "checkpoints"  # folder in the run directory
BEST = "best.npz"


class Checkpoints:
    """The checkpoints of a run: the newest ``keep``, and the best."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = Path(folder)
        self._keep = keep

    def paths(self) -> list[Path]:
        """The files by step, newest first; the best is not among them."""
        return sorted(self.folder.glob("step-*.npz"), key=_order, reverse=True)

    def save(
        self,
        step: int,
        groups: Mapping[str, Sequence[np.ndarray]],
        meta: Mapping[str, Any],
        best: bool = False,
    ) -> Path:
        """Writes a checkpoint, as ``best.npz`` too where ``best``, and removes the ones that are too old.

        Raises:
          OSError: the disk is full, or the folder can't be written; older checkpoints are as they were.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*.partial"):
            # By a writer that was killed.
            left.unlink()
        path, best_path = self._path(step), self.folder / BEST
        arrays = {
            f"{group}/{i:03d}": value for group, values in groups.items() for i, value in enumerate(values)
        }
        text = json.dumps({**meta, "format": FORMAT, "step": step, "arrays": len(arrays)})
        # best.npz goes first: a run killed in between resumes from the one before, and finds the best again.
        with atomic_write(best_path if best else path) as file:
            np.savez(file, meta=np.array(text), **arrays)
        if best:
            self._link(best_path, path)
        for old in self.paths()[self._keep :]:
            # Later ones may lie there; what was just written stays all the same.
            if old != path:
                old.unlink()
        return path

    def go_back_to(self, step: int, best_step: int | None) -> None:
        """Removes those of later steps, which a run that went back would otherwise be resumed from.

        Args:
          best_step: the best one then; its file becomes the best again, if it is still there.
        """
        for path in self.paths():
            if _order(path) > _order(self._path(step)):
                path.unlink()
        best_path = self.folder / BEST
        # A damaged best.npz doesn't tell its step; the next best takes its place.
        with contextlib.suppress(InputError):
            if best_path.exists() and read_checkpoint(best_path)[1]["step"] > step:
                best_path.unlink()
                if best_step is not None and self._path(best_step).exists():
                    self._link(self._path(best_step), best_path)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.npz"

    def _link(self, path: Path, second: Path) -> None:
        # A second name costs no space, and outlives the first when that grows old.
        temporary = self.folder / f".{second.name}.partial"
        try:
            os.link(path, temporary)
        except OSError:
            with atomic_write(second) as file:
                file.write(path.read_bytes())
        else:
            os.replace(temporary, second)
            sync_folder(self.folder)


def _order(path: Path) -> tuple[int, str]:
    # A step of nine digits comes after all of eight.
    return len(path.name), path.name


def check_origin(path: Path, meta: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Checks that a checkpoint was trained on the data and in the precision of now.

    Args:
      meta: of the checkpoint; what earlier versions did not write is taken to be as now.
      found: ``dataset``, ``labels_crc32`` and ``precision`` of now.

    Raises:
      InputError: something differs.
    """
    was = {name: meta.get(name, value) for name, value in found.items()}
    if was["dataset"] != found["dataset"]:
        # With --dataset auto, MNIST may have been there before and be gone now.
        raise InputError(f"{path}: trained on {was['dataset']}, but {found['dataset']} was found now")
    if was["labels_crc32"] != found["labels_crc32"]:
        raise InputError(
            f"{path}: trained on other images of {found['dataset']}; give the run those of its start, and "
            "its --validation-size"
        )
    if was["precision"] != found["precision"]:
        raise InputError(
            f"{path}: trained in {was['precision']}, which is not the {found['precision']} of this run; "
            f"set --precision {was['precision']}"
        )


def read_checkpoint(path: Path) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]]:
    """Reads ``(groups, meta)`` as given to `Checkpoints.save`, every CRC checked.

    Raises:
      InputError: the file is missing, cut short, corrupt or not one of ours.
    """
    groups: dict[str, list[np.ndarray]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"]))
            names = [name for name in archive.files if name != "meta"]
            for name in names:
                groups.setdefault(name.split("/")[0], []).append(archive[name])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint; name a run that has one") from error
    # A TypeError comes from an .npy, which holds a single array.
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a checkpoint of mnist_core") from error
    # What zipfile, zlib and numpy's parser raise for damaged files is not one family.
    except Exception as error:
        raise InputError(f"{path}: damaged or not a checkpoint ({error})") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of this version of mnist_core")
    # The CRCs don't cover the list of the members.
    if len(set(names)) != meta.get("arrays"):
        raise InputError(f"{path}: damaged (it holds {len(set(names))} arrays, not {meta.get('arrays')})")
    return groups, meta
