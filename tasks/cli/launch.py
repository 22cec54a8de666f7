"""Launcher of one task: command line -> exit code. Errors are one sentence; heavy libraries are imported when needed."""

import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datamodules.common.errors import DataError
from tasks.cli.configs import with_config_files
from tasks.cli.import_path import prefer_own_root
from tasks.cli.late_imports import import_light
from tasks.cli.registry import SUBCOMMANDS, Task, resolve


class Stopwatch:
    """Wall time and CPU time since construction; `str` gives `3:40 (302 CPU s over all processes)`."""

    def __init__(self) -> None:
        self.start, self.cpu_start = time.monotonic(), cpu_seconds()

    def __str__(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.start), 60)
        return f"{minutes}:{seconds:02} ({cpu_seconds() - self.cpu_start:.0f} CPU s over all processes)"


def cpu_seconds() -> float:
    """User and system time of this process and its children (s).

    Finished children count on Linux and macOS, running ones on Linux only.
    """
    times = os.times()
    ended = times.user + times.system + times.children_user + times.children_system
    return ended + sum(_running(child.pid) for child in multiprocessing.active_children())


def _running(pid: int | None) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own, and that of children it waited for
    except (OSError, ValueError, AttributeError):
        return 0.0


# Waiting threads that spin make training several times slower on a shared machine; threads that never spin make it twice as
# slow on an idle one. 500 spins cost at most a fifth on either.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "500")


def launch(task: Task, argv: list[str] | None = None) -> None:
    """Run `python -m tasks.<name> argv` and exit with 0, 1 (some files failed) or 2 (error, printed as one sentence)."""
    argv = sys.argv[1:] if argv is None else argv
    prefer_own_root()
    if not argv or argv[0] in ("-h", "--help"):
        show(_usage(task))
        sys.exit(0 if argv else 2)
    if argv[0] not in SUBCOMMANDS:
        sys.exit(_fail(f"unknown subcommand '{argv[0]}' for {task.name}; choose from {', '.join(SUBCOMMANDS)}"))
    if lacking := task.lacks(argv[0]):
        sys.exit(_fail(f"{task.name} cannot {argv[0]} yet: its TASK has no {' and no '.join(lacking)} (see CONTRIBUTING.md)"))
    if argv[0] == "compare":
        sys.exit(_compare(task, argv[1:]))
    run_safely(lambda: _run(task, argv))


def _compare(task: Task, argv: list[str]) -> int:
    try:
        return resolve(task.compare)(argv)
    except BrokenPipeError:
        _discard_output()
        return 0


def show(text: str) -> None:
    """Print a text, of which a reader such as `head` may take only the first lines."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard_output()


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_safely(work: Callable[[], Any]) -> None:
    """Call `work` and turn user errors into one sentence and exit code 2 (traceback with QUINTET_DEBUG=1)."""
    try:
        work()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as exit_error:
        if isinstance(exit_error.__context__, KeyboardInterrupt):  # Lightning exits with 1
            sys.exit(130)
        raise
    except Exception as error:
        sentence = str(error) if isinstance(error, DataError) else _sentence(error)
        if sentence is None or os.environ.get("QUINTET_DEBUG"):
            raise
        sys.exit(_fail(sentence))


def _sentence(error: Exception) -> str | None:
    """Message for a library's error with what the user can do; None for a bug of the suite."""
    text, kind = " ".join(str(error).split()), type(error).__name__
    if isinstance(error, RuntimeError):
        from tasks.cli.lightning_internals import weights_mismatch

        if mismatch := weights_mismatch(error):
            return (
                f"the checkpoint's weights do not fit this network or data ({mismatch}): use the settings of its training, "
                "which the checkpoint provides if no --model or --data option overrides them"
            )
    if kind == "OutOfMemoryError":
        return "the device is out of memory: lower --data.batch_size or --data.eval_batch_size"
    if isinstance(error, (ValueError, OSError)) or kind == "MisconfigurationException":
        return f"{text[:400]} (QUINTET_DEBUG=1 shows where)"
    return None


def _run(task: Task, argv: list[str]) -> None:
    argv = with_config_files(task.name, argv)
    if argv[0] == "fit" and any(word == "--seeds" or word.startswith("--seeds=") for word in argv):
        sys.exit(resolve("tasks.cli.arguments.fit_seeds")(task, argv))
    _run_cli(task, argv)


def _run_cli(task: Task, argv: list[str]) -> None:
    stopwatch = Stopwatch()
    if "tasks.cli.cli" not in sys.modules:
        _import_permanently("tasks.cli.cli")
    from tasks.cli.arguments import value_of
    from tasks.cli.cli import CLI
    from tasks.cli.trusted import trusting

    with trusting((value_of(argv, "--trust") or "").lower() == "true"):
        cli = CLI(task, argv)
    if argv[0] == "fit" and cli.trainer.is_global_zero:
        print(f"fit took {stopwatch}", flush=True)


def _import_permanently(module: str) -> None:
    """Import a module with the garbage collector off, which would take 2 of the 6 s of a subcommand's help."""
    gc.disable()
    try:
        import_light(module)
    finally:
        gc.freeze()
        gc.enable()


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


def _usage(task: Task) -> str:
    subcommands = "\n".join(f"  {subcommand:9} {text}" for subcommand, text in SUBCOMMANDS.items() if not task.lacks(subcommand))
    return (
        f"usage: python -m tasks.{task.name} SUBCOMMAND [--config NAME ...] [--data.x ...] [--model.x ...] [--trainer.x ...]\n"
        f"\n{subcommands}\n\nNAME is a config of this task, such as `default`, or a YAML file.\n"
        "`fit --seeds N` trains with N seeds, one after another.\n"
        f"Options of a subcommand: python -m tasks.{task.name} SUBCOMMAND --help"
    )
