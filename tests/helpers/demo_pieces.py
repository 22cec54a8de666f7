"""Pieces of the embedded sets, read by one test process for all: their scores take 9 CPU s to read."""

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

from filelock import FileLock

from datamodules.demo import music


def share_pieces(folder: Path) -> None:
    """Make the functions of `datamodules.demo.music` store their pieces in a folder of all test processes."""
    for name in ("chorales", "fiddle_tunes"):
        setattr(music, name, _shared(getattr(music, name), folder / f"{name}.pickle"))


def _shared(read: Callable[[], tuple[music.DemoPiece, ...]], path: Path) -> Callable[[], tuple[music.DemoPiece, ...]]:
    @cache
    def pieces() -> tuple[music.DemoPiece, ...]:
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                path.write_bytes(pickle.dumps(read()))
            return pickle.loads(path.read_bytes())

    return pieces
