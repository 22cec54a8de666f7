"""What is computed once and kept on disk: where it lies, what it is called after, and that one process alone makes it.

Whatever bears its final name is whole: files and folders are made under a temporary name, which a kill leaves behind.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from datamodules.errors import DataError
from datamodules.locks import Lock

log = logging.getLogger(__name__)

POLL_S = 0.1
"""Seconds between two attempts to take a lock that another process holds."""


def cache_root(cache_dir: str | Path | None) -> Path:
    """Where packs, conversions and rendered sets live: the option, else $QUINTET_CACHE, else `.cache` where one works."""
    return Path(cache_dir or os.environ.get("QUINTET_CACHE") or ".cache").expanduser()


def fingerprint(settings: str, files: Iterable[tuple[bytes, bytes]]) -> str:
    """Twelve hex digits that change with the settings and with any file's name, size or time of change.

    files: (name that counts, path where it lies), as bytes: a Path for each of 240,000 files takes seconds.
    """
    digest = hashlib.sha256(f"{settings}\n".encode(errors="surrogateescape"))
    for name, path in files:
        stat = os.stat(path)  # noqa: PTH116
        digest.update(name + f"|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold a lock; wait while another process holds it.

    Args:
        path: lock file
        what: thing that is built, for the sentence about waiting

    Raises:
        DataError: the lock file cannot be written.
    """
    lock, waiting = Lock(path), False
    try:
        while not lock.acquire():
            if not waiting:
                log.warning("Waiting for %s, which builds %s.", lock.owner() or "another process", what)
            waiting = True
            time.sleep(POLL_S)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write` on a binary file that gets its name once all of it is on disk."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def build_folder(folder: Path, make: Callable[[Path], None], what: str) -> Path:
    """`folder`, filled by `make(part)` if no run has done so; of several processes that ask at once one builds.

    After a kill the next run starts anew.
    """
    if folder.is_dir():
        return folder
    with exclusive(folder.with_name(f"{folder.name}.lock"), what):
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            make(part)
            part.rename(folder)
    return folder


def require_space(folder: Path, items: Sequence, size: Callable[[Any], float], what: str, else_do: str = "") -> None:
    """Refuse to fill a disk: `size` estimates the bytes of one item, and is asked for some; DataError: it cannot tell."""
    claims = []
    for item in items[:: max(1, len(items) // 64)]:
        try:
            claims.append(size(item))
        except DataError:
            continue
    need = len(items) * sum(claims) / len(claims) if claims else 0.0
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DataError(
            f"{what} about {need / 1e9:.1f} GB but {folder} has {free / 1e9:.1f} GB free: choose another "
            f"--data.cache_dir{else_do}."
        )


def unwritable(folder: Path, error: OSError) -> DataError:
    """What to say of a disk that is full or refuses."""
    return DataError(f"{folder} cannot be written ({error.strerror}): free some space or choose another --data.cache_dir.")
