"""Cache on disk: folders, content fingerprints, and files that one of several processes builds.

Files and folders are built under a temporary name and renamed once they are complete.
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
"""Largest number of files whose content is probed for a fingerprint; of larger sets every second, third, ..."""

SMALL, BLOCK = 1 << 16, 1 << 12


def cache_root(cache_dir: str | Path | None) -> Path:
    """Cache folder: the option, else $QUINTET_CACHE, else `.cache` in the working folder."""
    return Path(cache_dir or os.environ.get("QUINTET_CACHE") or ".cache").expanduser()


def cached(cache_dir: str | Path | None, *parts: str, whole: str = "") -> Path:
    """Path below `cache_root(cache_dir)`, or in the shared cache if only that holds it; whole: file of a complete folder.

    The shared cache is that of a command without `--data.cache_dir`, such as a `prepare` before the jobs of a cluster.
    """
    own, shared = cache_root(cache_dir).joinpath(*parts), cache_root(None).joinpath(*parts)
    return shared if not (own / whole).exists() and (shared / whole).exists() else own


def fingerprint(settings: str, files: Iterable[tuple[bytes, bytes]]) -> str:
    """Twelve hex digits of settings and files: names, sizes and probed contents, but neither location nor time of change.

    files: (name, path) as bytes, since a Path for each of 240,000 files takes seconds
    """
    files = list(files)
    step = -(-len(files) // PROBED) or 1
    digest = hashlib.sha256(f"{settings}\n".encode(errors="surrogateescape"))
    for i, (name, path) in enumerate(files):
        content = probe(path) if i % step == 0 else f"{os.stat(path).st_size}"  # noqa: PTH116
        digest.update(name + f"|{content}\n".encode())
    return digest.hexdigest()[:12]


def probe(path: bytes | str | Path) -> str:
    """Size and CRC-32 of a file: of the whole content up to 64 KiB, else of four blocks of 4 KiB spread over it."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  a Path takes longer than the reading
        size = os.fstat(file.fileno()).st_size
        if size <= SMALL:
            return f"{size}|{zlib.crc32(file.read(SMALL))}"
        crc = 0
        for block in range(4):
            file.seek((size - BLOCK) * (block + 1) // 4)
            crc = zlib.crc32(file.read(BLOCK), crc)
        return f"{size}|{crc}"


@contextmanager
def exclusive(path: Path, product: str) -> Iterator[None]:
    """Hold a lock file while `product` is built, after waiting for other processes. Raises DataError if it is not writable."""
    lock, waiting = Lock(path), False
    try:
        while not lock.acquire():
            if not waiting:
                log.warning("Waiting for %s, which builds %s.", lock.owner() or "another process", product)
            waiting = True
            time.sleep(POLL_S)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def write_atomically(path: Path, write: Callable[[BinaryIO], Any], sealed: bool = False) -> None:
    """Write a file by `write(binary file)` and rename it to `path` once it is on disk; `sealed`: append its checksum."""
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
        with suppress(OSError):  # do not hide an earlier error
            part.unlink(missing_ok=True)


def build_folder(folder: Path, make: Callable[[Path], None], product: str) -> Path:
    """Fill `folder` by `make(temporary folder)` unless it exists and is intact; one of several concurrent processes builds."""
    if folder.is_dir() and not checksum.damaged_by_table(folder):
        return folder
    with exclusive(folder.with_name(f"{folder.name}.lock"), product):
        if folder.is_dir() and (bad := checksum.damaged_by_table(folder)):
            log.warning("%s is damaged (%s first of %d files): %s are built again.", folder, bad[0].name, len(bad), product)
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


def require_space(folder: Path, items: Sequence, size: Callable[[Any], float], subject: str, alternative: str = "") -> None:
    """Raise DataError if the disk of `folder` has less space than the items need, by the `size` (bytes) of a sample of them.

    subject, alternative: beginning of the message, such as "The pack needs", and end
    """
    estimates = []
    for item in items[:: max(1, len(items) // 64)]:
        with suppress(DataError):
            estimates.append(size(item))
    need = len(items) * sum(estimates) / len(estimates) if estimates else 0.0
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DataError(
            f"{subject} about {need / 1e9:.1f} GB but {folder} has {free / 1e9:.1f} GB free: choose another "
            f"--data.cache_dir{alternative}."
        )


def unwritable(folder: Path, error: OSError) -> DataError:
    """Error for a disk that is full or read-only."""
    return DataError(f"{folder} cannot be written ({error.strerror}): free some space or choose another --data.cache_dir.")
