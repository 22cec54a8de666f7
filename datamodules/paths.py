"""Paths that a table lists, relative or absolute -> paths relative to the folder of the audio."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath, PureWindowsPath


def relative_to(folder: Path, paths: Sequence[str], root: Path) -> list[str]:
    """Listed paths as text relative to `folder`; relative ones stay as they are.

    An absolute path that does not exist, because the data were copied from another place or machine, stands for the file of
    the longest matching end of it below `root`, if there is one.
    """
    return [_relative(folder, path, root) if is_absolute(path) else path for path in paths]


def is_absolute(path: str) -> bool:
    """Whether a path is absolute here or on Windows."""
    return path.startswith(("/", "\\\\")) or path[1:3] in (":/", ":\\")


def _relative(folder: Path, path: str, root: Path) -> str:
    place = Path(path)
    if not place.is_absolute() or not place.is_file():
        place = _moved(path, root) or place
    try:
        return os.path.relpath(place, folder)
    except ValueError:  # on another drive
        return str(place)


def _moved(path: str, root: Path) -> Path | None:
    parts = PureWindowsPath(path).parts[1:] if not PurePath(path).is_absolute() else PurePath(path).parts[1:]
    ends = (root.joinpath(*parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end.is_file()), None)
