"""Thresholds and filter lengths chosen on few validation clips: the middle of a plateau of F1, cross-validated.

The threshold of highest F1 on few clips is often an accident at the edge of what occurred. Here F1 is averaged over thresholds
nearby, extremes are out of reach, and a class keeps the fixed decision unless the chosen one beats it on clips that it was not
chosen on.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.events import Corpus, Events
from tasks.metrics.events.counts import Sweep
from tasks.metrics.events.decode import FrameScores, median_filter
from tasks.metrics.events.tuning import Decoding

LEAST, MOST = 0.05, 0.95
GRID = np.linspace(LEAST, MOST, 181)
"""Thresholds to choose from, 0.005 apart."""
WIDTH = 21
"""Neighbouring thresholds whose F1 is averaged, 0.1 in all: a plateau wins over a peak."""
WAYS = 3
"""Neighbouring filters whose F1 is averaged."""
FOLDS = 5
FILTERS = (1, 3, 5, 7, 9, 11, 15, 21, 31)
THRESHOLD, LENGTH = 0.5, 7
"""The fixed decision (Boes and Van hamme 2021, section 2.2)."""

Counted = Callable[[FrameScores, Events], Sequence[Sweep]]


class Curves(NamedTuple):
    """Counts of one class: folds of clips by ways to decide (such as filters) by thresholds of the grid."""

    reference: NDArray[np.int64]  # (folds,)
    predicted: NDArray[np.int64]  # (folds, ways, thresholds)
    correct: NDArray[np.int64]  # (folds, ways, thresholds)

    def f1(self, folds: NDArray[np.bool_]) -> NDArray[np.float64]:
        """F1 (ways, thresholds) on some folds; 0 where the class neither occurs nor is predicted."""
        total = self.reference[folds].sum() + self.predicted[folds].sum(0)
        return 2 * self.correct[folds].sum(0) / np.maximum(total, 1)


def folds_of(clips: int) -> NDArray[np.int64]:
    """Fold of each clip (clips,), the same at every call."""
    return np.arange(clips) % FOLDS


def choose(curves: Curves, fixed_way: int) -> tuple[int, float]:
    """Way and threshold of one class: the chosen ones where they beat the fixed ones on folds left out, else the fixed ones.

    Args:
        curves: counts of the class
        fixed_way: way of the fixed decision, whose threshold is 0.5
    """
    fixed = fixed_way, THRESHOLD
    folds = np.arange(len(curves.reference))
    if not curves.reference.any():
        return fixed
    held_out = np.zeros(3, dtype=np.int64)  # reference, predicted, correct
    for fold in folds:
        way, place = _plateau(curves.f1(folds != fold))
        held_out += curves.reference[fold], curves.predicted[fold, way, place], curves.correct[fold, way, place]
    tuned = 2 * held_out[2] / max(held_out[0] + held_out[1], 1)
    everywhere = folds >= 0
    if tuned <= curves.f1(everywhere)[fixed_way, _nearest(THRESHOLD)]:
        return fixed
    way, place = _plateau(curves.f1(everywhere))
    return way, float(GRID[place])


def clip_thresholds(sweep: Callable[[NDArray[np.bool_]], Sequence[Sweep]], clips: int) -> NDArray[np.float64]:
    """Thresholds (classes,) of clips' probabilities.

    Args:
        sweep: counts of every class over the clips of a mask (clips,)
        clips: how many there are
    """
    folds = folds_of(clips)
    swept = [[sweep(folds == fold)] for fold in range(FOLDS)]
    return np.array([choose(curves, 0)[1] for curves in _curves(swept)])


def decoding(scores: FrameScores, corpus: Corpus, sweep: Counted, filters: Sequence[int] = FILTERS) -> Decoding:
    """Filter lengths and thresholds of every class.

    Args:
        scores: of validation clips, not filtered
        corpus: those clips and what sounds in them
        sweep: counts of every class from filtered scores and reference events, such as `sweep.event_based`
        filters: lengths to try, odd, the fixed length among them
    """
    filtered = [median_filter(scores, length) for length in filters]
    folds = folds_of(len(corpus.names))
    swept = []
    for fold in range(FOLDS):
        clips = np.flatnonzero(folds == fold)
        events = corpus.select(clips).events
        swept.append([sweep(one.select(clips), events) for one in filtered])
    chosen = [choose(curves, list(filters).index(LENGTH)) for curves in _curves(swept)]
    return Decoding(np.array([threshold for _, threshold in chosen]), np.array([filters[way] for way, _ in chosen]))


def _curves(swept: list[list[Sequence[Sweep]]]) -> list[Curves]:
    """Counts by class, of sweeps by fold, way and class."""
    classes = len(swept[0][0])
    found = []
    for kind in range(classes):
        counts = np.array([[_on_grid(way[kind]) for way in fold] for fold in swept])
        reference = np.array([fold[0][kind].reference for fold in swept])
        found.append(Curves(reference, counts[:, :, 0], counts[:, :, 1]))
    return found


def _on_grid(sweep: Sweep) -> NDArray[np.int64]:
    """What is predicted and what of it is correct at each threshold of the grid, (2, thresholds)."""
    place = np.searchsorted(-sweep.thresholds, -GRID, side="right")
    return np.stack([np.append(0, column)[place] for column in (sweep.predicted, sweep.correct)])


def _plateau(f1: NDArray[np.float64]) -> tuple[int, int]:
    """Way and place in the grid of highest F1 (ways, thresholds), averaged over its surroundings.

    Of equals the one nearest to 0.5, and of equally near ones the first.
    """
    smooth = np.round(_averaged(_averaged(f1, WIDTH).T, WAYS).T, 9)
    ways, places = np.nonzero(smooth == smooth.max())
    nearest = np.abs(places - _nearest(THRESHOLD)).argmin()
    return int(ways[nearest]), int(places[nearest])


def _averaged(rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean (rows, columns) of each value and its neighbours, `width` in all, as far as there are any."""
    margin = width // 2
    sums = np.cumsum(np.pad(rows, ((0, 0), (margin + 1, margin))), axis=1)
    counts = np.cumsum(np.pad(np.ones(rows.shape[1]), (margin + 1, margin)))
    return (sums[:, width:] - sums[:, :-width]) / (counts[width:] - counts[:-width])


def _nearest(threshold: float) -> int:
    return int(np.abs(GRID - threshold).argmin())
