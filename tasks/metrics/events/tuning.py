"""Thresholds and filter lengths of best F1, to be chosen on validation data alone."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events, EventTable
from tasks.metrics.events.counts import Sweep
from tasks.metrics.events.decode import FrameScores, median_filter

Array = NDArray[np.float64]


class Decoding(NamedTuple):
    """How events follow from scores."""

    thresholds: Array  # (classes,)
    filters: NDArray[np.int64]  # (classes,) odd numbers of frames


def fixed(classes: int, threshold: float = 0.5, length: int = 7) -> Decoding:
    """One threshold and one filter for all classes."""
    return Decoding(np.full(classes, threshold), np.full(classes, length))


def best_thresholds(swept: Sequence[Sweep], per_class: bool = True, default: float = 0.5) -> tuple[Array, Array]:
    """Thresholds of highest F1 and the F1 of every class there, each (classes,).

    Each lies midway between two scores, so that rounding changes no decision; among equals the highest is taken. A
    class that never occurs keeps the `default` and has no F1 (NaN).

    Args:
        swept: counts of every class
        per_class: each class its own; otherwise one for all, of highest mean F1
        default: for classes that cannot be tuned
    """
    if not per_class:
        common = _common(swept, default)
        return np.full(len(swept), common), np.array([_at(one, common) for one in swept])
    thresholds, scores = np.full(len(swept), default), np.full(len(swept), np.nan)
    for i, one in enumerate(swept):
        if one.reference:
            scores[i] = 0.0
        if one.reference and len(one.thresholds):
            best = int(np.argmax(one.f1))
            thresholds[i], scores[i] = _midway(one.thresholds, best), one.f1[best]
    return thresholds, scores


def tune(
    scores: FrameScores,
    sweep: Callable[[FrameScores], Sequence[Sweep]],
    filters: Sequence[int] = (1, 3, 5, 7, 9, 11, 15, 21, 31),
    average: Literal["class", "global"] = "class",
) -> Decoding:
    """Filter length and threshold of highest F1, of each class or for all; exact over thresholds.

    Args:
        scores: of validation clips, not filtered
        sweep: counts of every class from filtered scores, such as `sweep.event_based` with its reference
        filters: lengths to try, odd; among equals the first is taken
        average: whether each class has its own
    """
    tried = [best_thresholds(sweep(median_filter(scores, length)), average == "class") for length in filters]
    thresholds, f1 = (np.stack(column) for column in zip(*tried, strict=True))
    f1 = np.nan_to_num(f1)
    best = f1.argmax(0) if average == "class" else np.full(f1.shape[1], f1.mean(1).argmax())
    return Decoding(thresholds[best, np.arange(len(best))], np.asarray(filters)[best])


def _common(swept: Sequence[Sweep], default: float) -> float:
    scored = [one for one in swept if one.reference and len(one.thresholds)]
    if not scored:
        return default
    at = np.concatenate([one.thresholds for one in scored])
    # F1 changes only at a class's own thresholds: the sum over classes is a running sum of those changes.
    change = np.concatenate([np.diff(one.f1, prepend=0.0) for one in scored])
    order = np.argsort(-at, kind="stable")
    total = np.cumsum(change[order])
    last = np.append(np.diff(at[order]) != 0, True)
    return _midway(at[order][last], int(np.argmax(np.round(total[last], 12))))


def _midway(thresholds: NDArray[np.floating], best: int) -> float:
    below = float(thresholds[best + 1]) if best + 1 < len(thresholds) else 0.0
    return (float(thresholds[best]) + below) / 2


def _at(one: Sweep, threshold: float) -> float:
    if not one.reference:
        return float("nan")
    place = int(np.searchsorted(-one.thresholds, -threshold, side="right")) - 1
    return float(one.f1[place]) if place >= 0 else 0.0


# Thresholds and filter lengths chosen on few validation clips: the middle of a plateau of F1, cross-validated.
#
# The threshold of highest F1 on few clips is often an accident at the edge of what occurred. Here F1 is averaged over thresholds
# nearby, extremes are out of reach, and a class keeps the fixed decision unless the chosen one beats it on clips that it was not
# chosen on.

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


def decoding(scores: FrameScores, corpus: EventTable, sweep: Counted, filters: Sequence[int] = FILTERS) -> Decoding:
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
