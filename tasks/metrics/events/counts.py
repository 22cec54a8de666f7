"""What every event metric counts, and the scores that follow from it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodules.sed.events import Events

Array = NDArray[np.float64]


class Counts(NamedTuple):
    """Counts per class: what is there, what was said, and what of it is right."""

    reference: NDArray[np.int64]  # (classes,)
    predicted: NDArray[np.int64]  # (classes,)
    correct: NDArray[np.int64]  # (classes,)

    @property
    def f1(self) -> Array:
        """F1 per class, (classes,): 0 where nothing is right, NaN for a class that never occurs."""
        occurs = self.reference > 0
        score = 2 * self.correct / np.maximum(self.reference + self.predicted, 1)
        return np.where(occurs, score, np.nan)

    @property
    def precision(self) -> Array:
        """Right share of what was said, (classes,); NaN where nothing was."""
        return np.where(self.predicted > 0, self.correct / np.maximum(self.predicted, 1), np.nan)

    @property
    def recall(self) -> Array:
        """Share that was found, (classes,); NaN for a class that never occurs."""
        return np.where(self.reference > 0, self.correct / np.maximum(self.reference, 1), np.nan)

    @property
    def error_rate(self) -> Array:
        """Deletions and insertions per reference of each class, (classes,); NaN for a class that never occurs."""
        errors = self.reference + self.predicted - 2 * self.correct
        return np.where(self.reference > 0, errors / np.maximum(self.reference, 1), np.nan)

    @property
    def macro_f1(self) -> float:
        """Mean over the classes that occur; a class that was never predicted counts as 0."""
        return mean(self.f1)

    @property
    def micro_f1(self) -> float:
        """F1 of all classes counted together; NaN where no class occurs."""
        return float(self.pooled().f1[0])

    def pooled(self) -> "Counts":
        """All classes as one."""
        return Counts(*(np.atleast_1d(column.sum()) for column in self))


def mean(values: Array) -> float:
    """Mean of what is not NaN; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


class Sweep(NamedTuple):
    """Counts of one class at many operating points, such as all its thresholds."""

    thresholds: NDArray[np.floating]  # (points,) descending; NaN where points have none
    reference: int
    predicted: NDArray[np.int64]  # (points,)
    correct: NDArray[np.int64]  # (points,)
    crossed: NDArray[np.int64]  # (points, classes) false ones on another class; (points, 0) where nobody asked

    @property
    def false(self) -> NDArray[np.int64]:
        """What was said and is not right, (points,)."""
        return self.predicted - self.correct

    @property
    def f1(self) -> Array:
        """F1 at each point, (points,); NaN for a class that never occurs."""
        if not self.reference:
            return np.full(len(self.predicted), np.nan)
        return 2 * self.correct / (self.reference + self.predicted)


def accumulate(at: NDArray[np.floating], changes: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Add up what changes as a threshold falls.

    Args:
        at: thresholds that are low enough for a change to happen, (changes,); at minus infinity it never does
        changes: what is added there, (changes, columns)

    Returns:
        distinct thresholds (points,), descending, and the sums there (points, columns)
    """
    finite = at > -np.inf
    thresholds, where = np.unique(at[finite], return_inverse=True)
    sums = [np.bincount(where, weights=column[finite], minlength=len(thresholds))[::-1].cumsum() for column in changes.T]
    sums = np.stack(sums, axis=1) if sums else np.zeros((len(thresholds), 0))
    return thresholds[::-1], np.rint(sums).astype(np.int64)


# Clip-based scores: which classes occur in a clip, without their times.


def count(probabilities: NDArray[np.floating], labels: NDArray, thresholds: ArrayLike = 0.5) -> Counts:
    """Count decisions over (clip, class).

    Args:
        probabilities: (clips, classes)
        labels: (clips, classes), 0 or 1
        thresholds: one or (classes,); a class is said to occur from there on
    """
    said, true = probabilities >= np.asarray(thresholds), np.asarray(labels, dtype=bool)
    return Counts(true.sum(0), said.sum(0), (said & true).sum(0))


# Segment-based scores (Mesaros, Heittola, Virtanen 2016): activity of each class in segments of 1 s.


class SegmentScores(NamedTuple):
    """Counts over segments, and the error rate of all classes together."""

    counts: Counts
    error_rate: float  # NaN without references
    substitutions: int
    deletions: int
    insertions: int


def score(reference: Events, predicted: Events, classes: int, segment: float = 1.0) -> SegmentScores:
    """Compare two tables; a segment counts as active from the slightest overlap with an event.

    Args:
        reference: true events; overlaps within a class count once
        predicted: of the same clips
        classes: number of classes
        segment: s
    """
    slots = int(np.ceil(max(events.offset.max(initial=0) for events in (reference, predicted)) / segment)) + 1
    true, said = (active(events, classes, segment, slots) for events in (reference, predicted))
    both = np.intersect1d(true, said, assume_unique=True)
    counts = Counts(*(np.bincount(x % classes, minlength=classes) for x in (true, said, both)))
    # Within one segment a false class stands for a missed one: a substitution, one error instead of two.
    found = [np.unique(x // classes, return_counts=True) for x in (true, said, both)]
    segments = np.unique(np.concatenate([ids for ids, _ in found]))
    n_true, n_said, n_both = np.zeros((3, len(segments)), dtype=np.int64)
    for per_segment, (ids, n) in zip((n_true, n_said, n_both), found, strict=True):
        per_segment[np.searchsorted(segments, ids)] = n
    substitutions = int((np.minimum(n_true, n_said) - n_both).sum())
    deletions, insertions = (int(np.maximum(x, 0).sum()) for x in (n_true - n_said, n_said - n_true))
    total = substitutions + deletions + insertions
    rate = total / len(true) if len(true) else float("nan")
    return SegmentScores(counts, rate, substitutions, deletions, insertions)


def active(events: Events, classes: int, segment: float, slots: int) -> NDArray[np.int64]:
    """One sorted number per active (clip, segment, class): (clip * slots + segment) * classes + class."""
    first = np.floor(events.onset / segment).astype(np.int64)
    count = np.ceil(events.offset / segment).astype(np.int64) - first
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    place = np.repeat(events.clip * slots + first, count) + within
    return np.unique(place * classes + np.repeat(events.label, count))
