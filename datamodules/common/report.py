"""What `prepare` says of a data set: everything in report.json, the first files of each kind on the screen."""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.audio import reading
from datamodules.audio.pack import Flaw, Pack
from datamodules.common.base import RootedDataModule
from datamodules.common.errors import DataError, printable
from datamodules.common.progress import progress
from datamodules.common.whole import write_json

log = logging.getLogger(__name__)

SHOWN = 10
"""Files of a kind that are named on the screen."""


def write_report(
    data: RootedDataModule,
    folder: Path,
    counts: Mapping[str, Any],
    files: Mapping[str, Sequence[str]],
    results: Mapping[str, Any],
    **details: Any,
) -> dict:
    """Write `folder`/report.json and return what is shown of it.

    counts: how much is listed and `usable`; files: sentences or paths by what is wrong, all of them for the file alone;
    results: what `prepare` made; details: for the file alone.
    """
    files = {kind: [printable(text) for text in texts] for kind, texts in files.items()}
    summary = {
        "data": data.name,
        "root": printable(str(data.find_root())),
        "subset": data.subset,
        **counts,
        **{kind: len(names) for kind, names in files.items()},
        **data.remarks(),
        **results,
    }
    left_out = data.left_out
    path = folder / "report.json"
    write_json(path, summary | {"left_out": left_out.as_json(limit=None), "files": files} | details)
    first = {kind: names[:SHOWN] for kind, names in files.items() if names}
    return summary | {"left_out": left_out.as_json(SHOWN), "first": first, "report": str(path)}


def warn(text: str, sentences: Sequence[object]) -> None:
    """Log `text` with the first of the sentences; `prepare` writes all to report.json."""
    for sentence in sentences[:SHOWN]:
        log.warning(text, printable(str(sentence)))
    if len(sentences) > SHOWN:
        log.warning("... and %d more: the `prepare` verb writes a report of all.", len(sentences) - SHOWN)


# Where the listed files lie, which of them are there, and which of those do not even open.


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
            reading.header(folder / path)
        except DataError as error:
            flaws.append(Flaw(path, str(error), False))
    return flaws


# Identical recordings in two splits: files by their bytes, packed audio by its samples -> pairs of names.
#
# Few files are read whole: of those with one size, the ends and the middle are compared first.

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
