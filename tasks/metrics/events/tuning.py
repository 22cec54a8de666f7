"""Thresholds and filter lengths of best F1, to be chosen on validation data alone."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


