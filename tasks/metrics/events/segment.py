"""Segment-based scores (Mesaros, Heittola, Virtanen 2016): activity of each class in segments of 1 s."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.events import Events
from tasks.metrics.events.counts import Counts


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
