"""File search: paths, folders and globs -> files; links are followed once, broken links are kept for reports."""

import fnmatch
import glob
import logging
import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import NamedTuple

from datamodules.common.errors import DataError, escaped, printable

log = logging.getLogger(__name__)


class InputFile(NamedTuple):
    """Input file."""

    path: str  # as the user spells it
    name: str  # relative to the folder or glob, with `/`
    key: str  # the same for every spelling of a directory entry, printable


def search(
    inputs: Sequence[str], suffixes: Sequence[str], noun: str, option: str = "--data.inputs", excluded: Path | None = None
) -> list[InputFile]:
    """Find the files of inputs, each directory entry once, sorted by path.

    A file given by its path may have any suffix. A link and its target are two files; the relative and the absolute path of
    a file are one.

    Args:
        inputs: files, folders (searched to any depth) and globs
        suffixes: lower-case suffixes of the files in folders and globs; hidden files are skipped
        noun: kind of file, for messages
        option: option that the inputs come from, for messages
        excluded: folder that is not searched, such as that of the outputs

    Raises:
        DataError: an input matches no file.
    """
    if not inputs:
        raise DataError(f"Nothing to predict on: give files, folders or globs as {option} song{suffixes[0]}.")
    folders: dict[Path, Path] = {}
    files: dict[str, InputFile] = {}
    for text in inputs:
        matches = _matches(text, suffixes, excluded)
        if not matches:
            raise _no_match(text, suffixes, noun, option)
        for path, name in matches:
            key = entry_key(path, folders)
            files.setdefault(key, InputFile(str(path), name, key))
    return sorted(files.values(), key=lambda file: file.path)


def entry_key(path: str | Path, folders: dict[Path, Path] | None = None) -> str:
    """Printable absolute path of a directory entry: its folder is resolved, a link itself is not; folders: cache of calls."""
    file = Path(path).expanduser()
    folders = {} if folders is None else folders
    if file.parent not in folders:
        folders[file.parent] = file.parent.resolve()
    return escaped(str(folders[file.parent] / file.name))


def is_broken_link(path: Path) -> bool:
    """True for a link to nothing or to itself."""
    return path.is_symlink() and not path.exists()


def files_under(folder: Path, suffixes: Sequence[str], excluded: Path | None = None) -> list[Path]:
    """Files of these suffixes at any depth, broken links included, hidden files excluded.

    Every folder is searched once, so that loops of links end; folders reached without links come first.
    """
    files: list[Path] = []
    searched = _identities(excluded)
    plain, linked = deque([folder]), deque[Path]()
    while plain or linked:
        current = (plain or linked).popleft()
        for entry in _entries(current, searched):
            path = current / entry.name
            if entry.is_dir():
                (linked if entry.is_symlink() else plain).append(path)
            elif _is_wanted(path, suffixes):
                files.append(path)
    return files


def _identities(folder: Path | None) -> set[tuple[int, int]]:
    if folder is None or not folder.is_dir():
        return set()
    stat = folder.stat()
    return {(stat.st_dev, stat.st_ino)}


def _entries(folder: Path, searched: set[tuple[int, int]]) -> list[os.DirEntry]:
    """Entries of a folder; none if it was searched before, or cannot be read, which is logged."""
    try:
        stat = folder.stat()
        if (stat.st_dev, stat.st_ino) in searched:
            return []
        searched.add((stat.st_dev, stat.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        log.warning("%s cannot be searched (%s).", printable(str(folder)), error.strerror)
        return []


def _is_wanted(path: Path, suffixes: Sequence[str]) -> bool:
    if path.suffix.lower() not in suffixes or path.name.startswith("."):
        return False
    return path.is_file() or is_broken_link(path)


def _matches(text: str, suffixes: Sequence[str], excluded: Path | None) -> list[tuple[Path, str]]:
    """Files of one input, each with its name relative to the input's folder."""
    path = Path(text).expanduser()
    if path.is_file() or is_broken_link(path):
        return [(path, path.name)]
    if path.is_dir():
        root, files = path, files_under(path, suffixes, excluded)
    else:
        root, files = _glob_root(path), _glob_files(path, suffixes, excluded)
    return [(file, file.relative_to(root).as_posix()) for file in files]


def _glob_root(pattern: Path) -> Path:
    """Folder above the first component with a wildcard."""
    parts = pattern.parts
    fixed = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


def _glob_files(pattern: Path, suffixes: Sequence[str], excluded: Path | None) -> list[Path]:
    """Files that a glob matches, and those below folders that it matches; `**` follows links."""
    if "**" in pattern.parts:
        depth = pattern.parts.index("**")
        rest = _as_expression(pattern.parts[depth:])
        above = Path(*pattern.parts[:depth])
        roots = [Path(match) for match in glob.glob(str(above))] if glob.has_magic(str(above)) else [above]  # noqa: PTH207  takes absolute patterns
        pairs = [(root, file) for root in roots if root.is_dir() for file in files_under(root, suffixes, excluded)]
        return [file for root, file in pairs if _matches_from_top(rest, file.relative_to(root))]
    files: list[Path] = []
    for match in map(Path, glob.glob(str(pattern))):  # noqa: PTH207  takes absolute patterns
        if match.is_dir():
            files += files_under(match, suffixes, excluded)
        elif _is_wanted(match, suffixes):
            files.append(match)
    return files


def _as_expression(parts: Sequence[str]) -> re.Pattern[str]:
    """Regular expression of a relative path for the components of a glob that begins with `**`."""
    return re.compile("".join("(?:.*/)?" if part == "**" else _one_component(part) for part in parts), re.DOTALL)


def _one_component(pattern: str) -> str:
    """Regular expression of one component and its slash; wildcards do not cross it."""
    return fnmatch.translate(pattern).replace(r"\Z", "").replace(r"\z", "").replace(".*", "[^/]*") + "/"


def _matches_from_top(expression: re.Pattern[str], path: PurePath) -> bool:
    """True if the path or a folder above it matches."""
    return any(expression.fullmatch(f"{part.as_posix()}/") for part in (path, *path.parents[:-1]))


def _no_match(text: str, suffixes: Sequence[str], noun: str, option: str) -> DataError:
    if Path(text).expanduser().is_dir():
        problem = f"holds no {noun}"
    else:
        problem = f"matches no {noun}" if glob.has_magic(text) else "does not exist"
    return DataError(f"{printable(text)} {problem}: {option} takes files ({', '.join(suffixes[:4])}), folders and globs.")


# Paths listed in tables


def relative_to(folder: Path, paths: Sequence[str], root: Path) -> list[str]:
    """Convert listed paths to paths relative to `folder`; relative paths are not changed.

    An absolute path that does not exist, because the data were copied from elsewhere, is replaced by the file below `root`
    that shares the longest end of the path.
    """
    return [_relative(folder, path, root) if is_absolute(path) else path for path in paths]


def is_absolute(path: str) -> bool:
    """True if a path is absolute on this system or on Windows."""
    return path.startswith(("/", "\\\\")) or path[1:3] in (":/", ":\\")


def _relative(folder: Path, path: str, root: Path) -> str:
    file = Path(path)
    if not file.is_absolute() or not file.is_file():
        file = _moved(path, root) or file
    try:
        return os.path.relpath(file, folder)
    except ValueError:  # on another drive
        return str(file)


def _moved(path: str, root: Path) -> Path | None:
    parts = PureWindowsPath(path).parts[1:] if not PurePath(path).is_absolute() else PurePath(path).parts[1:]
    ends = (root.joinpath(*parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end.is_file()), None)
