"""Locks between processes: one holder at a time, also where the file system has no file locks."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from datamodules.common import locks
from datamodules.common.locks import Lock, Owner


@pytest.fixture(params=["lock file", "mkdir"])
def way(request, monkeypatch):
    """Both kinds of lock: the second as on a network file system whose `flock` answers ENOLCK."""
    if request.param == "mkdir":

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(locks.FileLock, "_acquire", refuse)
    return request.param


def test_one_process_holds_it_and_is_named(way, tmp_path):
    first, second = Lock(tmp_path / "deep" / "lock"), Lock(tmp_path / "deep" / "lock")
    assert first.acquire() and first.held
    assert not second.acquire() and not second.held
    assert str(second.owner()) == f"process {os.getpid()} on {socket.gethostname()}"
    first.release()
    assert second.acquire()
    second.release()
    assert second.owner() is None
    assert not list(tmp_path.glob("deep/*.*"))


def test_a_file_system_without_locks_is_no_reason_to_refuse(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(locks.FileLock, "_acquire", lambda self: (_ for _ in ()).throw(OSError(errno.EOPNOTSUPP, "no")))
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    assert "has no file locks" in caplog.text
    content = json.loads((tmp_path / "lock.claim" / "owner.json").read_text())
    assert content == {"host": socket.gethostname(), "pid": os.getpid()}
    lock.release()


def test_another_error_than_missing_locks_is_raised(monkeypatch, tmp_path):
    monkeypatch.setattr(locks.FileLock, "_acquire", lambda self: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        Lock(tmp_path / "lock").acquire()


def claim_of(path, owner, age):
    """A claim by mkdir whose last heartbeat is `age` seconds old."""
    folder = path.with_name(f"{path.name}.claim")
    folder.mkdir()
    file = folder / "owner.json"
    file.write_text(json.dumps(owner._asdict()))
    beat = file.stat().st_mtime - age
    os.utime(file, (beat, beat))


@pytest.mark.parametrize(
    ("host", "dead", "age", "free"),
    [("elsewhere", False, 60, False), ("elsewhere", False, 180, True), (None, True, 1, True), (None, False, 60, False)],
)
def test_a_claim_is_void_without_heartbeat_or_process(host, dead, age, free, monkeypatch, tmp_path):
    monkeypatch.setattr(locks.FileLock, "_acquire", lambda self: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no")))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owner = Owner(host or socket.gethostname(), ended.pid if dead else os.getppid())
    claim_of(tmp_path / "lock", owner, age)
    lock = Lock(tmp_path / "lock")
    assert lock.acquire() == free
    assert lock.owner() == (Owner(socket.gethostname(), os.getpid()) if free else owner)
    assert len(list(tmp_path.iterdir())) == 1
    lock.release()


def test_a_claim_beats(monkeypatch, tmp_path):
    monkeypatch.setattr(locks.FileLock, "_acquire", lambda self: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no")))
    monkeypatch.setattr(locks, "BEAT_S", 0.01)
    beaten = []
    monkeypatch.setattr(locks.os, "utime", lambda path: beaten.append(path))
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    for _ in range(500):
        if beaten:
            break
        lock._claim._ended.wait(0.01)
    lock.release()
    assert beaten[0] == tmp_path / "lock.claim" / "owner.json"
