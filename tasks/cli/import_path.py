"""Import path of the suite: its own packages before other packages of the same names."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Folder of the four packages: the clone, or the site-packages of an install."""
PACKAGES = ("datamodules", "models", "losses")


def refuse_other_packages() -> None:
    """Check that imported packages with the suite's names belong to the suite.

    Raises:
        ImportError: this process has imported another package of that name.
    """
    for name in PACKAGES:
        if (module := sys.modules.get(name)) is not None and not _is_ours(name, module):
            folders = [str(folder) for folder in getattr(module, "__path__", ())]
            source = getattr(module, "__file__", None) or ", ".join(folders) or "an unknown file"
            raise ImportError(
                f"this process has already imported another '{name}' from {source}, and quintet needs its own {ROOT / name}: "
                "rename the other one, or run quintet in a process of its own"
            )


def is_own_process() -> bool:
    """True in a process of `python -m tasks...` or `quintet`."""
    program = sys.argv[0] if sys.argv else ""
    return program == "-m" or Path(program).stem == "quintet"  # -m: while Python searches the module to run


def prefer_own_root() -> None:
    """Move the working folder, which `python -m` puts first, to the end of the path, for the user's own classes."""
    folder = Path.cwd().resolve()
    if folder != ROOT:
        others = [entry for entry in sys.path if not _is_folder(entry, folder)]
        sys.path[:] = others if len(others) == len(sys.path) else [*others, str(folder)]
    if not any(_is_folder(entry, ROOT) for entry in sys.path):  # editable installs use an import hook instead
        sys.path.insert(0, str(ROOT))


def _is_ours(name: str, module: object) -> bool:
    folders = list(getattr(module, "__path__", ()))
    return any(_is_folder(folder, ROOT / name) for folder in folders)


def _is_folder(entry: str, folder: Path) -> bool:
    return os.path.realpath(entry or ".") == str(folder)
