"""Search of tempo and key: outlines of a recording and of a score -> tempo, transposition and timbre.

Parts of the recording are searched anywhere in the score, at several tempi and in all keys.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from models.alignment.dtw_kernels import kernel
from models.alignment.jumps import MOVES
from models.alignment.outline import TIMBRES, NoteEvents, Outline, pooled, unit

TEMPI = tuple(2.0 ** (exponent / 2) for exponent in range(-5, 8))
"""Tempi tried: duration of one second of the score in the recording, s."""
OCTAVES = TEMPI[1::2]
"""Tempi at which keys are tried."""
PART_S, PARTS = 12.0, 8
"""Duration and largest number of the parts of a recording that are searched; those of a short one overlap by half."""
REFERENCE_KEYS = (-5, -2, 3, 6)
"""Transpositions tried at least, semitones: most are wrong."""
CLEARLY = 0.97
"""Largest cost of another key, timbre or unfolding relative to the first one."""
PART_FRAMES, MOST_FRAMES = 1200, 60_000
"""Frames of a score up to which pairs of frames are averaged in this search, of a longer one four; and the most searched."""


class TempoAndKey(NamedTuple):
    """Tempo, transposition and timbre of a recording relative to its score."""

    stretch: float  # duration of one second of the score in the recording, s
    semitones: int  # transposition of the recording above the score
    timbre: str  # of TIMBRES
    distinctness: float  # cost of the best other key, an octave aside, relative to this one: wrong scores fit many keys


class KeySearch:
    """Search tempo and key of recordings.

    Args:
        outline: outlines of recordings and scores
        transposition: largest transposition of the recording in semitones up or down
    """

    def __init__(self, outline: Outline, transposition: int) -> None:
        self.outline, self.transposition = outline, transposition

    def __call__(self, recording: np.ndarray, notes: NoteEvents) -> TempoAndKey:
        """Tempo, key and timbre that explain the parts of an outline (frames, bins) best.

        Parts that no key explains better than most keys do, such as applause, hardly count.
        """
        seconds = float(notes.offset.max())
        pool = 2 if seconds < self.outline.frame_s * PART_FRAMES else 4
        parts = self._parts(pooled(recording, pool), pool)

        def costs(tempo: float, keys: Sequence[int], timbre: str = "struck") -> np.ndarray:
            return self._costs(parts, unit(self.outline.of_notes(notes, tempo, timbre, pool)).T, keys)

        tempi = self._tempi(seconds, max(map(len, parts)), pool)
        allowed = sorted(range(-self.transposition, self.transposition + 1), key=abs)
        keys = [*allowed, *(key for key in REFERENCE_KEYS if key not in allowed)]
        by_key = np.min([costs(tempo, keys) for tempo in tempi if tempo in OCTAVES or len(tempi) == 1], axis=0)
        weights = (1 - by_key[: len(allowed)].min(0) / np.maximum(np.median(by_key, 0), 1e-9)).clip(0.01) ** 3
        weights = np.array([len(part) for part in parts]) * weights
        key = cheapest(dict(zip(allowed, by_key @ weights, strict=False)))
        by_tempo = {tempo: costs(tempo, [key])[0] @ weights for tempo in tempi}
        stretch = min(by_tempo, key=by_tempo.__getitem__)
        timbre = cheapest({name: costs(stretch, [key], name)[0] @ weights for name in TIMBRES})
        own, *others = costs(stretch, [key, *(key + shift for shift in range(-11, 12) if shift)], timbre) @ weights
        return TempoAndKey(stretch, key, timbre, float(min(others) / max(own, 1e-9)))

    def _tempi(self, seconds: float, frames: int, pool: int) -> list[float]:
        """Tempi at which a score of `seconds` is not much shorter than a part of `frames`, nor too long to be searched."""
        frame_s = pool * self.outline.frame_s
        lengths = {tempo: tempo * seconds / frame_s for tempo in TEMPI}
        return [tempo for tempo, length in lengths.items() if 0.3 * frames <= length <= MOST_FRAMES] or [1.0]

    def _parts(self, recording: np.ndarray, pool: int) -> list[np.ndarray]:
        """Parts (frames, bins) of an averaged outline, evenly spaced over what sounds."""
        sounding = np.flatnonzero(recording.any(1))
        first, last = (sounding[0], sounding[-1] + 1) if len(sounding) else (0, len(recording))
        size = max(1, round(PART_S / (pool * self.outline.frame_s)))
        count = int(np.clip(2 * (last - first) // size - 1, 1, PARTS))
        starts = np.linspace(first, max(first, last - size), count).astype(int)
        return [recording[start : min(start + size, last)] for start in starts]

    def _costs(self, parts: list[np.ndarray], score: np.ndarray, keys: Sequence[int]) -> np.ndarray:
        """Mean cost of each part (keys, parts) in a score (bins, frames), anywhere in it."""
        moves, find = np.array(MOVES, np.float32), kernel(best_anywhere)
        table = [[find(1 - unit(self.outline.transposed(part, key)) @ score, moves) for part in parts] for key in keys]
        return np.array(table) / [len(part) for part in parts]


def cheapest(costs: dict[Any, float]) -> Any:
    """Choice of least cost; the first one unless another costs less than `CLEARLY` times as much."""
    first, best = next(iter(costs)), min(costs, key=costs.__getitem__)
    return best if costs[best] < CLEARLY * costs[first] else first


def best_anywhere(costs, moves):
    """Cost of the cheapest path through all rows of costs (n, m) that begins and ends in any column; see `MOVES`."""
    values, row = costs[0].copy(), np.empty_like(costs[0])
    for i in range(1, len(costs)):
        for j in range(len(row)):
            row[j] = values[j] + moves[0]
        for move in range(1, min(len(moves), len(row))):
            for j in range(move, len(row)):
                row[j] = min(row[j], values[j - move] + moves[move])
        for j in range(len(row)):
            row[j] += costs[i, j]
        values, row = row, values
    return values.min()
