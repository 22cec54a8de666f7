"""What is computed once and kept on disk: where it lies, what it is called after, and that one process alone makes it.

Whatever bears its final name is whole: files and folders are made under a temporary name, which a kill leaves behind.
"""

import errno
import hashlib
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from datamodules.common import checksum
from datamodules.common.errors import DataError
from datamodules.common.locks import Lock

log = logging.getLogger(__name__)

POLL_S = 0.1
"""Seconds between two attempts to take a lock that another process holds."""

PROBED = 50_000
"""Files of a set whose content counts for its fingerprint; of larger sets every second, third, ..."""

SMALL, BLOCK = 1 << 16, 1 << 12


def cache_root(cache_dir: str | Path | None) -> Path:
    """Where packs, conversions and rendered sets live: the option, else $QUINTET_CACHE, else `.cache` where one works."""
    return Path(cache_dir or os.environ.get("QUINTET_CACHE") or ".cache").expanduser()


def cached(cache_dir: str | Path | None, *parts: str, whole: str = "") -> Path:
    """Where something is kept: below `cache_root(cache_dir)`, or in the shared cache where only that has it already.

    The shared cache is that of a command without `--data.cache_dir`, such as a `prepare` before the jobs of a cluster.
    `whole`: a file in it without which it is not finished.
    """
    own, shared = cache_root(cache_dir).joinpath(*parts), cache_root(None).joinpath(*parts)
    return shared if not (own / whole).exists() and (shared / whole).exists() else own


def fingerprint(settings: str, files: Iterable[tuple[bytes, bytes]]) -> str:
    """Twelve hex digits that change with the settings and with any file's name, size or content, wherever the files lie.

    Copies of a data set have the same: times of change do not count. Contents count by `probe`, of PROBED files at most.

    files: (name that counts, path where it lies), as bytes: a Path for each of 240,000 files takes seconds.
    """
    files = list(files)
    step = -(-len(files) // PROBED) or 1
    digest = hashlib.sha256(f"{settings}\n".encode(errors="surrogateescape"))
    for i, (name, path) in enumerate(files):
        content = probe(path) if i % step == 0 else f"{os.stat(path).st_size}"  # noqa: PTH116
        digest.update(name + f"|{content}\n".encode())
    return digest.hexdigest()[:12]


def probe(path: bytes | str | Path) -> str:
    """Size and checksum of a file's content: of all of it up to 64 KiB, else of four blocks of 4 KiB spread over it."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  a Path takes longer than the reading
        size = os.fstat(file.fileno()).st_size
        if size <= SMALL:
            return f"{size}|{zlib.crc32(file.read(SMALL))}"
        crc = 0
        for place in range(4):
            file.seek((size - BLOCK) * (place + 1) // 4)
            crc = zlib.crc32(file.read(BLOCK), crc)
        return f"{size}|{crc}"


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


def write_atomically(path: Path, write: Callable[[BinaryIO], Any], sealed: bool = False) -> None:
    """Call `write` on a binary file that gets its name once all of it is on disk; `sealed`: with its checksum at the end."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            if sealed:
                file.flush()
                file.write(checksum.trailer(part))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # what went wrong before is the error to report
            part.unlink(missing_ok=True)


def build_folder(folder: Path, make: Callable[[Path], None], what: str) -> Path:
    """`folder`, filled by `make(part)` if no run has done so; of several processes that ask at once one builds.

    After a kill the next run starts anew, and so it does where a file is missing or not as it was written.
    """
    if folder.is_dir() and not checksum.damaged_by_table(folder):
        return folder
    with exclusive(folder.with_name(f"{folder.name}.lock"), what):
        if folder.is_dir() and (bad := checksum.damaged_by_table(folder)):
            log.warning("%s is damaged (%s first of %d files): %s are built again.", folder, bad[0].name, len(bad), what)
            shutil.rmtree(folder)
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            try:
                part.mkdir(parents=True)
                make(part)
                checksum.write_table(part)
                part.rename(folder)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                    raise unwritable(folder.parent, error) from error
                raise
            finally:
                shutil.rmtree(part, ignore_errors=True)
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
