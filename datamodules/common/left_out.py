"""Report of items that a run leaves out: kind, name and reason of files, clips, tags, events, tracks, notes.

`prepare` writes it to report.json, `fit`, `validate` and `test` to metrics.json, `predict` to its own JSON; all log it.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from datamodules.common.errors import DataError, printable

log = logging.getLogger(__name__)

LOGGED = 5
"""Items of a group that are named in the log."""

STORED = 100
"""Items of a group that are named in metrics.json; report.json names all."""

_ENDING = re.compile(r"(: it is left out)?\.?$")
_VERB = re.compile(r" (is|has|holds|does|may|gives|cannot|puts|breaks|decodes) ")

UNREADABLE = "cannot be read"
"""Reason of an item that a loader process could not read; the process logs the details."""


@dataclass(frozen=True, order=True)
class LeftOut:
    """Item that a run does not use.

    Args:
        kind: singular noun: file, clip, tag, event, track, note, piece, stem
        item: name; of a file its path
        reason: reason without the name; items of one kind and reason form a group
        detail: detail that differs within a group, such as `2 clips`
    """

    kind: str
    item: str
    reason: str
    detail: str = ""

    @classmethod
    def from_sentence(cls, kind: str, item: str, sentence: object, path: object = "") -> "LeftOut":
        """Item from an error message, whose leading name or path is removed from the reason."""
        reason = str(sentence)
        for name in filter(None, (str(path), item)):
            reason = reason.removeprefix(name)
        return cls(kind, item, _ENDING.sub("", reason.lstrip(": ,")))

    @classmethod
    def from_subject(cls, kind: str, sentence: object) -> "LeftOut":
        """Item from a sentence whose subject, the part before the verb, is its name."""
        text = str(sentence)
        verb = _VERB.search(text)
        return cls.from_sentence(kind, text[: verb.start()] if verb else text, text.replace(" is left out: ", ": ", 1))

    def __str__(self) -> str:
        return f"{self.item} ({self.detail})" if self.detail else self.item

    def row(self) -> list[str]:
        """Fields as a JSON list; `LeftOut(*row)` is the same item."""
        return [self.kind, self.item, self.reason, self.detail]


class LeftOutReport:
    """Items left out by one process, each once, grouped by kind and reason.

    Loader processes have reports of their own; items that they cannot read arrive through the shared flags of `watch`.
    """

    def __init__(self) -> None:
        self._items: dict[LeftOut, None] = {}
        self._logged: set[LeftOut] = set()
        self._watched: list[tuple[str, Sequence[str], UnreadableFlags]] = []

    def __len__(self) -> int:
        return len(self.items())

    def add(self, kind: str, item: str, reason: str, detail: str = "") -> None:
        """Add one item; see `LeftOut`."""
        self.extend([LeftOut(kind, item, reason, detail)])

    def extend(self, items: Iterable[LeftOut], logged: bool = False) -> None:
        """Add new items; logged: they were logged already."""
        new = dict.fromkeys(items)
        self._items.update(new)
        self._logged.update(new if logged else ())

    def watch(self, kind: str, names: Sequence[str], flags: "UnreadableFlags") -> None:
        """Include items that loader processes flag as unreadable; `names` (rows,): one for each flag."""
        self._watched.append((kind, names, flags))

    def items(self) -> list[LeftOut]:
        """All items, sorted by kind, name and reason."""
        known = {(entry.kind, entry.item) for entry in self._items}
        flagged = {
            LeftOut(kind, str(names[row]), UNREADABLE)
            for kind, names, flags in self._watched
            for row in flags.rows()
            if (kind, str(names[row])) not in known
        }
        return sorted([*self._items, *flagged])

    def groups(self) -> list[tuple[str, str, list[LeftOut]]]:
        """(kind, reason, items), the largest group first."""
        return _grouped(self.items())

    def as_json(self, limit: int | None = STORED) -> list[dict[str, Any]]:
        """Groups as plain types: kind, reason, count, the first `limit` items (None: all), and details if any."""
        return [_plain(*group, limit) for group in self.groups()]

    def lines(self) -> list[str]:
        """One line per group, such as `Left out 2 tags: quiet (1 clip), rare (2 clips): too few clips`."""
        return [_line(*group) for group in self.groups()]

    def log_new(self) -> None:
        """Log the items added since the last call, on rank 0."""
        new = [entry for entry in self._items if entry not in self._logged]
        self._logged.update(new)
        if getattr(rank_zero_only, "rank", 0) == 0:
            for group in _grouped(sorted(new)):
                log.warning("%s", _line(*group))


def _grouped(items: Iterable[LeftOut]) -> list[tuple[str, str, list[LeftOut]]]:
    groups: dict[tuple[str, str], list[LeftOut]] = {}
    for entry in items:
        groups.setdefault((entry.kind, entry.reason), []).append(entry)
    return sorted(((*key, entries) for key, entries in groups.items()), key=lambda group: (-len(group[2]), *group[:2]))


def _plain(kind: str, reason: str, entries: Sequence[LeftOut], limit: int | None) -> dict[str, Any]:
    first = entries[:limit]
    details = {"details": [printable(entry.detail) for entry in first]} if any(entry.detail for entry in first) else {}
    items = [printable(entry.item) for entry in first]
    return {"kind": kind, "reason": printable(reason), "count": len(entries), "items": items, **details}


def _line(kind: str, reason: str, entries: Sequence[LeftOut]) -> str:
    number = f"{len(entries)} {kind}{'' if len(entries) == 1 else 'es' if kind.endswith('s') else 's'}"
    more = f" and {len(entries) - LOGGED} more" if len(entries) > LOGGED else ""
    return printable(f"Left out {number}: {', '.join(map(str, entries[:LOGGED]))}{more}: {reason}")


class UnreadableFlags:
    """Flags of unreadable items, shared by the loader processes of a run, so that each item is logged once."""

    def __init__(self, count: int) -> None:
        self.flags = torch.zeros(count, dtype=torch.uint8).share_memory_()

    def report(self, item: int, error: DataError, strict: bool) -> None:
        """Flag an item and log its error, once; raise the error if strict."""
        if strict:
            raise error
        if not self.flags[item]:
            self.flags[item] = 1
            log.warning("Left out: %s", printable(str(error)))

    def rows(self) -> list[int]:
        """Positions of the flagged items."""
        return self.flags.nonzero().flatten().tolist()
