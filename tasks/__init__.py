"""Lightning modules, command lines, metrics and reports of five published audio and music systems."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.cli.import_path import is_own_process, prefer_own_root, refuse_other_packages

if TYPE_CHECKING:
    from tasks.suite_module import SuiteModule


if is_own_process():
    prefer_own_root()
refuse_other_packages()


def load(path: str | Path, device: str = "cpu") -> "SuiteModule":
    """Load the trained network of any task in evaluation mode.

    The checkpoint names its task: `load("runs/sed/default")` is a sound event detector, which `tasks.sed.inference` runs on
    files. Only plain tensors and settings are read; a checkpoint cannot import code.

    Args:
        path: checkpoint file, or run folder (its best weights)
        device: device of the weights

    Raises:
        DataError: checkpoint not found, or written by another program.
    """
    from tasks.cli.checkpoints import load_module

    return load_module(path, device)
