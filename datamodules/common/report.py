"""Reports of `prepare`: counts and lists of files -> report.json, with the first files of each kind in the log."""

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

LOGGED = 10
"""Files of a kind that are named in the log."""


def write_report(
    data: RootedDataModule,
    folder: Path,
    counts: Mapping[str, Any],
    files: Mapping[str, Sequence[str]],
    results: Mapping[str, Any],
    **details: Any,
) -> dict:
    """Write `folder`/report.json and return a summary for the screen.

    Args:
        data: data module
        folder: of the report
        counts: numbers of listed and usable items
        files: paths or sentences by problem, all in the file, the first few in the summary
        results: products of `prepare`
        details: further entries of the file
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
    first = {kind: names[:LOGGED] for kind, names in files.items() if names}
    return summary | {"left_out": left_out.as_json(LOGGED), "first": first, "report": str(path)}


def warn(text: str, sentences: Sequence[object]) -> None:
    """Log `text` with the first of the sentences; `prepare` writes all to report.json."""
    for sentence in sentences[:LOGGED]:
        log.warning(text, printable(str(sentence)))
    if len(sentences) > LOGGED:
        log.warning("... and %d more: `prepare` writes a report of all.", len(sentences) - LOGGED)


# Presence and headers of listed files


def locate(root: Path, *layouts: tuple[Sequence[str], np.ndarray]) -> tuple[Path, np.ndarray]:
    """Choose the folder under `root`, and the paths relative to it, with the most existing files of a sample.

    layouts: (candidate folders, paths (files,) str relative to them); the first candidate is returned if no file exists
    """

    def existing(layout: tuple[Path, np.ndarray]) -> int:
        folder, paths = layout
        return sum((folder / path).is_file() for path in paths[:: max(1, len(paths) // 64)].tolist())

    return max(((root / folder, paths) for folders, paths in layouts for folder in folders), key=existing)


def sizes(folder: Path, paths: np.ndarray) -> np.ndarray:
    """Size of each file (files,) in bytes, -1 for a missing one."""
    base = os.fspath(folder) + "/"
    size = np.full(len(paths), -1, np.int64)
    for i, path in enumerate(paths.tolist()):
        try:
            size[i] = os.stat(base + path).st_size  # noqa: PTH116  a Path for each of 240,000 files takes seconds
        except OSError:
            continue
    return size


def check(folder: Path, paths: np.ndarray) -> list[Flaw]:
    """Files whose header cannot be read; they are not decoded."""
    flaws = []
    for path in progress(paths.tolist(), "checking audio", unit="file"):
        try:
            reading.header(folder / path)
        except DataError as error:
            flaws.append(Flaw(path, str(error), False))
    return flaws


# Identical recordings in two splits

SAMPLE = 1 << 14
"""Bytes, or samples of packed audio, compared at the ends and in the middle before whole recordings are read."""


class Recording(NamedTuple):
    """Recording of a data set."""

    name: str
    split: str
    path: Path | None  # None: in a pack alone


def identical_files(recordings: Sequence[Recording]) -> list[str]:
    """One sentence for each group of identical files in more than one split."""
    paths = [recording.path for recording in recordings]
    keys = [lambda i: _size(paths[i]), lambda i: _digest(_parts(paths[i])), lambda i: _digest(_blocks(paths[i]))]
    return _sentences(recordings, _groups(recordings, keys))


def identical_clips(recordings: Sequence[Recording], pack: Pack, rows: Sequence[int]) -> list[str]:
    """Like `identical_files`, by the decoded samples of a pack; `rows` (recordings,): rows of the pack."""

    def excerpts(i: int) -> str:
        length = pack.length(rows[i])
        return _digest(pack.read(rows[i], start, SAMPLE).tobytes() for start in (0, length // 2, max(0, length - SAMPLE)))

    keys = [lambda i: pack.length(rows[i]) or None, excerpts, lambda i: _digest([pack.whole(rows[i]).tobytes()])]
    return _sentences(recordings, _groups(recordings, keys))


def _groups(recordings: Sequence[Recording], keys: Sequence[Callable[[int], Hashable | None]]) -> list[list[int]]:
    """Groups of recordings, by position, that agree in all keys (evaluated in order) and are in more than one split."""
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
    """Size of a file in bytes; None if it is missing or empty."""
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
