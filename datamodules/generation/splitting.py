"""Splits of pieces, drawn by a hash of the name; related pieces stay in one split."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from datamodules.generation.piece import DURATION, ONSET, PITCH, Piece

SHARES = (0.1, 0.1)
"""Of the pieces: validation and test."""
RUN = 7
ALIKE = 0.2
"""Two melodies are one by so many intervals in a run, and by so large a share of their runs: the titles of 319 chorales
agree with it, but for eleven that name several melodies or distant variants."""
FINE = 48
"""Ticks of a quarter note in which two pieces are compared."""


class Dropped(NamedTuple):
    """A file or piece that is in no split, and the reason in one sentence that names it."""

    name: str
    reason: str
    damaged: bool  # the file cannot be read, as against a piece that is not wanted


class Splits(NamedTuple):
    """Pieces of each split, and what was left out."""

    train: list[Piece]
    validation: list[Piece]
    test: list[Piece]
    dropped: list[Dropped]


def drawn(names: Iterable[str], seed: int = 0) -> list[str]:
    """The names in an order that is random but for the seed, and that another name does not disturb."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest())


def divide(
    pieces: Sequence[Piece],
    dropped: Sequence[Dropped] = (),
    groups: Sequence[str] | None = None,
    shares: Sequence[float] = SHARES,
) -> Splits:
    """Pieces -> splits, each in the order given; each composer's pieces are spread over them.

    groups: a name for each piece; those of one name share a split (default: the piece's own name)
    shares: of the pieces for validation and test, 0: none; of three groups or more neither gets none
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


def _take(names: Sequence[str], sizes: Mapping[str, int], wanted: float, least: int) -> list[str]:
    """The first of the names, until they are so many pieces and at least so many names."""
    before = np.cumsum([0, *(sizes[name] for name in names)])
    return [name for place, name in enumerate(names) if before[place] < wanted - 1e-9 or place < least]


def _spread(composers: dict[str, str]) -> list[str]:
    """The names as `drawn`, but so that any part of the order holds about the same part of each composer's."""
    number, place = Counter(composers.values()), Counter()
    at = {}
    for name in drawn(composers):
        composer = composers[name]
        at[name] = (place[composer] + 0.5) / number[composer]
        place[composer] += 1
    return sorted(at, key=at.__getitem__)


def melody_groups(pieces: Sequence[Piece]) -> list[str]:
    """For each piece the name of the first one with its melody, in any key and as another setting may vary it.

    Melodies (voice 0) are one where they share ALIKE of the shorter one's runs of RUN intervals, from note to note or from
    beat to beat, which passing notes do not change; or where a third melody links them.
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

    for (one, other), number in shared.items():
        if number >= ALIKE * min(len(runs[one]), len(runs[other])):
            low, high = sorted((root(one), root(other)))
            first[high] = low
    return [pieces[root(index)].name for index in range(len(pieces))]


def _runs(piece: Piece) -> set[tuple]:
    melody = piece.voice(0)
    beats = np.arange(piece.pickup % piece.ticks, piece.length, piece.ticks)
    place = np.searchsorted(melody[:, ONSET], beats, "right") - 1
    beats, place = beats[place >= 0], place[place >= 0]
    place = place[beats < melody[place, ONSET] + melody[place, DURATION]]
    by_note, by_beat = np.diff(melody[:, PITCH]).tolist(), np.diff(melody[place, PITCH]).tolist()
    ways = (("notes", by_note), ("beats", by_beat))
    return {(way, *steps[i : i + RUN]) for way, steps in ways for i in range(len(steps) - RUN + 1)}


def content(piece: Piece) -> bytes:
    """A fingerprint of all notes, voices aside, that neither transposition nor another start or number of ticks changes."""
    notes = piece.notes.astype(np.int64)
    if not len(notes):
        return b""
    times = notes[:, [ONSET, DURATION]] * 2 * FINE + piece.ticks
    rows = np.column_stack([times // (2 * piece.ticks), notes[:, PITCH] - notes[:, PITCH].min()])
    rows[:, 0] -= rows[:, 0].min()
    return hashlib.sha256(np.unique(rows, axis=0).tobytes()).digest()


def distinct(pieces: Iterable[Piece], key: Callable[[Piece], Hashable] = content) -> tuple[list[Piece], list[Dropped]]:
    """The first piece of each content, and the others with the name of the one they repeat."""
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
