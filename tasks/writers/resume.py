"""Plan of a `predict` run: which inputs are done already, why others are done again, and how outputs are called."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple

from datamodules.errors import escaped
from datamodules.file_search import entry_key
from datamodules.files import Item
from tasks.writers.journal import NAME, Entry, History, Source
from tasks.writers.parts import counted, slug
from tasks.writers.provenance import content_digest, differences


class Label(NamedTuple):
    """How tables call an input (`file`; `name` relative to the folder that was named), and what its outputs are called after."""

    file: str
    name: str
    stem: str


class Made(NamedTuple):
    """Signature of a run's network and options, and the outputs that it writes on request, with their settings."""

    signature: str
    extras: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run does, the same on every rank: labels by key, keys that are done, and what to say.

    before: entries of earlier runs that are replaced, without their rows; kept: those whose outputs stay valid;
    session: tells the entries of this run from those of earlier ones
    """

    labels: Mapping[str, Label]
    done: frozenset[str]
    before: Mapping[str, Entry]
    kept: frozenset[str]
    notice: str
    session: str


def make_plan(items: Sequence[Item], history: History, made: Made, folder: Path, reserved: Iterable[str]) -> Plan:
    """Compare the items with the journal.

    Args:
        items: all predictions to make
        history: of earlier runs into the folder
        made: what this run makes predictions with
        folder: output folder
        reserved: names in the folder that no output may take
    """
    reasons: dict[str, str | None] = {}
    for item in items:
        entry = history.entries.get(item.key)
        reasons[item.key] = "new" if entry is None else _reason(item, entry, made, folder)
    done = frozenset(key for key, reason in reasons.items() if reason is None)
    known = {key: history.entries[key] for key in reasons if key in history.entries}
    return Plan(
        label(items, history.entries.values(), reserved),
        done,
        {key: replace(entry, row=None) for key, entry in known.items() if key not in done},
        frozenset(key for key, reason in reasons.items() if reason in ("extras", "removed")),
        _notice(reasons, known, history, made),
        secrets.token_hex(4),
    )


def label(items: Sequence[Item], entries: Iterable[Entry], reserved: Iterable[str] = ()) -> dict[str, Label]:
    """Names of items, those that are taken avoided: an input keeps the names that it had in earlier runs."""
    entries = list(entries)
    labels = {entry.key: Label(entry.file, entry.name, entry.stem) for entry in entries}
    files, names = {entry.file for entry in entries}, {entry.name for entry in entries}
    stems = {entry.stem.casefold() for entry in entries} | {name.casefold() for name in (NAME, *reserved)}
    for item in items:
        if item.key in labels:
            continue
        about = f" ({item.about})" if item.about else ""
        file = _free([escaped(item.path), escaped(item.path) + about, item.key], files)
        name = _free([*_tails(item), escaped(item.name) + about, item.key], names)
        stem = _free(_stems(item), stems)
        labels[item.key] = Label(file, name, stem)
        files.add(file)
        names.add(name)
        stems.add(stem.casefold())
    return {item.key: labels[item.key] for item in items}


def sources_of(item: Item) -> tuple[Source, ...]:
    """State of the files that a prediction was read from; those that cannot be read are left out."""
    sources = []
    for path in item.files:
        try:
            stat = Path(path).stat()
            sources.append(Source(entry_key(path), stat.st_size, stat.st_mtime_ns, content_digest(path)))
        except OSError:
            continue
    return tuple(sources)


def _reason(item: Item, entry: Entry, made: Made, folder: Path) -> str | None:
    """Why an item is done again; None if it need not be."""
    if entry.error is not None:
        return "failed"
    if not _unchanged(item, entry):
        return "changed"
    if entry.run != made.signature:
        return "options"
    if any(entry.extras.get(name) != value for name, value in made.extras.items()):
        return "extras"
    if not all((folder / output).exists() for output in entry.outputs):
        return "removed"
    return None


def _unchanged(item: Item, entry: Entry) -> bool:
    """Whether the files are those that were read: of equal size, and of equal time of change or content."""
    if [source.path for source in entry.sources] != [entry_key(path) for path in item.files]:
        return False
    try:
        for path, source in zip(item.files, entry.sources, strict=True):
            stat = Path(path).stat()
            if stat.st_size != source.size:
                return False
            if stat.st_mtime_ns != source.mtime_ns and content_digest(path) != source.digest:
                return False
    except OSError:
        return False
    return True


def _notice(reasons: Mapping[str, str | None], known: Mapping[str, Entry], history: History, made: Made) -> str:
    """Sentence on what is skipped and what is done again; empty if all inputs are new."""
    counts = Counter(reasons.values())
    again = {
        "changed": "changed since",
        "options": f"made with other options before ({_changed_options(reasons, known, history, made.signature)})",
        "extras": f"without {' and '.join(f'--output.{name}' for name in made.extras)} before",
        "removed": "lacking outputs",
    }
    parts = [f"{counts[reason]} {text}" for reason, text in again.items() if counts[reason]]
    done = "is" if counts[None] == 1 else "are"
    sentences = [f"{counts[None]} of {counted(len(reasons), 'input')} {done} done already and skipped"] if counts[None] else []
    sentences += [f"tried again: {counts['failed']} that failed before"] if counts["failed"] else []
    sentences += [f"done again and replaced: {', '.join(parts)}"] if parts else []
    return "; ".join(sentences)


def _changed_options(reasons: Mapping[str, str | None], known: Mapping[str, Entry], history: History, signature: str) -> str:
    runs = dict.fromkeys(entry.run for key, entry in known.items() if reasons[key] == "options")
    now = history.runs[signature]["options"]
    changed = dict.fromkeys(text for run in runs for text in differences(history.runs.get(run, {}).get("options", {}), now))
    return ", ".join([*changed][:3]) + (" ..." if len(changed) > 3 else "")


def _tails(item: Item) -> list[str]:
    """Ends of an item's path, from its name relative to the named folder to the whole."""
    name, parts = escaped(item.name), PurePath(item.key).parts
    depth = len(PurePosixPath(name).parts)
    return [name, *("/".join(parts[-count:]) for count in range(depth + 1, len(parts)))]


def _stems(item: Item) -> list[str]:
    stem = slug(item.stem)
    digest = hashlib.sha256(item.key.encode()).hexdigest()
    about = [f"{stem}-{slug(item.about)}"] if item.about else []
    return [stem, *about, f"{stem}-{digest[:6]}", f"{stem}-{digest}"]


def _free(candidates: Sequence[str], taken: set[str]) -> str:
    """First candidate that is not taken, in whatever case; else the last."""
    return next((text for text in candidates if text not in taken and text.casefold() not in taken), candidates[-1])
