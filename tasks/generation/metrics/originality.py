"""How much of a piece stands in the training set already: runs of chords copied in any key, and how new its n-grams are.

A chord is the set of pitches that sound, a change the step from one chord to the next, whatever their lengths; a run of k changes
is copied where k + 1 chords follow each other in a training piece too, all transposed by one interval. Bach repeats himself as
well: what is normal is what his own test pieces have of the training set.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import Piece
from tasks.generation.metrics.arrays import chords, roll_array
from tasks.metrics.bootstrap import Interval, ratio

NGRAMS = 12


class Copy(NamedTuple):
    """The longest run of one piece that a training piece has too."""

    piece: str
    changes: int  # of chord; 0: not one
    bar: int  # of the piece, where the run begins; 0: in the pickup
    source: str  # the first training piece that has it
    source_bar: int
    transposition: int  # semitones from the source to the piece


class Originality(NamedTuple):
    """Copies of each piece, and the share of n-grams of changes that no training piece has, for n = 1, 2, ..."""

    copies: list[Copy]
    novelty: list[Interval]

    @property
    def runs(self) -> NDArray[np.int64]:
        """Length of each piece's longest run, (pieces,)."""
        return np.array([copy.changes for copy in self.copies], np.int64)

    def summary(self) -> dict[str, float]:
        """Median, 95th percentile and longest of the runs."""
        if not len(self.runs):
            return dict.fromkeys(("copied_median", "copied_p95", "copied_max"), float("nan"))
        median, p95 = np.percentile(self.runs, [50, 95])
        return {"copied_median": float(median), "copied_p95": float(p95), "copied_max": float(self.runs.max())}


class Changes(NamedTuple):
    """Changes of chord of several pieces, one after the other."""

    shapes: NDArray[np.uint64]  # (changes, 4): pitches above the lowest of the chord before and of the chord, as bits
    step: NDArray[np.int64]  # (changes,) semitones that the lowest pitch moves by
    low: NDArray[np.int64]  # (changes,) lowest pitch of the chord before
    piece: NDArray[np.int64]  # (changes,)
    frame: NDArray[np.int64]  # (changes,) where the chord before begins


def originality(pieces: Sequence[Piece], training: Sequence[Piece], steps: int = 4, resamples: int = 1000) -> Originality:
    """What `pieces` have of `training`: of generated pieces, and for comparison of the test pieces.

    Args:
        pieces: to judge
        training: what the system learned from, before any transposition
        steps: frames of a quarter note
        resamples: draws of the intervals
    """
    ours, theirs, count = changes(pieces, steps), changes(training, steps), len(pieces)
    total = np.bincount(ours.piece, minlength=count)
    longest, start, origin = (np.zeros(count, np.int64) for _ in range(3))
    novelty = []
    for length, (places, sources) in enumerate(_copied(ours, theirs), 1):
        if length <= NGRAMS:
            grams = np.maximum(total - length + 1, 0)
            novelty.append(ratio(grams - np.bincount(ours.piece[places], minlength=count), grams, resamples))
        elif not len(places):
            break
        hit, first = np.unique(ours.piece[places], return_index=True)
        longest[hit], start[hit], origin[hit] = length, places[first], sources[first]
    copies = []
    for piece, run, place, source in zip(pieces, longest.tolist(), start, origin, strict=True):
        if run:
            model, shift = training[theirs.piece[source]], int(ours.low[place] - theirs.low[source])
            at, there = _bar(piece, ours.frame[place], steps), _bar(model, theirs.frame[source], steps)
            copies.append(Copy(piece.name, run, at, model.name, there, shift))
        else:
            copies.append(Copy(piece.name, 0, 0, "", 0, 0))
    return Originality(copies, novelty)


def flagged(judged: Originality, human: Originality) -> bool:
    """Whether pieces copy more than test pieces do: the 95th percentile of their runs is larger."""
    return judged.summary()["copied_p95"] > human.summary()["copied_p95"]


def changes(pieces: Sequence[Piece], steps: int = 4) -> Changes:
    """Changes of chord of all pieces."""
    parts = [_changes(piece, number, steps) for number, piece in enumerate(pieces)]
    if not parts:
        parts = [Changes(np.zeros((0, 4), np.uint64), *np.zeros((4, 0), np.int64))]
    return Changes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _changes(piece: Piece, number: int, steps: int) -> Changes:
    roll, frame = chords(roll_array(piece, steps))
    sounding = roll.any(1)
    # In silence the lowest pitch is that of the chord before, so that a transposition goes on.
    last = np.maximum.accumulate(np.where(sounding, np.arange(len(roll)), 0))
    low = roll.argmax(1)[last]
    above = np.minimum(low[:, None] + np.arange(128), 128)
    shape = np.packbits(np.take_along_axis(np.pad(roll, ((0, 0), (0, 1))), above, 1), axis=1).view(np.uint64)
    many = max(len(roll) - 1, 0)
    return Changes(np.hstack([shape[:-1], shape[1:]])[:many], np.diff(low), low[:-1], np.full(many, number), frame[:-1])


def _copied(ours: Changes, theirs: Changes) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For n = 1, 2, ...: where n-grams of `ours` begin that `theirs` has, in order, and where each first begins there."""
    tokens = _tokens(ours, theirs)
    sides = [[np.arange(len(side.piece)), token, token, side.piece] for side, token in zip((ours, theirs), tokens, strict=True)]
    length, kinds = 1, 1 + max(token.max(initial=0) for token in tokens)
    while True:
        (place, gram, *_), (there, known, *_) = sides
        grams, first = np.unique(known, return_index=True)
        found = np.isin(gram, grams)
        yield place[found], there[first[np.searchsorted(grams, gram[found])]]
        # Longer n-grams begin where shorter ones do: what only one side has is dropped.
        sides[0][:2] = place[found], gram[found]
        shared = np.isin(known, gram)
        sides[1][:2] = there[shared], known[shared]
        for side in sides:
            side[:2] = _longer(*side, length, kinds)
        ids = np.unique(np.concatenate([side[1] for side in sides]), return_inverse=True)[1]
        sides[0][1], sides[1][1] = np.split(ids, [len(sides[0][1])])
        length += 1


def _longer(
    place: NDArray[np.int64],
    gram: NDArray[np.int64],
    token: NDArray[np.int64],
    piece: NDArray[np.int64],
    length: int,
    kinds: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places and numbers of the n-grams that are one change longer, where the piece goes on."""
    fits = place + length < len(piece)
    fits[fits] = piece[place[fits] + length] == piece[place[fits]]
    return place[fits], gram[fits] * kinds + token[place[fits] + length]


def _tokens(*sides: Changes) -> list[NDArray[np.int64]]:
    """Changes as small numbers, equal where the changes are equal up to a transposition."""
    shapes, step = np.concatenate([side.shapes for side in sides]), np.concatenate([side.step for side in sides])
    columns = [np.unique(column, return_inverse=True)[1] for column in (*shapes.T, step)]
    numbers = np.zeros(len(step), np.int64)
    for column in columns:
        numbers = np.unique(numbers * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    return np.split(numbers, np.cumsum([len(side.step) for side in sides])[:-1])


def _bar(piece: Piece, frame: int, steps: int) -> int:
    """Number of the bar that a frame is in, 0 in a pickup."""
    return int((frame * piece.ticks / steps - piece.pickup) // piece.bar) + 1
