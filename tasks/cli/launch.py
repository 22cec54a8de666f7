"""Launch one task from the command line: errors as one sentence, heavy imports only when a verb needs them."""

import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.cli.import_path import prefer_own_root
from tasks.cli.late_imports import import_light
from tasks.cli.registry import VERBS, Task, resolve

# Wall time and CPU time of a command, its child processes included.


class Meter:
    """Time from its making on; `str` of it is as `3:40 (302 CPU s over all processes)`."""

    def __init__(self) -> None:
        self.began, self.used = time.monotonic(), cpu_seconds()

    def __str__(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.began), 60)
        return f"{minutes}:{seconds:02} ({cpu_seconds() - self.used:.0f} CPU s over all processes)"


def cpu_seconds() -> float:
    """User and system time of this process and of its children, s.

    Children that have ended count on Linux and macOS, those that still run on Linux alone.
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


# Threads that spin while they wait make a training several times slower on a machine that others use too, threads that
# never spin make it twice as slow on one that nobody does: this many turns cost a fifth at most on either.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "500")


def launch(task: Task, argv: list[str] | None = None) -> None:
    """Run `python -m tasks.<name> argv`; leaves the process with 0, 1 (some files failed) or 2 (an error, said)."""
    argv = sys.argv[1:] if argv is None else argv
    prefer_own_root()
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage(task))
        sys.exit(0 if argv else 2)
    if argv[0] not in VERBS:
        sys.exit(_say(f"'{argv[0]}' is no verb of {task.name}: choose one of {', '.join(VERBS)}"))
    if lacking := task.lacks(argv[0]):
        entries = " and no ".join(lacking)
        sys.exit(_say(f"{task.name} cannot {argv[0]} yet: its TASK names no {entries} (CONTRIBUTING.md says what belongs there)"))
    if argv[0] == "compare":
        sys.exit(_compared(task, argv[1:]))
    run_safely(lambda: _run(task, argv))


def _compared(task: Task, argv: list[str]) -> int:
    try:
        return resolve(task.compare)(argv)
    except BrokenPipeError:  # `compare | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run_safely(work: Callable[[], Any]) -> None:
    """Call `work`; turn an error that a user can mend into one sentence and exit code 2 (QUINTET_DEBUG=1 shows all)."""
    from datamodules.common.errors import DataError

    try:
        work()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, KeyboardInterrupt):  # Lightning leaves with 1
            sys.exit(130)
        raise
    except Exception as error:
        sentence = str(error) if isinstance(error, DataError) else _sentence(error)
        if sentence is None or os.environ.get("QUINTET_DEBUG"):
            raise
        sys.exit(_say(sentence))


def _sentence(error: Exception) -> str | None:
    """What a user can do about an error of a library; None for what is a fault of the suite."""
    text, kind = " ".join(str(error).split()), type(error).__name__
    if isinstance(error, RuntimeError):
        from tasks.cli.lightning_internals import weights_mismatch

        if mismatch := weights_mismatch(error):
            return (
                f"the checkpoint's weights do not fit this network or data ({mismatch}): use the settings it was trained with, "
                "which are taken from it when no --model or --data option says otherwise"
            )
    if kind == "OutOfMemoryError":
        return "the device has no memory left: lower --data.batch_size or --data.eval_batch_size"
    if isinstance(error, (ValueError, OSError)) or kind == "MisconfigurationException":
        return f"{text[:400]} (QUINTET_DEBUG=1 shows where)"
    return None


def _run(task: Task, argv: list[str]) -> None:
    from tasks.cli.configs import with_config_files

    argv = with_config_files(task.name, argv)
    if argv[0] == "fit" and any(word == "--seeds" or word.startswith("--seeds=") for word in argv):
        sys.exit(resolve("tasks.cli.arguments.fit_seeds")(task, argv))
    _run_cli(task, argv)


def _run_cli(task: Task, argv: list[str]) -> None:
    meter = Meter()
    if "tasks.cli.cli" not in sys.modules:
        _import_for_good("tasks.cli.cli")
    from tasks.cli.arguments import value_of
    from tasks.cli.cli import CLI
    from tasks.cli.trusted import trusting

    with trusting((value_of(argv, "--trust") or "").lower() == "true"):
        cli = CLI(task, argv)
    if argv[0] == "fit" and cli.trainer.is_global_zero:
        print(f"fit took {meter}", flush=True)


def _import_for_good(module: str) -> None:
    """Import what stays until the end: looking for garbage among it takes 2 of the 6 s that the help of a verb takes."""
    gc.disable()
    try:
        import_light(module)
    finally:
        gc.freeze()
        gc.enable()


def _say(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


def _usage(task: Task) -> str:
    verbs = "\n".join(f"  {verb:9} {text}" for verb, text in VERBS.items() if not task.lacks(verb))
    return (
        f"usage: python -m tasks.{task.name} VERB [--config NAME ...] [--data.x ...] [--model.x ...] [--trainer.x ...]\n"
        f"\n{verbs}\n\nNAME is a row of this task, such as `default`, or a YAML file.\n"
        "`fit --seeds N` trains from N seeds, one after another.\n"
        f"All options of a verb: python -m tasks.{task.name} VERB --help"
    )
