"""Cross-validated tuning of thresholds and filter lengths: counts on validation clips -> plateau of F1 per class.

On few clips the threshold of highest F1 is often an outlier. Here F1 is averaged over neighbouring thresholds and filters,
extreme thresholds are excluded, and a class keeps the fixed decision unless the tuned one has a higher F1 on held-out folds.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events, EventTable
from tasks.metrics.events.counts import Sweep
from tasks.metrics.events.decode import FrameScores, median_filter

Array = NDArray[np.float64]
Counted = Callable[[FrameScores, Events], Sequence[Sweep]]

GRID = np.linspace(0.05, 0.95, 181)  # candidate thresholds, 0.005 apart
THRESHOLD_SPAN = 21  # neighbouring thresholds in the average of F1, 0.1 in all
FILTER_SPAN = 3  # neighbouring filters in the average of F1
FOLDS = 5
FILTERS = (1, 3, 5, 7, 9, 11, 15, 21, 31)
THRESHOLD, LENGTH = 0.5, 7  # fixed decision (Boes and Van hamme 2021, section 2.2)


class Decoding(NamedTuple):
    """Decision parameters: frame scores -> events."""

    thresholds: Array  # (classes,)
    filters: NDArray[np.int64]  # (classes,) odd numbers of frames


def fixed(classes: int, threshold: float = 0.5, length: int = 7) -> Decoding:
    """The same threshold and filter length for all classes."""
    return Decoding(np.full(classes, threshold), np.full(classes, length))


class Curves(NamedTuple):
    """Counts of one class by fold, filter and threshold of the grid."""

    reference: NDArray[np.int64]  # (folds,)
    predicted: NDArray[np.int64]  # (folds, filters, thresholds)
    correct: NDArray[np.int64]  # (folds, filters, thresholds)

    def f1(self, folds: NDArray[np.bool_]) -> NDArray[np.float64]:
        """F1 (filters, thresholds) on a mask of folds; 0 without references and predictions."""
        total = self.reference[folds].sum() + self.predicted[folds].sum(0)
        return 2 * self.correct[folds].sum(0) / np.maximum(total, 1)


def folds_of(clips: int) -> NDArray[np.int64]:
    """Fold of each clip, (clips,)."""
    return np.arange(clips) % FOLDS


def cross_validate(curves: Curves, fixed_filter: int) -> tuple[int, float]:
    """Filter index and threshold of one class: tuned if better than the fixed decision on held-out folds, else fixed.

    Args:
        curves: counts of the class
        fixed_filter: index of the filter of the fixed decision
    """
    default = fixed_filter, THRESHOLD
    folds = np.arange(len(curves.reference))
    if not curves.reference.any():
        return default
    held_out = np.zeros(3, dtype=np.int64)  # reference, predicted, correct
    for fold in folds:
        index, column = _plateau(curves.f1(folds != fold))
        held_out += curves.reference[fold], curves.predicted[fold, index, column], curves.correct[fold, index, column]
    tuned = 2 * held_out[2] / max(held_out[0] + held_out[1], 1)
    all_folds = folds >= 0
    if tuned <= curves.f1(all_folds)[fixed_filter, _nearest(THRESHOLD)]:
        return default
    index, column = _plateau(curves.f1(all_folds))
    return index, float(GRID[column])


def clip_thresholds(sweep: Callable[[NDArray[np.bool_]], Sequence[Sweep]], clips: int) -> NDArray[np.float64]:
    """Cross-validated thresholds of clip probabilities, (classes,).

    Args:
        sweep: mask of clips (clips,) -> counts of every class
        clips: number of clips
    """
    folds = folds_of(clips)
    swept = [[sweep(folds == fold)] for fold in range(FOLDS)]
    return np.array([cross_validate(curves, 0)[1] for curves in _curves(swept)])


def decoding(scores: FrameScores, corpus: EventTable, sweep: Counted, filters: Sequence[int] = FILTERS) -> Decoding:
    """Cross-validated filter lengths and thresholds of every class.

    Args:
        scores: unfiltered scores of validation clips
        corpus: reference events of these clips
        sweep: filtered scores and reference events -> counts of every class, such as `sweep.event_based`
        filters: odd candidate lengths, including the fixed length
    """
    filtered = [median_filter(scores, length) for length in filters]
    folds = folds_of(len(corpus.names))
    swept = []
    for fold in range(FOLDS):
        clips = np.flatnonzero(folds == fold)
        events = corpus.select(clips).events
        swept.append([sweep(candidate.select(clips), events) for candidate in filtered])
    tuned = [cross_validate(curves, list(filters).index(LENGTH)) for curves in _curves(swept)]
    return Decoding(np.array([threshold for _, threshold in tuned]), np.array([filters[index] for index, _ in tuned]))


def _curves(swept: list[list[Sequence[Sweep]]]) -> list[Curves]:
    """Sweeps by fold, filter and class -> counts of each class."""
    classes = len(swept[0][0])
    curves = []
    for kind in range(classes):
        counts = np.array([[_on_grid(sweeps[kind]) for sweeps in fold] for fold in swept])
        reference = np.array([fold[0][kind].reference for fold in swept])
        curves.append(Curves(reference, counts[:, :, 0], counts[:, :, 1]))
    return curves


def _on_grid(sweep: Sweep) -> NDArray[np.int64]:
    """Predicted and correct counts at each threshold of the grid, (2, thresholds)."""
    index = np.searchsorted(-sweep.thresholds, -GRID, side="right")
    return np.stack([np.append(0, column)[index] for column in (sweep.predicted, sweep.correct)])


def _plateau(f1: NDArray[np.float64]) -> tuple[int, int]:
    """Indices of filter and threshold of the highest smoothed F1, of F1 (filters, thresholds).

    Of equal F1 the threshold nearest to 0.5, then the first.
    """
    smooth = np.round(_averaged(_averaged(f1, THRESHOLD_SPAN).T, FILTER_SPAN).T, 9)
    rows, columns = np.nonzero(smooth == smooth.max())
    nearest = np.abs(columns - _nearest(THRESHOLD)).argmin()
    return int(rows[nearest]), int(columns[nearest])


def _averaged(rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Moving average (rows, columns) over `width` neighbouring columns, truncated at the edges."""
    margin = width // 2
    sums = np.cumsum(np.pad(rows, ((0, 0), (margin + 1, margin))), axis=1)
    counts = np.cumsum(np.pad(np.ones(rows.shape[1]), (margin + 1, margin)))
    return (sums[:, width:] - sums[:, :-width]) / (counts[width:] - counts[:-width])


def _nearest(threshold: float) -> int:
    return int(np.abs(GRID - threshold).argmin())
