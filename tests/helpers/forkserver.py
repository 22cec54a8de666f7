"""Processes for tests, forked from one that has torch, Lightning and the command line loaded.

    forkserver.run("tasks.sed", "fit", "--config", "tiny")  # python -m tasks.sed fit --config tiny

A fresh interpreter spends about 4 CPU s on imports, a fork a few milliseconds. The server has one thread and has computed
nothing, so its forks start as clean as an interpreter does. Ranks that Lightning starts in a fork are forks as well. Linux only:
elsewhere, and with QUINTET_TEST_NO_FORKSERVER=1, `run`, `start` and `call` start interpreters.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import os
import pickle
import random
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NoReturn

from tasks.__main__ import find_tasks

ROOT = Path(__file__).parents[2]
FORKS = sys.platform == "linux" and not os.environ.get("QUINTET_TEST_NO_FORKSERVER")
LONGEST = 1 << 18  # bytes of a request (arguments and environment)
PRELOADED = (
    "torch._dynamo",
    "tasks.callbacks",
    *(part for task in find_tasks() for part in (f"tasks.{task}.module", f"datamodules.{task}.data")),
)


class Process:
    """Process of the fork server, with the interface of `subprocess.Popen`."""

    def __init__(self, address: str, request: dict[str, Any], files: list[int]):
        self.args, self.returncode = request["argv"], None
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(address)
        socket.send_fds(self._connection, [pickle.dumps(request)], files)
        self.pid = int(self._connection.recv(32))

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                answer = self._connection.recv(32)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            assert answer, "the fork server has ended"
            self.returncode = int(answer)
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Command:
    """A running command whose output goes to temporary files, so that it never waits for a reader."""

    def __init__(self, request: dict[str, Any]):
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115, closed with this object
        self.process = _started(request, self._out, self._err)
        self.pid, self.poll = self.process.pid, self.process.poll
        self.wait, self.send_signal, self.kill = self.process.wait, self.process.send_signal, self.process.kill

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; returns the whole output and error output."""
        self.wait(timeout)
        return _text(self._out), _text(self._err)


def start(
    module: str, *words: object, env: dict[str, str] | None = None, cwd: Path | None = None, own_group: bool = False
) -> Command:
    """Start `python -m module words`.

    Args:
        module: as after `python -m`
        words: arguments
        env: whole environment; None: that of this process
        cwd: working folder; None: the root of the suite
        own_group: make it the leader of a process group, for `os.killpg`
    """
    environment = dict(os.environ if env is None else env)
    argv = [sys.executable, "-m", module, *map(str, words)]
    return Command({"argv": argv, "cwd": str(cwd or ROOT), "env": environment, "group": 0 if own_group else None})


def run(module: str, *words: object, timeout: float = 280, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m module words` to its end; a timeout kills it and everything that it has started."""
    command = start(module, *words, env=env, own_group=True)
    try:
        out, err = command.communicate(timeout)
    except BaseException:
        with contextlib.suppress(OSError):
            os.killpg(command.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(command.process.args, command.returncode, out, err)


def call(function: Callable[..., object], *args: object) -> Command:
    """Start a process, leader of its own group, that calls a function of a module with picklable arguments."""
    content = pickle.dumps((function.__module__, function.__qualname__, args))
    return start("tests.helpers.forkserver", "call", content.hex(), own_group=True)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _started(request: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> "Process | subprocess.Popen[bytes]":
    if FORKS:
        with Path(os.devnull).open("rb") as nothing:
            return Process(_server_address(), request, [nothing.fileno(), out.fileno(), err.fileno()])
    group = {"start_new_session": True} if request["group"] == 0 and os.name == "posix" else {}
    options = {"cwd": request["cwd"], "env": request["env"], **group}
    return subprocess.Popen(request["argv"], stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options)


@functools.cache
def _server_address() -> str:
    """Address of this process's server, started by the first call and ended with this process."""
    folder = tempfile.mkdtemp(prefix="quintet-")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "tests.helpers.forkserver", "serve", f"{folder}/socket"]
    server = subprocess.Popen(words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n", "the fork server did not start"

    def end() -> None:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return f"{folder}/socket"


def _preload() -> None:
    from tasks.cli.late_imports import import_light

    import_light("tasks.cli.cli")
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _serve(address: str) -> tuple[dict[str, Any], list[int]]:
    """Fork on each request until standard input ends; returns, in the fork, its request and its three files."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    selector = selectors.DefaultSelector()
    for file in (sys.stdin, listener, wake):
        selector.register(file, selectors.EVENT_READ)
    running: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        ready = {key.fileobj for key, _ in selector.select()}
        if sys.stdin in ready:
            os._exit(0)
        if wake in ready:
            wake.recv(4096)
            _report_ended(running)
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        content, files, *_ = socket.recv_fds(connection, LONGEST, 3)
        request = pickle.loads(content)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            selector.close()
            for end in (listener, wake, woken, connection, *running.values()):
                end.close()
            return request, files
        _join_group(pid, request["group"])
        for file in files:
            os.close(file)
        running[pid] = connection
        connection.send(str(pid).encode())


def _report_ended(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with contextlib.suppress(OSError), running.pop(pid) as connection:
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _join_group(pid: int, group: int | None) -> None:
    """Put a process into a group (0: its own); the server and the fork both do, as it is not known which is first."""
    if group is not None:
        with contextlib.suppress(OSError):
            os.setpgid(pid, group)


def _execute(address: str, request: dict[str, Any], files: list[int]) -> None:
    """Do in a fork what an interpreter does for `python -m module words`."""
    _join_group(0, request["group"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = request["cwd"]
    _seed_anew()
    from lightning_fabric.strategies.launchers import subprocess_script as of_fabric
    from pytorch_lightning.strategies.launchers import subprocess_script as of_lightning

    def rank(command: list[str], env: dict[str, str], cwd: str | None = None) -> Process:
        again = {"argv": command, "cwd": cwd or str(Path.cwd()), "env": dict(env), "group": os.getpgrp()}
        return Process(address, again, [0, 1, 2])

    of_fabric.subprocess = of_lightning.subprocess = SimpleNamespace(Popen=rank)
    _, _, module, *sys.argv[1:] = request["argv"]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _leave(end.code)
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave(code: object) -> NoReturn:
    """End as an interpreter does, but without freeing modules: that would copy all memory shared with the server (0.3 s)."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        file.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _seed_anew() -> None:
    """Seed all generators by chance, as they are in a fresh interpreter: forks must not draw alike without a seed."""
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()


def _call(content: str) -> None:
    module, name, args = pickle.loads(bytes.fromhex(content))
    functools.reduce(getattr, name.split("."), importlib.import_module(module))(*args)


if __name__ == "__main__":
    if sys.argv[1] == "call":
        _call(sys.argv[2])
    else:
        _preload()
        _execute(sys.argv[2], *_serve(sys.argv[2]))
