"""Voice-leading errors of four voices: piece -> errors per 100 chord changes, by rule.

A rule maps chords (chords, voices), MIDI pitches from the highest voice to the lowest with -1 for rests, to counts (chords,) at
the chord that completes an error. Pitches have no spelling: 7 semitones are a fifth.
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
LEAP = 8  # semitones, a sixth
TRITONE, FIFTH, OCTAVE = 6, 7, 12


def parallel_fifths(pitch: Chords) -> Counts:
    """Fifths (also compound) between any two voices that are followed by fifths in similar motion."""
    return _parallels(pitch, (FIFTH,), True)


def parallel_octaves(pitch: Chords) -> Counts:
    """Unisons and octaves between any two voices that are followed by unisons or octaves in similar motion."""
    return _parallels(pitch, (0,), True)


def antiparallels(pitch: Chords) -> Counts:
    """Successive fifths, octaves or unisons in contrary motion."""
    return _parallels(pitch, (0, FIFTH), False)


def hidden_fifths(pitch: Chords) -> Counts:
    """Similar motion of the outer voices from another interval to a fifth, except from a diminished fifth."""
    return _hidden(pitch, FIFTH, (FIFTH, TRITONE))


def hidden_octaves(pitch: Chords) -> Counts:
    """Similar motion of the outer voices from another interval to an octave or unison."""
    return _hidden(pitch, 0, (0,))


def crossings(pitch: Chords) -> Counts:
    """Neighbouring voices with the lower above the upper."""
    upper, lower = pitch[:, :-1], pitch[:, 1:]
    return (_sounding(upper, lower) & (upper < lower)).sum(1)


def overlaps(pitch: Chords) -> Counts:
    """Voices that move beyond the previous pitch of a neighbouring voice."""
    counts = np.zeros(len(pitch), np.int64)
    for above, below in pairwise(range(pitch.shape[1])):
        upper, lower = pitch[:, above], pitch[:, below]
        all_sound = _sounding(upper[:-1], upper[1:], lower[:-1], lower[1:])
        counts[1:] += all_sound & ((upper[1:] < lower[:-1]) | (lower[1:] > upper[:-1]))
    return counts


def out_of_range(pitch: Chords) -> Counts:
    """Voices outside the ranges of a choir."""
    low, high = np.array(RANGES[: pitch.shape[1]]).T
    return (_sounding(pitch) & ((pitch < low) | (pitch > high))).sum(1)


def wide_spacing(pitch: Chords) -> Counts:
    """Distances of more than an octave between soprano and alto, or alto and tenor."""
    upper, lower = pitch[:, :-2], pitch[:, 1:-1]
    return (_sounding(upper, lower) & (upper - lower > OCTAVE)).sum(1)


def leading_tones(pitch: Chords, tonic: int) -> Counts:
    """Unresolved leading tones in the soprano over a bass from dominant to tonic.

    The next different pitch counts as the resolution, so that a suspended leading tone may rise late.

    Args:
        pitch: chords
        tonic: pitch class
    """
    counts = np.zeros(len(pitch), np.int64)
    soprano, bass = pitch[:, 0], pitch[:, -1]
    dominant = _sounding(bass[:-1], bass[1:]) & ((bass[:-1] - tonic) % 12 == FIFTH) & ((bass[1:] - tonic) % 12 == 0)
    leading = _sounding(soprano[:-1]) & ((soprano[:-1] - tonic) % 12 == 11)
    after = _next_other(soprano)[:-1]
    counts[1:] = dominant & leading & (after != soprano[:-1] + 1) & (after != SILENT)
    return counts


def leaps(pitch: Chords) -> Counts:
    """Leaps of a sixth or more in the upper voices that are followed by motion in the same direction."""
    upper, counts = pitch[:, :-1], np.zeros(len(pitch), np.int64)
    move = np.where(_sounding(upper[:-1], upper[1:]), upper[1:] - upper[:-1], 0)
    after = np.stack([_next_other(line)[1:] for line in upper.T], 1)
    onward = np.where(after == SILENT, 0, after - upper[1:])
    counts[1:] = ((np.abs(move) >= LEAP) & (move * onward > 0)).sum(1)
    return counts


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


def error_counts(piece: Piece, steps: int = 4) -> dict[str, Counts]:
    """Errors (chords,) by rule in a piece of four voices; a missing key is estimated."""
    pitch, _ = chords(voice_array(piece, steps)[0])
    return {name: rule(pitch, _tonic(piece)) if rule is leading_tones else rule(pitch) for name, rule in RULES.items()}


def check(pieces: Iterable[Piece], steps: int = 4, resamples: int = 1000) -> dict[str, Interval]:
    """Errors per 100 chord changes by rule, with 95 % bootstrap intervals; `parallels` is the sum of fifths and octaves.

    Only pieces with four voices count; without any the rates are NaN.
    """
    counts = [error_counts(piece, steps) for piece in pieces if piece.voices == len(RANGES)]
    changes = np.array([len(by_rule["crossings"]) - 1 for by_rule in counts])
    totals = {name: 100 * np.array([by_rule[name].sum() for by_rule in counts]) for name in RULES}
    totals = {"parallels": totals["parallel_fifths"] + totals["parallel_octaves"]} | totals
    return {name: ratio(total, changes, resamples) for name, total in totals.items()}


def _sounding(*pitch: Chords) -> NDArray[np.bool_]:
    return np.logical_and.reduce([voice != SILENT for voice in pitch])


def _both_move(first: Chords, second: Chords) -> NDArray[np.bool_]:
    """Mask (chords - 1,) of changes in which both voices (chords,) sound and move."""
    all_sound = _sounding(first[:-1], first[1:], second[:-1], second[1:])
    return all_sound & (first[1:] != first[:-1]) & (second[1:] != second[:-1])


def _parallels(pitch: Chords, intervals: tuple[int, ...], similar: bool) -> Counts:
    counts = np.zeros(len(pitch), np.int64)
    for above, below in combinations(range(pitch.shape[1]), 2):
        distance = np.abs(pitch[:, above] - pitch[:, below]) % OCTAVE
        repeated = np.isin(distance[1:], intervals) & (distance[1:] == distance[:-1])
        motion = _similar_motion(pitch[:, above], pitch[:, below]) == similar
        counts[1:] += _both_move(pitch[:, above], pitch[:, below]) & repeated & motion
    return counts


def _hidden(pitch: Chords, interval: int, allowed: tuple[int, ...]) -> Counts:
    counts = np.zeros(len(pitch), np.int64)
    soprano, bass = pitch[:, 0], pitch[:, -1]
    distance = np.abs(soprano - bass) % OCTAVE
    reached = (distance[1:] == interval) & ~np.isin(distance[:-1], allowed)
    counts[1:] = _both_move(soprano, bass) & _similar_motion(soprano, bass) & reached
    return counts


def _similar_motion(first: Chords, second: Chords) -> NDArray[np.bool_]:
    return (np.diff(first) > 0) == (np.diff(second) > 0)


def _next_other(line: Chords) -> Chords:
    """Next different pitch of each note of a voice (chords,); -1 at the end."""
    after = np.full(len(line), SILENT)
    changed = np.flatnonzero(line[1:] != line[:-1]) + 1
    index = np.searchsorted(changed, np.arange(len(line)), side="right")
    after[index < len(changed)] = line[changed[index[index < len(changed)]]]
    return after


def _tonic(piece: Piece) -> int:
    return find_key(piece)[0] if piece.tonic is None else piece.tonic
