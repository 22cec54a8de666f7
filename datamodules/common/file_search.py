"""Files that paths, folders and globs name: links followed, loops guarded, broken links kept so that they can be reported."""

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
    """A file that was asked for.

    `path` is spelled as the user did; `name` is relative to the folder or glob that names it, with `/`; `key` is the same
    for every spelling of one directory entry, and printable.
    """

    path: str
    name: str
    key: str


def search(
    inputs: Sequence[str], endings: Sequence[str], what: str, option: str = "--data.inputs", excluded: Path | None = None
) -> list[InputFile]:
    """Files that inputs name, each directory entry once, sorted by path.

    A file named outright is taken whatever its ending; folders and globs give those of the endings alone, hidden files left
    out. A link and its target are two files; a song by its relative and its absolute path is one.

    Args:
        inputs: files, folders (searched to any depth) and globs
        endings: lower-case suffixes that folders and globs give
        what: noun of a file, for messages
        option: option that the inputs come from, for messages
        excluded: folder that no search enters, such as that of the outputs

    Raises:
        DataError: an input names nothing.
    """
    if not inputs:
        raise DataError(f"Nothing to predict on: give files, folders or globs as {option} song{endings[0]}.")
    folders: dict[Path, Path] = {}
    files: dict[str, InputFile] = {}
    for text in inputs:
        matches = _matches(text, endings, excluded)
        if not matches:
            raise _names_nothing(text, endings, what, option)
        for path, name in matches:
            key = entry_key(path, folders)
            files.setdefault(key, InputFile(str(path), name, key))
    return sorted(files.values(), key=lambda file: file.path)


def entry_key(path: str | Path, folders: dict[Path, Path] | None = None) -> str:
    """Absolute path of a directory entry, printable: its folder resolved, the entry itself not followed if it is a link.

    folders: resolved folders, kept from call to call.
    """
    file = Path(path).expanduser()
    folders = {} if folders is None else folders
    if file.parent not in folders:
        folders[file.parent] = file.parent.resolve()
    return escaped(str(folders[file.parent] / file.name))


def is_broken_link(path: Path) -> bool:
    """Whether a path is a link to nothing, or to itself."""
    return path.is_symlink() and not path.exists()


def files_under(folder: Path, endings: Sequence[str], excluded: Path | None = None) -> list[Path]:
    """Files of these endings at any depth, broken links among them, hidden files left out.

    Every folder is searched once however many links lead to it, those reached without links first, so that loops end.
    """
    files: list[Path] = []
    searched = _identities(excluded)
    plain, linked = deque([folder]), deque[Path]()
    while plain or linked:
        place = (plain or linked).popleft()
        entries = _entries(place, searched)
        for entry in entries:
            path = place / entry.name
            if entry.is_dir():
                (linked if entry.is_symlink() else plain).append(path)
            elif _is_wanted(path, endings):
                files.append(path)
    return files


def _identities(folder: Path | None) -> set[tuple[int, int]]:
    if folder is None or not folder.is_dir():
        return set()
    stat = folder.stat()
    return {(stat.st_dev, stat.st_ino)}


def _entries(folder: Path, searched: set[tuple[int, int]]) -> list[os.DirEntry]:
    """Entries of a folder that was not searched yet; one that cannot be read is said."""
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


def _is_wanted(path: Path, endings: Sequence[str]) -> bool:
    if path.suffix.lower() not in endings or path.name.startswith("."):
        return False
    return path.is_file() or is_broken_link(path)


def _matches(text: str, endings: Sequence[str], excluded: Path | None) -> list[tuple[Path, str]]:
    """Files that one input names, each with its name relative to the input's folder."""
    path = Path(text).expanduser()
    if path.is_file() or is_broken_link(path):
        return [(path, path.name)]
    if path.is_dir():
        root, files = path, files_under(path, endings, excluded)
    else:
        root, files = _glob_root(path), _glob_files(path, endings, excluded)
    return [(file, file.relative_to(root).as_posix()) for file in files]


def _glob_root(pattern: Path) -> Path:
    """Folder above the first component with a wildcard."""
    parts = pattern.parts
    fixed = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


def _glob_files(pattern: Path, endings: Sequence[str], excluded: Path | None) -> list[Path]:
    """Files that a glob matches, and those in folders that it matches; `**` is any number of folders, links followed."""
    if "**" in pattern.parts:
        depth = pattern.parts.index("**")
        rest = _as_expression(pattern.parts[depth:])
        above = Path(*pattern.parts[:depth])
        roots = [Path(match) for match in glob.glob(str(above))] if glob.has_magic(str(above)) else [above]  # noqa: PTH207  takes absolute patterns
        found = [(root, file) for root in roots if root.is_dir() for file in files_under(root, endings, excluded)]
        return [file for root, file in found if _matches_from_top(rest, file.relative_to(root))]
    files: list[Path] = []
    for match in map(Path, glob.glob(str(pattern))):  # noqa: PTH207  takes absolute patterns
        if match.is_dir():
            files += files_under(match, endings, excluded)
        elif _is_wanted(match, endings):
            files.append(match)
    return files


def _as_expression(parts: Sequence[str]) -> re.Pattern[str]:
    """Regular expression of a relative path for the components of a glob that begins with `**`."""
    return re.compile("".join("(?:.*/)?" if part == "**" else _one_component(part) for part in parts), re.DOTALL)


def _one_component(pattern: str) -> str:
    """Regular expression of one component and its slash; a wildcard stays within it."""
    return fnmatch.translate(pattern).replace(r"\Z", "").replace(r"\z", "").replace(".*", "[^/]*") + "/"


def _matches_from_top(expression: re.Pattern[str], path: PurePath) -> bool:
    """Whether the path or a folder above it matches."""
    return any(expression.fullmatch(f"{place.as_posix()}/") for place in (path, *path.parents[:-1]))


def _names_nothing(text: str, endings: Sequence[str], what: str, option: str) -> DataError:
    if Path(text).expanduser().is_dir():
        kind = f"holds no {what}"
    else:
        kind = f"matches no {what}" if glob.has_magic(text) else "does not exist"
    return DataError(f"{printable(text)} {kind}: {option} takes files ({', '.join(endings[:4])}), folders and globs.")


# Paths that a table lists, relative or absolute -> paths relative to the folder of the audio.


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
