"""Splits of pieces, drawn by a hash of the name; related pieces stay in one split."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from datamodules.generation.piece import DURATION, ONSET, PITCH, Piece

SHARES = (0.1, 0.1)
"""Shares of validation and test."""
RUN = 7
ALIKE = 0.2
"""Intervals of a run, and share of common runs above which two melodies are equal; agrees with the titles of 319 chorales,
except for eleven that name several melodies or distant variants."""
FINE = 48
"""Ticks per quarter note for the comparison of pieces."""


class Dropped(NamedTuple):
    """A file or piece left out, and the reason in one sentence with its name."""

    name: str
    reason: str
    damaged: bool  # the file cannot be read; False: the corpus leaves the piece out


class Splits(NamedTuple):
    """Pieces of each split, and those left out."""

    train: list[Piece]
    validation: list[Piece]
    test: list[Piece]
    dropped: list[Dropped]


def drawn(names: Iterable[str], seed: int = 0) -> list[str]:
    """Names in pseudo-random order by a hash, independent of the other names."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest())


def divide(
    pieces: Sequence[Piece],
    dropped: Sequence[Dropped] = (),
    groups: Sequence[str] | None = None,
    shares: Sequence[float] = SHARES,
) -> Splits:
    """Divide pieces into splits, stratified by composer; the order is kept.

    groups: group name of each piece; a group shares a split (default: the piece's own name)
    shares: shares of validation and test, 0: none; with three groups or more neither split is empty
    """
    groups = [piece.name for piece in pieces] if groups is None else list(groups)
    sizes = Counter(groups)
    composers = {group: piece.composer for piece, group in zip(pieces, groups, strict=True)}
    held_out, validation = [], []
    if len(sizes) > len(shares):
        held_out = _take(_spread(composers), sizes, sum(shares) * len(pieces), sum(share > 0 for share in shares))
        within = _spread({name: composers[name] for name in held_out})
        validation = _take(within[: -1 if shares[1] else None], sizes, shares[0] * len(pieces), 0)
    split_of = dict.fromkeys(held_out, "test") | dict.fromkeys(validation, "validation")
    by_split = defaultdict(list)
    for piece, group in zip(pieces, groups, strict=True):
        by_split[split_of.get(group, "train")].append(piece)
    return Splits(by_split["train"], by_split["validation"], by_split["test"], list(dropped))


def _take(names: Sequence[str], sizes: Mapping[str, int], target: float, least: int) -> list[str]:
    """First names with at least `target` pieces in total, and at least `least` names."""
    before = np.cumsum([0, *(sizes[name] for name in names)])
    return [name for index, name in enumerate(names) if before[index] < target - 1e-9 or index < least]


def _spread(composers: dict[str, str]) -> list[str]:
    """Names in the order of `drawn`, with each composer's names spread evenly."""
    number, rank = Counter(composers.values()), Counter()
    at = {}
    for name in drawn(composers):
        composer = composers[name]
        at[name] = (rank[composer] + 0.5) / number[composer]
        rank[composer] += 1
    return sorted(at, key=at.__getitem__)


def melody_groups(pieces: Sequence[Piece]) -> list[str]:
    """Group name of each piece: the name of the first piece with its melody, in any key or variant.

    Melodies (voice 0) are equal if they share ALIKE of the shorter melody's runs of RUN intervals, from note to note or from
    beat to beat (unaffected by passing notes), or if a third melody links them.
    """
    runs = [_runs(piece) for piece in pieces]
    holders: dict[tuple, list[int]] = defaultdict(list)
    for index, own in enumerate(runs):
        for run in own:
            holders[run].append(index)
    shared = Counter(pair for holding in holders.values() for pair in combinations(holding, 2))
    first = list(range(len(pieces)))

    def root(index: int) -> int:
        while first[index] != index:
            index = first[index]
        return index

    for (left, right), number in shared.items():
        if number >= ALIKE * min(len(runs[left]), len(runs[right])):
            low, high = sorted((root(left), root(right)))
            first[high] = low
    return [pieces[root(index)].name for index in range(len(pieces))]


def _runs(piece: Piece) -> set[tuple]:
    melody = piece.voice(0)
    beats = np.arange(piece.pickup % piece.ticks, piece.length, piece.ticks)
    index = np.searchsorted(melody[:, ONSET], beats, "right") - 1
    beats, index = beats[index >= 0], index[index >= 0]
    index = index[beats < melody[index, ONSET] + melody[index, DURATION]]
    by_note, by_beat = np.diff(melody[:, PITCH]).tolist(), np.diff(melody[index, PITCH]).tolist()
    ways = (("notes", by_note), ("beats", by_beat))
    return {(way, *steps[i : i + RUN]) for way, steps in ways for i in range(len(steps) - RUN + 1)}


def content(piece: Piece) -> bytes:
    """Hash of all notes without voices, invariant to transposition, start and ticks."""
    notes = piece.notes.astype(np.int64)
    if not len(notes):
        return b""
    times = notes[:, [ONSET, DURATION]] * 2 * FINE + piece.ticks
    rows = np.column_stack([times // (2 * piece.ticks), notes[:, PITCH] - notes[:, PITCH].min()])
    rows[:, 0] -= rows[:, 0].min()
    return hashlib.sha256(np.unique(rows, axis=0).tobytes()).digest()


def distinct(pieces: Iterable[Piece], key: Callable[[Piece], Hashable] = content) -> tuple[list[Piece], list[Dropped]]:
    """First piece of each content, and the duplicates as dropped pieces."""
    kept: list[Piece] = []
    dropped: list[Dropped] = []
    first: dict[Hashable, Piece] = {}
    for piece in pieces:
        before = first.setdefault(key(piece), piece)
        if before is piece:
            kept.append(piece)
        else:
            reason = f"{piece.name} holds the notes of {before.name}, in the same or another key"
            dropped.append(Dropped(piece.name, reason, False))
    return kept, dropped
