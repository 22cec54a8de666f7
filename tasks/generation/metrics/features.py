"""Nine features of pieces (Yang and Lerch 2020), and the overlap of their distances between generated and training pieces."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece
from tasks.metrics.bootstrap import Interval, draws

LENGTHS = np.array([4, 2, 1, 0.5, 0.25, 3, 1.5, 0.75, 0.375, 4 / 3, 2 / 3, 1 / 3])
"""Note lengths in quarters: whole to 16th, dotted half to dotted 16th, triplets of half, quarter and eighth."""
FEATURES = {
    "pitch_count": 1,
    "pitch_classes": 12,
    "pitch_class_transitions": 144,
    "pitch_range": 1,
    "interval": 1,
    "notes_per_bar": 1,
    "inter_onset": 1,
    "note_lengths": 12,
    "note_length_transitions": 144,
}
"""Feature -> size. Histograms and matrices sum to 1; pitches and intervals are in semitones, times in quarters."""


def features(pieces: Sequence[Piece], steps: int = 4) -> dict[str, NDArray[np.float64]]:
    """Features (pieces, size) of pieces, zero for pieces without notes; transitions are within voices.

    Args:
        pieces: pieces
        steps: frames per quarter note
    """
    rows = [_features(piece.at(steps), steps) for piece in pieces]
    return {name: np.array([row[name] for row in rows], np.float64).reshape(-1, size) for name, size in FEATURES.items()}


def _features(piece: Piece, steps: int) -> dict[str, NDArray[np.float64] | float]:
    notes, before, after = piece.notes, *_neighbours(piece.notes)
    steps_up, between = after[:, PITCH] - before[:, PITCH], after[:, ONSET] - before[:, ONSET]
    kinds, kinds_after = _kind(before, steps), _kind(after, steps)
    return {
        "pitch_count": len(np.unique(notes[:, PITCH])),
        "pitch_classes": _shares(notes[:, PITCH] % 12, 12),
        "pitch_class_transitions": _shares(before[:, PITCH] % 12 * 12 + after[:, PITCH] % 12, 144),
        "pitch_range": np.ptp(notes[:, PITCH]) if len(notes) else 0,
        "interval": np.abs(steps_up).mean() if len(before) else 0,
        "notes_per_bar": len(notes) * piece.bar / max(piece.length, 1),
        "inter_onset": between.mean() / steps if len(before) else 0,
        "note_lengths": _shares(_kind(notes, steps), 12),
        "note_length_transitions": _shares(kinds * 12 + kinds_after, 144),
    }


def _neighbours(notes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Successive notes (n, 5) of a voice: first and second of each pair. Of simultaneous onsets the highest is used."""
    notes = notes[np.lexsort((notes[:, PITCH], notes[:, ONSET], notes[:, VOICE]))]
    highest = np.ones(len(notes), bool)
    highest[:-1] = (notes[1:, [VOICE, ONSET]] != notes[:-1, [VOICE, ONSET]]).any(1)
    lines = notes[highest]
    same_voice = lines[1:, VOICE] == lines[:-1, VOICE]
    return lines[:-1][same_voice], lines[1:][same_voice]


def _kind(notes: NDArray[np.int32], steps: int) -> NDArray[np.int64]:
    """Class of each note's length, nearest by ratio."""
    return np.abs(np.log(notes[:, DURATION, None] / steps / LENGTHS)).argmin(1)


def _shares(classes: NDArray, count: int) -> NDArray[np.float64]:
    return np.bincount(classes, minlength=count) / max(len(classes), 1)


# Overlap and divergence of distances (Yang and Lerch 2020): distances from generated to training pieces should be distributed
# like distances within the training set. Unseen human pieces, measured in the same way, are the upper bound.

CELLS = 512  # of the density grid
REACH = 4.0  # extent of a kernel, bandwidths


class Overlap(NamedTuple):
    """Comparison of one feature between generated and training pieces."""

    overlap: Interval  # area under both densities of distances: 1 if they are equal
    divergence: Interval  # Kullback-Leibler divergence of distances to training pieces from those within, nats
    intra: float  # mean distance between generated pieces: near 0 if all are alike
    inter: float  # mean distance from generated to training pieces
    training: float  # mean distance between training pieces


def overlap(
    generated: Sequence[Piece], training: Sequence[Piece], steps: int = 4, resamples: int = 200, seed: int = 0
) -> dict[str, Overlap]:
    """Compare all features of generated and training pieces, with 95 % bootstrap intervals over generated pieces.

    NaN for fewer than two pieces in either set.
    """
    ours, theirs = features(generated, steps), features(training, steps)
    if min(len(generated), len(training)) < 2:
        return dict.fromkeys(FEATURES, Overlap(*[Interval(*[math.nan] * 3)] * 2, *[math.nan] * 3))
    return {name: compared(ours[name], theirs[name], resamples, seed) for name in FEATURES}


def compared(generated: NDArray[np.float64], training: NDArray[np.float64], resamples: int = 200, seed: int = 0) -> Overlap:
    """Compare one feature (pieces, size) of generated and training pieces."""
    inter, within, intra = distances(generated, training), _pairs(training), _pairs(generated)
    low, high = min(inter.min(), within.min()), max(inter.max(), within.max())
    means = (float(intra.mean()), float(inter.mean()), float(within.mean()))
    if high - low < 1e-9:  # all distances are equal
        return Overlap(Interval(1.0, 1.0, 1.0), Interval(0.0, 0.0, 0.0), *means)
    margin = REACH * max(bandwidth(inter.std(), inter.size), bandwidth(within.std(), within.size))
    grid = np.linspace(low - margin, high + margin, CELLS)
    human = density(_binned(within[None], grid), grid)[0]
    rows = _binned(inter, grid)
    samples = draws(len(generated), resamples, seed)
    times = np.apply_along_axis(np.bincount, 1, samples, minlength=len(generated))
    densities = density(np.vstack([rows.sum(0), times @ rows]), grid)
    width = grid[1] - grid[0]
    area = np.minimum(densities, human).sum(1) * width
    log_ratio = np.log(np.maximum(densities, 1e-12)) - np.log(np.maximum(human, 1e-12))
    return Overlap(_estimate(area), _estimate((densities * log_ratio).sum(1) * width), *means)


def distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distances (pieces, other pieces) of features (pieces, size)."""
    square = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.sqrt(np.maximum(square, 0))


def bandwidth(spread: float | NDArray[np.float64], count: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    """Scott's bandwidth of a Gaussian kernel for `count` values with standard deviation `spread`."""
    return spread * count**-0.2


def density(counts: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian kernel densities (sets, cells) of counts on the grid (sets, cells), with Scott's bandwidth and area 1.

    Counts are smoothed by FFT, which is fast for hundreds of resamples.
    """
    total, width = counts.sum(1, keepdims=True), grid[1] - grid[0]
    mean = counts @ grid[:, None] / total
    spread = np.sqrt((counts * (grid - mean) ** 2).sum(1, keepdims=True) / total)
    # The kernel must not be narrower than a cell.
    kernel = np.maximum(bandwidth(spread, total), width)
    rate = 2 * np.pi * np.fft.rfftfreq(2 * len(grid), width)
    smooth = np.fft.irfft(np.fft.rfft(counts, 2 * len(grid)) * np.exp(-0.5 * (kernel * rate) ** 2))[:, : len(grid)]
    smooth = np.maximum(smooth, 0)
    return smooth / (smooth.sum(1, keepdims=True) * width)


def _pairs(pieces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances of all pairs of one set."""
    return distances(pieces, pieces)[np.triu_indices(len(pieces), 1)]


def _binned(values: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts of each row's values on the grid (rows, cells), divided linearly between neighbouring cells."""
    position = (values - grid[0]) / (grid[1] - grid[0])
    cell = np.minimum(position.astype(int), len(grid) - 2)
    part = position - cell
    row = np.arange(len(values))[:, None] * len(grid)
    size = len(values) * len(grid)
    counts = np.bincount((row + cell).ravel(), (1 - part).ravel(), size) + np.bincount(
        (row + cell + 1).ravel(), part.ravel(), size
    )
    return counts.reshape(-1, len(grid))


def _estimate(values: NDArray[np.float64]) -> Interval:
    """First value (all pieces) with the interval of the others (resamples)."""
    return Interval(float(values[0]), *(float(edge) for edge in np.quantile(values[1:], (0.025, 0.975))))
