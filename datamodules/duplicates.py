"""Identical recordings in two splits: files by their bytes, packed audio by its samples -> pairs of names.

Few files are read whole: of those with one size, the ends and the middle are compared first.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.pack import Pack

SAMPLE = 1 << 14
"""Bytes, or samples of packed audio, that are compared at three places before a whole recording is."""


class Recording(NamedTuple):
    """One recording of a data set: its name, its split, and where its file lies (None: in a pack alone)."""

    name: str
    split: str
    path: Path | None


def identical_files(recordings: Sequence[Recording]) -> list[str]:
    """One sentence for each set of files of equal bytes that lie in more than one split."""
    paths = [recording.path for recording in recordings]
    keys = [lambda i: _size(paths[i]), lambda i: _digest(_parts(paths[i])), lambda i: _digest(_blocks(paths[i]))]
    return _sentences(recordings, _groups(recordings, keys))


def identical_clips(recordings: Sequence[Recording], pack: Pack, rows: Sequence[int]) -> list[str]:
    """The same by decoded samples of a pack, whatever the files' formats and tags; `rows` (recordings,) of the pack."""

    def excerpts(i: int) -> str:
        length = pack.length(rows[i])
        return _digest(pack.read(rows[i], start, SAMPLE).tobytes() for start in (0, length // 2, max(0, length - SAMPLE)))

    keys = [lambda i: pack.length(rows[i]) or None, excerpts, lambda i: _digest([pack.whole(rows[i]).tobytes()])]
    return _sentences(recordings, _groups(recordings, keys))


def _groups(recordings: Sequence[Recording], keys: Sequence[Callable[[int], Hashable | None]]) -> list[list[int]]:
    """Positions of recordings that agree in all keys, asked one after the other, and lie in more than one split."""
    groups = [list(range(len(recordings)))]
    for key in keys:
        finer: dict[Hashable, list[int]] = defaultdict(list)
        for number, group in enumerate(groups):
            for i in group:
                if (value := key(i)) is not None:
                    finer[number, value].append(i)
        groups = [group for group in finer.values() if len({recordings[i].split for i in group}) > 1]
    return groups


def _sentences(recordings: Sequence[Recording], groups: Iterable[list[int]]) -> list[str]:
    named = [" and ".join(f"{recordings[i].name} ({recordings[i].split})" for i in group) for group in groups]
    return sorted(f"{names} are the same recording" for names in named)


def _size(path: Path) -> int | None:
    """Bytes of a file; None for one that is not there or empty."""
    try:
        return path.stat().st_size or None
    except OSError:
        return None


def _digest(parts: Iterable[bytes]) -> str | None:
    digest = hashlib.sha256()
    try:
        for part in parts:
            digest.update(part)
    except OSError:
        return None
    return digest.hexdigest()


def _parts(path: Path) -> Iterable[bytes]:
    """Beginning, middle and end of a file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for start in np.unique([0, size // 2, max(0, size - SAMPLE)]).tolist():
            file.seek(start, os.SEEK_SET)
            yield file.read(SAMPLE)


def _blocks(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block
