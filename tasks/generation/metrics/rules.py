"""Voice leading of four parts: how often a piece breaks the rules of the textbook, per 100 changes of chord.

A rule takes chords (chords, voices), MIDI pitches from the highest voice to the lowest, -1 where a voice rests, and answers how
often each chord breaks it (chords,), counted where the fault is complete. Pitches have no spelling here: 7 semitones are a fifth.
"""

from collections.abc import Callable, Iterable
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.harmony import find_key
from datamodules.generation.piece import Piece
from tasks.generation.metrics.arrays import SILENT, chords, voice_array
from tasks.metrics.bootstrap import Interval, ratio

Chords = NDArray[np.int64]
Counts = NDArray[np.int64]

RANGES = ((57, 81), (53, 74), (48, 69), (36, 63))
"""Lowest and highest pitch of soprano, alto, tenor and bass in Bach's chorales."""
LEAP = 8  # semitones: a sixth or more has to turn back
TRITONE, FIFTH, OCTAVE = 6, 7, 12


def parallel_fifths(pitch: Chords) -> Counts:
    """Any two voices a fifth apart that move the same way and are a fifth apart again, octaves between them or not."""
    return _parallels(pitch, (FIFTH,), True)


def parallel_octaves(pitch: Chords) -> Counts:
    """The same of unisons and octaves."""
    return _parallels(pitch, (0,), True)


def antiparallels(pitch: Chords) -> Counts:
    """Fifths, octaves and unisons that follow each other in contrary motion."""
    return _parallels(pitch, (0, FIFTH), False)


def hidden_fifths(pitch: Chords) -> Counts:
    """Outer voices that move the same way into a fifth, from another interval; a diminished fifth before it is allowed."""
    return _hidden(pitch, FIFTH, (FIFTH, TRITONE))


def hidden_octaves(pitch: Chords) -> Counts:
    """Outer voices that move the same way into an octave or unison, from another interval."""
    return _hidden(pitch, 0, (0,))


def crossings(pitch: Chords) -> Counts:
    """Neighbouring voices of which the lower sounds above the upper."""
    upper, lower = pitch[:, :-1], pitch[:, 1:]
    return (_sounding(upper, lower) & (upper < lower)).sum(1)


def overlaps(pitch: Chords) -> Counts:
    """A voice that moves beyond where its neighbour has just been."""
    found = np.zeros(len(pitch), np.int64)
    for above, below in pairwise(range(pitch.shape[1])):
        upper, lower = pitch[:, above], pitch[:, below]
        all_sound = _sounding(upper[:-1], upper[1:], lower[:-1], lower[1:])
        found[1:] += all_sound & ((upper[1:] < lower[:-1]) | (lower[1:] > upper[:-1]))
    return found


def out_of_range(pitch: Chords) -> Counts:
    """Voices that are above or below what a choir sings."""
    low, high = np.array(RANGES[: pitch.shape[1]]).T
    return (_sounding(pitch) & ((pitch < low) | (pitch > high))).sum(1)


def wide_spacing(pitch: Chords) -> Counts:
    """More than an octave between soprano and alto, or alto and tenor."""
    upper, lower = pitch[:, :-2], pitch[:, 1:-1]
    return (_sounding(upper, lower) & (upper - lower > OCTAVE)).sum(1)


def leading_tones(pitch: Chords, tonic: int) -> Counts:
    """A leading tone in the soprano over a bass that steps from the dominant to the tonic, and that does not rise to the tonic.

    tonic: pitch class. A suspended leading tone may rise late: its next other pitch counts.
    """
    found = np.zeros(len(pitch), np.int64)
    soprano, bass = pitch[:, 0], pitch[:, -1]
    dominant = _sounding(bass[:-1], bass[1:]) & ((bass[:-1] - tonic) % 12 == FIFTH) & ((bass[1:] - tonic) % 12 == 0)
    leading = _sounding(soprano[:-1]) & ((soprano[:-1] - tonic) % 12 == 11)
    after = _next_other(soprano)[:-1]
    found[1:] = dominant & leading & (after != soprano[:-1] + 1) & (after != SILENT)
    return found


def leaps(pitch: Chords) -> Counts:
    """Leaps of a sixth or more in the upper voices that are not followed by a move the other way."""
    upper, found = pitch[:, :-1], np.zeros(len(pitch), np.int64)
    move = np.where(_sounding(upper[:-1], upper[1:]), upper[1:] - upper[:-1], 0)
    after = np.stack([_next_other(line)[1:] for line in upper.T], 1)
    onward = np.where(after == SILENT, 0, after - upper[1:])
    found[1:] = ((np.abs(move) >= LEAP) & (move * onward > 0)).sum(1)
    return found


RULES: dict[str, Callable[..., Counts]] = {
    "parallel_fifths": parallel_fifths,
    "parallel_octaves": parallel_octaves,
    "antiparallels": antiparallels,
    "hidden_fifths": hidden_fifths,
    "hidden_octaves": hidden_octaves,
    "crossings": crossings,
    "overlaps": overlaps,
    "out_of_range": out_of_range,
    "wide_spacing": wide_spacing,
    "leading_tones": leading_tones,
    "leaps": leaps,
}


def faults(piece: Piece, steps: int = 4) -> dict[str, Counts]:
    """Faults (chords,) of each rule in one piece of four voices; its key is looked for where it has none."""
    pitch, _ = chords(voice_array(piece, steps)[0])
    return {name: rule(pitch, _tonic(piece)) if rule is leading_tones else rule(pitch) for name, rule in RULES.items()}


def check(pieces: Iterable[Piece], steps: int = 4, resamples: int = 1000) -> dict[str, Interval]:
    """Faults per 100 changes of chord, by rule, with 95 % bootstrap intervals; `parallels` are fifths and octaves together.

    Pieces of other than four voices are left out; without any left the rates are NaN.
    """
    found = [faults(piece, steps) for piece in pieces if piece.voices == len(RANGES)]
    changes = np.array([len(one["crossings"]) - 1 for one in found])
    totals = {name: 100 * np.array([one[name].sum() for one in found]) for name in RULES}
    totals = {"parallels": totals["parallel_fifths"] + totals["parallel_octaves"]} | totals
    return {name: ratio(total, changes, resamples) for name, total in totals.items()}


def _sounding(*pitch: Chords) -> NDArray[np.bool_]:
    return np.logical_and.reduce([one != SILENT for one in pitch])


def _both_move(first: Chords, second: Chords) -> NDArray[np.bool_]:
    """Whether both voices (chords,) sound and move into each chord but the first."""
    all_sound = _sounding(first[:-1], first[1:], second[:-1], second[1:])
    return all_sound & (first[1:] != first[:-1]) & (second[1:] != second[:-1])


def _parallels(pitch: Chords, intervals: tuple[int, ...], same_way: bool) -> Counts:
    found = np.zeros(len(pitch), np.int64)
    for above, below in combinations(range(pitch.shape[1]), 2):
        apart = np.abs(pitch[:, above] - pitch[:, below]) % OCTAVE
        again = np.isin(apart[1:], intervals) & (apart[1:] == apart[:-1])
        alike = _same_way(pitch[:, above], pitch[:, below]) == same_way
        found[1:] += _both_move(pitch[:, above], pitch[:, below]) & again & alike
    return found


def _hidden(pitch: Chords, interval: int, before: tuple[int, ...]) -> Counts:
    found = np.zeros(len(pitch), np.int64)
    soprano, bass = pitch[:, 0], pitch[:, -1]
    apart = np.abs(soprano - bass) % OCTAVE
    into = (apart[1:] == interval) & ~np.isin(apart[:-1], before)
    found[1:] = _both_move(soprano, bass) & _same_way(soprano, bass) & into
    return found


def _same_way(first: Chords, second: Chords) -> NDArray[np.bool_]:
    return (np.diff(first) > 0) == (np.diff(second) > 0)


def _next_other(line: Chords) -> Chords:
    """The next pitch that differs, of each note of a voice (chords,); -1 at its end."""
    after = np.full(len(line), SILENT)
    changed = np.flatnonzero(line[1:] != line[:-1]) + 1
    place = np.searchsorted(changed, np.arange(len(line)), side="right")
    after[place < len(changed)] = line[changed[place[place < len(changed)]]]
    return after


def _tonic(piece: Piece) -> int:
    return find_key(piece)[0] if piece.tonic is None else piece.tonic
