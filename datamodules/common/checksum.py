"""CRC-32 checksums of cached files: a trailer of 12 bytes per file, or a table per folder; checked once per process.

zlib's CRC-32 is faster than disks (2 GiB/s per core) and releases the interpreter lock. Every process checks the files that
it is about to use, so that it never maps a file that another process replaces.
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datamodules.common.progress import progress
from datamodules.common.workers import cores

log = logging.getLogger(__name__)

MARK = b"crc-32: "
TRAILER = len(MARK) + 4
BLOCK = 1 << 20
LARGE = 2 << 30
"""Bytes above which checking shows progress."""

TABLE = "checksums.json"
"""Sizes and checksums of all other files of a folder."""

_checked: dict[str, tuple[int, int]] = {}
"""Size and time of change of files that this process has checked."""


def trailer(path: Path) -> bytes:
    """Trailer of a file: a mark and the checksum of its content."""
    return MARK + _crc(path, path.stat().st_size).to_bytes(4, "little")


def damaged(paths: Iterable[Path], title: str = "checking the cache") -> list[Path]:
    """Missing, truncated or corrupt files among files with a trailer; each is checked once per process."""
    paths = list(paths)
    unknown = [path for path in paths if not _known(path)]
    return [path for path, whole in zip(unknown, _each(_is_whole, unknown, title), strict=True) if not whole]


def write_table(folder: Path) -> None:
    """Write `checksums.json` of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = {str(path.relative_to(folder)): [path.stat().st_size, _crc(path, path.stat().st_size)] for path in files}
    (folder / TABLE).write_text(json.dumps(rows, indent=0), encoding="utf-8")


def damaged_by_table(folder: Path) -> list[Path]:
    """Files of a folder that differ from its table; none without a table (folders of earlier versions)."""
    table = folder / TABLE
    if not table.is_file():
        return []
    try:
        rows = {folder / name: (int(size), int(crc)) for name, (size, crc) in json.loads(table.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError):
        return [table]
    unknown = [path for path in rows if not _known(path)]
    faults = _each(lambda path: not _is_as_listed(path, *rows[path]), unknown, f"checking {folder.name}")
    return [path for path, fault in zip(unknown, faults, strict=True) if fault]


def _is_whole(path: Path) -> bool:
    try:
        size = path.stat().st_size - TRAILER
        with path.open("rb") as file:
            if size < 0 or file.seek(size) != size or not (end := file.read()).startswith(MARK):
                return False
        whole = _crc(path, size).to_bytes(4, "little") == end[len(MARK) :]
    except OSError:
        return False
    if whole:
        _remember(path)
    return whole


def _is_as_listed(path: Path, size: int, crc: int) -> bool:
    try:
        whole = path.stat().st_size == size and _crc(path, size) == crc
    except OSError:
        return False
    if whole:
        _remember(path)
    return whole


def _crc(path: Path, size: int) -> int:
    """CRC-32 of the first `size` bytes of a file."""
    value, block = 0, memoryview(bytearray(min(BLOCK, max(size, 1))))
    with path.open("rb", buffering=0) as file:
        while size and (count := file.readinto(block[: min(size, len(block))])):
            value, size = zlib.crc32(block[:count], value), size - count
    return value


def _each(check: Callable[[Path], bool], paths: Sequence[Path], title: str) -> list[bool]:
    """Run a check on each file, in one thread per core."""
    total = sum(path.stat().st_size for path in paths if path.is_file())
    with ThreadPoolExecutor(max(1, min(cores(), len(paths)))) as pool:
        return list(progress(pool.map(check, paths), title, len(paths), "file", disable=total < LARGE))


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _known(path: Path) -> bool:
    try:
        return _checked.get(str(path)) == _stamp(path)
    except OSError:
        return False


def _remember(path: Path) -> None:
    _checked[str(path)] = _stamp(path)
