"""Reference events of a user's own files: rows of a table matched with files by the longest tail of their paths."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.errors import escaped
from datamodules.event_files import read_events
from tasks.figures.sed import Span

SHOWN = 6
"""Names that a remark lists."""


class Reference(NamedTuple):
    """Events (onset, offset, class) by path of the file, and what has no counterpart."""

    events: dict[str, list[Span]]
    lacking: list[str]  # files without rows
    unused: list[str]  # names in the table without a file

    def remarks(self, table: str) -> list[str]:
        """Sentences on what has no counterpart in the other."""
        lines = []
        if self.lacking:
            lines.append(f"{table} has no rows of {_listed(self.lacking, 'file')}")
        if self.unused:
            lines.append(f"not among the inputs, but in {table}: {_listed(self.unused, 'file')}")
        return lines


def read_reference(table: str, classes: list[str], paths: Sequence[str]) -> Reference:
    """Read a table of true events for files.

    Raises:
        DataError: no such table, or a label that is no class.
    """
    labels = read_events(table, classes)
    spans: dict[str, list[Span]] = {name: [] for name in labels.names}
    for clip, label, onset, offset in zip(*labels.events, strict=True):
        spans[labels.names[clip]].append((float(onset), float(offset), labels.classes[label]))
    absolute = {str(Path(path).expanduser().absolute()): path for path in paths}
    names = match_tails(list(absolute), list(labels.names))
    events = {path: spans[names[file]] for file, path in absolute.items() if file in names}
    lacking = [escaped(path) for file, path in absolute.items() if file not in names]
    used = set(names.values())
    return Reference(events, lacking, [escaped(name) for name in labels.names if name not in used])


def match_tails(paths: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Name of each path: one that shares the longest tail with it, the file name at least; path -> name.

    Longer tails are matched first, a name serves one path, and where several fit equally well none is taken.
    """
    by_file: dict[str, list[str]] = {}
    for name in names:
        by_file.setdefault(_parts(name)[0], []).append(name)
    tails: dict[int, list[tuple[str, str]]] = {}
    for path in paths:
        for name in by_file.get(_parts(path)[0], []):
            tails.setdefault(_tail(path, name), []).append((path, name))
    matches: dict[str, str] = {}
    settled_paths: set[str] = set()
    settled_names: set[str] = set()
    for length in sorted(tails, reverse=True):
        pairs = [(path, name) for path, name in tails[length] if path not in settled_paths and name not in settled_names]
        of_path, of_name = Counter(path for path, _ in pairs), Counter(name for _, name in pairs)
        matches |= {path: name for path, name in pairs if of_path[path] == of_name[name] == 1}
        settled_paths |= of_path.keys()
        settled_names |= of_name.keys()
    return matches


def _parts(path: str) -> tuple[str, ...]:
    """Components of a path from any system, the last first."""
    return tuple(reversed([part for part in path.replace("\\", "/").split("/") if part not in ("", ".")])) or ("",)


def _tail(path: str, name: str) -> int:
    """Number of last components that two paths share."""
    pairs = zip(_parts(path), _parts(name), strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(_parts(path)), len(_parts(name))))


def _listed(names: Sequence[str], thing: str) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {thing}{'s' * (len(names) > 1)} ({', '.join(Path(name).name for name in names[:SHOWN])}{more})"
