"""Originality: pieces and training pieces -> longest copied runs of chords in any key, and share of new n-grams.

A chord is a set of sounding pitches, a change the step to the next chord regardless of durations. A run of k changes is copied
if its k + 1 chords, transposed by one interval, are successive in a training piece too. The corpus' own test pieces, which also
share runs with the training set, are the reference.
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
    """Longest run of a piece that occurs in a training piece."""

    piece: str
    changes: int  # number of chord changes; 0: none
    bar: int  # first bar of the run in the piece; 0: pickup
    source: str  # first training piece with the run
    source_bar: int
    transposition: int  # semitones from the source to the piece


class Originality(NamedTuple):
    """Copies of each piece, and share of n-grams of changes that no training piece has, for n = 1, 2, ..."""

    copies: list[Copy]
    novelty: list[Interval]

    @property
    def runs(self) -> NDArray[np.int64]:
        """Lengths of the pieces' longest runs, (pieces,)."""
        return np.array([copy.changes for copy in self.copies], np.int64)

    def summary(self) -> dict[str, float]:
        """Median, 95th percentile and maximum of the runs."""
        if not len(self.runs):
            return dict.fromkeys(("copied_median", "copied_p95", "copied_max"), float("nan"))
        median, p95 = np.percentile(self.runs, [50, 95])
        return {"copied_median": float(median), "copied_p95": float(p95), "copied_max": float(self.runs.max())}


class Changes(NamedTuple):
    """Chord changes of several pieces, concatenated."""

    shapes: NDArray[np.uint64]  # (changes, 4): pitches above the lowest of first and second chord, as bits
    step: NDArray[np.int64]  # (changes,) movement of the lowest pitch, semitones
    low: NDArray[np.int64]  # (changes,) lowest pitch of the first chord
    piece: NDArray[np.int64]  # (changes,)
    frame: NDArray[np.int64]  # (changes,) start of the first chord


def originality(pieces: Sequence[Piece], training: Sequence[Piece], steps: int = 4, resamples: int = 1000) -> Originality:
    """Measure copies of training pieces in generated pieces, or in test pieces as reference.

    Args:
        pieces: pieces to measure
        training: training pieces without transposition
        steps: frames per quarter note
        resamples: number of bootstrap resamples
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
    for piece, run, first, source in zip(pieces, longest.tolist(), start, origin, strict=True):
        if run:
            model, shift = training[theirs.piece[source]], int(ours.low[first] - theirs.low[source])
            bar, source_bar = _bar(piece, ours.frame[first], steps), _bar(model, theirs.frame[source], steps)
            copies.append(Copy(piece.name, run, bar, model.name, source_bar, shift))
        else:
            copies.append(Copy(piece.name, 0, 0, "", 0, 0))
    return Originality(copies, novelty)


def flagged(generated: Originality, human: Originality) -> bool:
    """True if the 95th percentile of copied runs is larger than that of the test pieces."""
    return generated.summary()["copied_p95"] > human.summary()["copied_p95"]


def changes(pieces: Sequence[Piece], steps: int = 4) -> Changes:
    """Chord changes of all pieces."""
    parts = [_changes(piece, number, steps) for number, piece in enumerate(pieces)]
    if not parts:
        parts = [Changes(np.zeros((0, 4), np.uint64), *np.zeros((4, 0), np.int64))]
    return Changes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _changes(piece: Piece, number: int, steps: int) -> Changes:
    roll, frame = chords(roll_array(piece, steps))
    sounding = roll.any(1)
    # The lowest pitch of silence is that of the previous chord, so that a transposition continues.
    last = np.maximum.accumulate(np.where(sounding, np.arange(len(roll)), 0))
    low = roll.argmax(1)[last]
    above = np.minimum(low[:, None] + np.arange(128), 128)
    shape = np.packbits(np.take_along_axis(np.pad(roll, ((0, 0), (0, 1))), above, 1), axis=1).view(np.uint64)
    many = max(len(roll) - 1, 0)
    return Changes(np.hstack([shape[:-1], shape[1:]])[:many], np.diff(low), low[:-1], np.full(many, number), frame[:-1])


def _copied(ours: Changes, theirs: Changes) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For n = 1, 2, ...: starts of n-grams of `ours` that occur in `theirs`, and their first starts there."""
    tokens = _tokens(ours, theirs)
    sides = [[np.arange(len(side.piece)), token, token, side.piece] for side, token in zip((ours, theirs), tokens, strict=True)]
    length, kinds = 1, 1 + max(token.max(initial=0) for token in tokens)
    while True:
        (start, gram, *_), (source, known, *_) = sides
        grams, first = np.unique(known, return_index=True)
        copied = np.isin(gram, grams)
        yield start[copied], source[first[np.searchsorted(grams, gram[copied])]]
        # A shared n-gram starts with a shared (n - 1)-gram: others are dropped.
        sides[0][:2] = start[copied], gram[copied]
        shared = np.isin(known, gram)
        sides[1][:2] = source[shared], known[shared]
        for side in sides:
            side[:2] = _longer(*side, length, kinds)
        ids = np.unique(np.concatenate([side[1] for side in sides]), return_inverse=True)[1]
        sides[0][1], sides[1][1] = np.split(ids, [len(sides[0][1])])
        length += 1


def _longer(
    start: NDArray[np.int64],
    gram: NDArray[np.int64],
    token: NDArray[np.int64],
    piece: NDArray[np.int64],
    length: int,
    kinds: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and numbers of n-grams with one more change in the same piece."""
    fits = start + length < len(piece)
    fits[fits] = piece[start[fits] + length] == piece[start[fits]]
    return start[fits], gram[fits] * kinds + token[start[fits] + length]


def _tokens(*sides: Changes) -> list[NDArray[np.int64]]:
    """Changes as small integers, equal for changes that are equal up to transposition."""
    shapes, step = np.concatenate([side.shapes for side in sides]), np.concatenate([side.step for side in sides])
    columns = [np.unique(column, return_inverse=True)[1] for column in (*shapes.T, step)]
    numbers = np.zeros(len(step), np.int64)
    for column in columns:
        numbers = np.unique(numbers * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    return np.split(numbers, np.cumsum([len(side.step) for side in sides])[:-1])


def _bar(piece: Piece, frame: int, steps: int) -> int:
    """Bar number of a frame, 0 in a pickup."""
    return int((frame * piece.ticks / steps - piece.pickup) // piece.bar) + 1
