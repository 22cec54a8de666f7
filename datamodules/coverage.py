"""Where the listed files lie, which of them are there, and which of those do not even open."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datamodules import audio
from datamodules.errors import DataError
from datamodules.pack import Flaw
from datamodules.progress import progress


def locate(root: Path, *ways: tuple[Sequence[str], np.ndarray]) -> tuple[Path, np.ndarray]:
    """A folder under `root` and the paths relative to it of which, of some, most exist; the first where none does.

    ways: (folders to try, paths (files,) str as they would be named there)
    """

    def found(way: tuple[Path, np.ndarray]) -> int:
        folder, paths = way
        return sum((folder / path).is_file() for path in paths[:: max(1, len(paths) // 64)].tolist())

    return max(((root / folder, paths) for folders, paths in ways for folder in folders), key=found)


def sizes(folder: Path, paths: np.ndarray) -> np.ndarray:
    """Bytes of each file (files,), -1 for one that is not there."""
    base = os.fspath(folder) + "/"
    found = np.full(len(paths), -1, np.int64)
    for i, path in enumerate(paths.tolist()):
        try:
            found[i] = os.stat(base + path).st_size  # noqa: PTH116  a Path for each of 240,000 files takes seconds
        except OSError:
            continue
    return found


def check(folder: Path, paths: np.ndarray) -> list[Flaw]:
    """Files that do not even open; without decoding them, for want of a pack."""

    flaws = []
    for path in progress(paths.tolist(), "checking audio", unit="file"):
        try:
            audio.header(folder / path)
        except DataError as error:
            flaws.append(Flaw(path, str(error), False))
    return flaws
