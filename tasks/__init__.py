"""Five published audio and music systems: their modules, command lines, metrics and reports."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.cli.import_path import is_own_process, prefer_own_root, refuse_other_packages

if TYPE_CHECKING:
    from tasks.suite_module import SuiteModule


if is_own_process():
    prefer_own_root()
refuse_other_packages()


def load(path: str | Path, device: str = "cpu") -> "SuiteModule":
    """Trained network of a checkpoint file or run folder of any task, in evaluation mode.

    The checkpoint says its task: `load("runs/sed/default")` is a sound event detector, which `tasks.sed.inference` runs on files.
    Plain weights are read alone, and nothing is imported because a checkpoint names it.

    Args:
        path: checkpoint file, or run folder, whose best weights are taken
        device: where the weights go

    Raises:
        DataError: no such checkpoint, or one of another program.
    """
    from tasks.cli.checkpoints import load_module

    return load_module(path, device)
