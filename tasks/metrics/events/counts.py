"""Counts per class with F1 and error rates; clip-based and segment-based metrics (Mesaros, Heittola, Virtanen 2016)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodules.sed.events import Events

Array = NDArray[np.float64]


class Counts(NamedTuple):
    """Counts per class: reference, predicted and correct items."""

    reference: NDArray[np.int64]  # (classes,)
    predicted: NDArray[np.int64]  # (classes,)
    correct: NDArray[np.int64]  # (classes,)

    @property
    def f1(self) -> Array:
        """F1 per class, (classes,); NaN for a class without references."""
        occurs = self.reference > 0
        score = 2 * self.correct / np.maximum(self.reference + self.predicted, 1)
        return np.where(occurs, score, np.nan)

    @property
    def precision(self) -> Array:
        """Precision per class, (classes,); NaN for a class without predictions."""
        return np.where(self.predicted > 0, self.correct / np.maximum(self.predicted, 1), np.nan)

    @property
    def recall(self) -> Array:
        """Recall per class, (classes,); NaN for a class without references."""
        return np.where(self.reference > 0, self.correct / np.maximum(self.reference, 1), np.nan)

    @property
    def error_rate(self) -> Array:
        """Deletions and insertions per reference, (classes,); NaN for a class without references."""
        errors = self.reference + self.predicted - 2 * self.correct
        return np.where(self.reference > 0, errors / np.maximum(self.reference, 1), np.nan)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes with references."""
        return mean(self.f1)

    @property
    def micro_f1(self) -> float:
        """F1 of the summed counts; NaN without references."""
        return float(self.pooled().f1[0])

    def pooled(self) -> "Counts":
        """Counts summed over classes, (1,)."""
        return Counts(*(np.atleast_1d(column.sum()) for column in self))


def mean(values: Array) -> float:
    """Mean without NaN; NaN if no value is left."""
    finite = values[~np.isnan(values)]
    return float(finite.mean()) if len(finite) else float("nan")


class Sweep(NamedTuple):
    """Counts of one class at many operating points, such as all thresholds."""

    thresholds: NDArray[np.floating]  # (points,) descending; NaN for points without a threshold
    reference: int
    predicted: NDArray[np.int64]  # (points,)
    correct: NDArray[np.int64]  # (points,)
    cross_triggers: NDArray[np.int64]  # (points, classes) false positives on another class; (points, 0) if not counted

    @property
    def false_positives(self) -> NDArray[np.int64]:
        """False positives, (points,)."""
        return self.predicted - self.correct

    @property
    def f1(self) -> Array:
        """F1 at each point, (points,); NaN for a class without references."""
        if not self.reference:
            return np.full(len(self.predicted), np.nan)
        return 2 * self.correct / (self.reference + self.predicted)


def accumulate(at: NDArray[np.floating], changes: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Cumulative sums of changes as the threshold falls.

    Args:
        at: highest threshold at which each change applies, (changes,); minus infinity: never
        changes: increments, (changes, columns)

    Returns:
        distinct thresholds (points,), descending, and the sums (points, columns)
    """
    finite = at > -np.inf
    thresholds, group = np.unique(at[finite], return_inverse=True)
    sums = [np.bincount(group, weights=column[finite], minlength=len(thresholds))[::-1].cumsum() for column in changes.T]
    sums = np.stack(sums, axis=1) if sums else np.zeros((len(thresholds), 0))
    return thresholds[::-1], np.rint(sums).astype(np.int64)


def count(probabilities: NDArray[np.floating], labels: NDArray, thresholds: ArrayLike = 0.5) -> Counts:
    """Clip-based counts of each class.

    Args:
        probabilities: (clips, classes)
        labels: (clips, classes), 0 or 1
        thresholds: one or (classes,); scores from the threshold on are positive
    """
    predicted, positive = probabilities >= np.asarray(thresholds), np.asarray(labels, dtype=bool)
    return Counts(positive.sum(0), predicted.sum(0), (predicted & positive).sum(0))


class SegmentScores(NamedTuple):
    """Counts over segments, and the error rate over all classes."""

    counts: Counts
    error_rate: float  # NaN without references
    substitutions: int
    deletions: int
    insertions: int


def score(reference: Events, predicted: Events, classes: int, segment: float = 1.0) -> SegmentScores:
    """Segment-based scores; a class is active in each segment that overlaps one of its events.

    Args:
        reference: reference events; overlaps within a class count once
        predicted: predicted events of the same clips
        classes: number of classes
        segment: length of a segment, s
    """
    slots = int(np.ceil(max(events.offset.max(initial=0) for events in (reference, predicted)) / segment)) + 1
    true, estimated = (active(events, classes, segment, slots) for events in (reference, predicted))
    both = np.intersect1d(true, estimated, assume_unique=True)
    counts = Counts(*(np.bincount(x % classes, minlength=classes) for x in (true, estimated, both)))
    # Within a segment a false positive and a miss are one substitution instead of two errors.
    per_kind = [np.unique(x // classes, return_counts=True) for x in (true, estimated, both)]
    segments = np.unique(np.concatenate([ids for ids, _ in per_kind]))
    n_true, n_estimated, n_both = np.zeros((3, len(segments)), dtype=np.int64)
    for per_segment, (ids, n) in zip((n_true, n_estimated, n_both), per_kind, strict=True):
        per_segment[np.searchsorted(segments, ids)] = n
    substitutions = int((np.minimum(n_true, n_estimated) - n_both).sum())
    deletions, insertions = (int(np.maximum(x, 0).sum()) for x in (n_true - n_estimated, n_estimated - n_true))
    total = substitutions + deletions + insertions
    rate = total / len(true) if len(true) else float("nan")
    return SegmentScores(counts, rate, substitutions, deletions, insertions)


def active(events: Events, classes: int, segment: float, slots: int) -> NDArray[np.int64]:
    """Sorted keys of all active (clip, segment, class): (clip * slots + segment) * classes + class."""
    first = np.floor(events.onset / segment).astype(np.int64)
    count = np.ceil(events.offset / segment).astype(np.int64) - first
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    position = np.repeat(events.clip * slots + first, count) + within
    return np.unique(position * classes + np.repeat(events.label, count))
