"""Locks between processes on any file system: a lock file, or a folder with a heartbeat if file locks are not supported."""

import errno
import json
import logging
import os
import secrets
import shutil
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

BEAT_S = 15.0
"""Seconds between two heartbeats of a claim."""
STALE_S = 120.0
"""Seconds without heartbeat after which a claim is stale."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


class Owner(NamedTuple):
    """Process that holds a lock."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_dead(self) -> bool:
        """True if the process ran on this host and has ended."""
        return self.host == socket.gethostname() and not is_alive(self.pid)


class Lock:
    """Lock of a path, held by one process at a time; `<path>.owner` holds its host and pid.

    The kernel frees a lock file when its holder dies. On file systems without file locks the lock is a folder
    `<path>.claim`. Its heartbeat is the time of change of a file in it; a claim without heartbeat for two minutes, or of a
    process that has ended on this host, is taken over.

    Args:
        path: lock file
        temporary: remove the lock file on release
    """

    def __init__(self, path: str | Path, temporary: bool = False) -> None:
        self.path, self.temporary = Path(path), temporary
        self._file: FileLock | None = None
        self._claim: _MkdirClaim | None = None

    @property
    def held(self) -> bool:
        """True if this object holds the lock."""
        return self._file is not None or self._claim is not None

    def acquire(self) -> bool:
        """Take the lock if it is free, without waiting.

        Raises:
            OSError: the lock file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = FileLock(self.path, thread_local=False, fallback_to_soft=False)
        try:
            file.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return self._acquire_by_mkdir()
        self._file = file
        with suppress(OSError):  # only used in messages
            self._owner_file.write_text(_this_process(), encoding="utf-8")
        return True

    def release(self) -> None:
        """Release the lock and remove its files."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        if self._file is not None:
            with suppress(OSError):
                self._owner_file.unlink(missing_ok=True)
            # Removed while it is held, since the name may be another process's right after; Windows removes no open file.
            if self.temporary and os.name != "nt":
                self.path.unlink(missing_ok=True)
            self._file.release()
            self._file = None
            if self.temporary and os.name == "nt":
                with suppress(OSError):
                    self.path.unlink(missing_ok=True)

    def owner(self) -> Owner | None:
        """Holder of the lock, if known."""
        return _read_owner(self._owner_file) or _read_owner(_claim_folder(self.path) / _MkdirClaim.OWNER)

    @property
    def _owner_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.owner")

    def _acquire_by_mkdir(self) -> bool:
        claim = _MkdirClaim(_claim_folder(self.path))
        if not claim.acquire():
            return False
        log.warning("%s has no file locks: other processes are kept out by %s and its heartbeat.", self.path.parent, claim.folder)
        self._claim = claim
        return True


class _MkdirClaim:
    """Folder that marks a lock as held, with a heartbeat thread."""

    OWNER = "owner.json"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ended = threading.Event()

    def acquire(self) -> bool:
        """Create the folder, or take it over from a process that has ended."""
        if self.folder.exists() and not self._remove_stale():
            return False
        try:
            self.folder.mkdir()
        except FileExistsError:
            return False
        (self.folder / self.OWNER).write_text(_this_process(), encoding="utf-8")
        threading.Thread(target=self._beat, args=(os.getpid(),), daemon=True).start()
        return True

    def release(self) -> None:
        """Remove the folder."""
        self._ended.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _beat(self, pid: int) -> None:
        while not self._ended.wait(BEAT_S) and os.getpid() == pid:
            with suppress(OSError):
                os.utime(self.folder / self.OWNER)

    def _remove_stale(self) -> bool:
        """Remove a stale claim; of several processes one succeeds."""
        if not _is_stale(self.folder):
            return False
        aside = self.folder.with_name(f"{self.folder.name}.{secrets.token_hex(4)}")
        with suppress(OSError):
            self.folder.rename(aside)
            if _is_stale(aside):
                shutil.rmtree(aside, ignore_errors=True)
                return True
            aside.rename(self.folder)  # another process took the stale claim over in between
        return False


def _is_stale(claim: Path) -> bool:
    owner = _read_owner(claim / _MkdirClaim.OWNER)
    if owner is not None and owner.is_dead():
        return True
    beat = claim / _MkdirClaim.OWNER if owner else claim
    try:
        return _file_system_time(claim.parent) - beat.stat().st_mtime > STALE_S
    except FileNotFoundError:
        return True


def _file_system_time(folder: Path) -> float:
    """Time of a file system (s): its clock may differ from this host's."""
    probe = folder / f".time-{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """True if a process of this host exists."""
    if os.name == "nt":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(pid: int) -> bool:
    import ctypes

    kernel = ctypes.windll.kernel32
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # STILL_ACTIVE


def _claim_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.claim")


def _this_process() -> str:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid()})


def _read_owner(path: Path) -> Owner | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Owner(str(content["host"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
