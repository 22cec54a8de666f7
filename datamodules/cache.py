"""What is computed once and kept on disk: where it lies, what it is called after, and that one process alone makes it.

Whatever bears its final name is whole: files and folders are made under a temporary name, which a kill leaves behind.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from datamodules.errors import DataError

log = logging.getLogger(__name__)


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
    """Hold a lock file; wait while another process holds it. The kernel frees it when its holder dies, however."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("Waiting for another process that builds %s.", what)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise DataError(f"{path.parent} allows no file locks: choose a local disk with --data.cache_dir.") from error
        try:
            yield
        finally:
            # Explicitly: a forked worker that outlives us shares the lock and would keep it.
            fcntl.flock(file, fcntl.LOCK_UN)


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
