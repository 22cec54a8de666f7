"""Launch one task from the command line: errors as one sentence, heavy imports only when a verb needs them."""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.import_path import prefer_own_root
from tasks.late_imports import import_light
from tasks.spent import Meter

# Threads that spin while they wait make a training several times slower on a machine that others use too, threads that
# never spin make it twice as slow on one that nobody does: this many turns cost a fifth at most on either.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "500")

VERBS = {
    "prepare": "check a data set folder, report what is there, build its pack and statistics",
    "fit": "train; without arguments: the embedded demo",
    "validate": "score a checkpoint on the validation split",
    "test": "score a checkpoint on the test split and write the tables",
    "predict": "run a checkpoint on files, folders or globs of your own",
    "compare": "print the paper's tables with the finished runs beside them",
    "export": "write safetensors, config and a torch.export program of a checkpoint",
}

NEEDS = {
    "validate": ("report",),
    "test": ("report",),
    "predict": ("files", "writer"),
    "compare": ("compare",),
    "export": ("files",),
}


@dataclass(frozen=True)
class Task:
    """What a task tells the command line about itself, as import paths so that listing it costs nothing."""

    name: str
    module: str  # LightningModule
    data: str  # base class of the data modules that `fit` accepts
    monitor: tuple[str, str]  # validation metric that picks the best checkpoint, and "max" or "min"
    report: str | None = None  # callback that writes what `validate` and `test` leave
    files: str | None = None  # data module that `predict` reads a user's own files with
    writer: str | None = None  # BasePredictionWriter(folder, overwrite) of `predict`
    compare: str | None = None  # function(argv) of `compare`
    links: Mapping[str, str] = field(default_factory=dict)  # data attribute -> module argument

    def lacks(self, verb: str) -> list[str]:
        """Entries that a verb needs and this task has not yet."""
        return [entry for entry in NEEDS.get(verb, ()) if getattr(self, entry) is None]


def resolve(path: str) -> Any:
    """Object behind a dotted import path."""
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


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
    from datamodules.errors import DataError

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
        from tasks.lightning_internals import weights_mismatch

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
    from tasks.configs import with_config_files

    argv = with_config_files(task.name, argv)
    if argv[0] == "fit" and any(word == "--seeds" or word.startswith("--seeds=") for word in argv):
        sys.exit(resolve("tasks.seeds.fit_seeds")(task, argv))
    _run_cli(task, argv)


def _run_cli(task: Task, argv: list[str]) -> None:
    meter = Meter()
    if "tasks.cli" not in sys.modules:
        _import_for_good("tasks.cli")
    from tasks.arguments import value_of
    from tasks.cli import CLI
    from tasks.trusted import trusting

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
