"""Journal of a `predict` folder: one JSON line per finished input, for resuming and for the tables."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from datamodules.common.errors import escaped
from tasks.writers.output_files import write_text

log = logging.getLogger(__name__)

NAME = "journal.jsonl"
"""Journal of rank 0 and of earlier runs; other ranks write `journal-<rank>.jsonl`."""


@dataclass(frozen=True)
class FileState:
    """State of a file when it was read: path, size (bytes), modification time (ns), digest of the content."""

    path: str
    size: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True)
class JournalEntry:
    """Processed input.

    Args:
        key: identifier, equal for every spelling of the path
        file: name in tables
        name: path relative to the folder that the user named
        stem: name of its outputs
        run: signature of network and options
        session: identifier of the command
        sources: files that were read
        outputs: written files, relative to the output folder
        extras: optional kinds of outputs with their settings
        row: row of the tables
        error: reason for a missing row
    """

    key: str
    file: str
    name: str
    stem: str
    run: str
    session: str
    sources: tuple[FileState, ...] = ()
    outputs: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] | None = None
    error: str | None = None


class History(NamedTuple):
    """Content of a journal: entries by key, and network and options of runs by signature."""

    entries: dict[str, JournalEntry]
    runs: dict[str, dict[str, Any]]

    def split(self) -> tuple[list[JournalEntry], list[JournalEntry]]:
        """Entries with a row and entries with an error, both sorted by file."""
        entries = sorted(self.entries.values(), key=lambda entry: (entry.file, entry.key))
        return [entry for entry in entries if entry.error is None], [entry for entry in entries if entry.error is not None]


class PredictionJournal:
    """Journal of one rank, to which a line per finished input is appended and flushed; a kill loses at most the last one.

    Args:
        folder: output folder of `predict`
        rank: rank of this process
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = Path(folder)
        self.path = self.folder / (NAME if rank == 0 else f"journal-{rank}.jsonl")
        self._file: TextIO | None = None

    def add(self, entry: JournalEntry) -> None:
        """Append an entry; a later one of the same key replaces it."""
        self._append(asdict(entry))

    def add_run(self, signature: str, about: Mapping[str, Any]) -> None:
        """Append network and options of a run."""
        self._append({"run": signature, "about": about})

    def close(self) -> None:
        """Close the file; `add` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, content: Mapping[str, Any]) -> None:
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(content) + "\n")
        self._file.flush()


def read_history(folder: Path) -> History:
    """Merge the journals of all ranks; lines that are torn or none of ours are passed over."""
    history = History({}, {})
    for path in _journals(folder):
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                _read_line(line, history)
    return history


def compact(folder: Path, history: History) -> None:
    """Replace the journals of all ranks by one with a single line per entry."""
    used = {entry.run for entry in history.entries.values()}
    lines: list[Mapping[str, Any]] = [{"run": run, "about": about} for run, about in history.runs.items() if run in used]
    lines += [asdict(entry) for entry in history.entries.values()]
    write_text(folder / NAME, "".join(json.dumps(line) + "\n" for line in lines))
    for path in _journals(folder):
        if path.name != NAME:
            path.unlink(missing_ok=True)


def remove_outputs(folder: Path, outputs: Iterable[str]) -> None:
    """Remove the files of an entry, and folders that become empty; files outside the folder are kept."""
    for output in outputs:
        path = folder / output
        if Path(output).is_absolute() or ".." in Path(output).parts or not path.parent.resolve().is_relative_to(folder.resolve()):
            continue
        try:
            path.unlink(missing_ok=True)
            if path.parent != folder and not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            log.warning("%s could not be removed (%s).", escaped(str(path)), error.strerror)


def plain(value: Any) -> Any:
    """Escape unprintable text in nested values, so that tables and JSON are valid UTF-8 for any file name."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _journals(folder: Path) -> list[Path]:
    return [path for path in (folder / NAME, *sorted(folder.glob("journal-*.jsonl"))) if path.is_file()]


def _read_line(line: str, history: History) -> None:
    try:
        content = json.loads(line)
        if "about" in content:
            history.runs[content["run"]] = dict(content["about"])
            return
        known = {each.name for each in fields(JournalEntry)}
        content = {name: value for name, value in content.items() if name in known}
        sources = tuple(FileState(**source) for source in content.pop("sources"))
        entry = JournalEntry(**content, sources=sources)
        history.entries[entry.key] = entry
    except (ValueError, KeyError, TypeError, AttributeError):
        return
