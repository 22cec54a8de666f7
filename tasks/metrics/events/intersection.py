"""Intersection-based metrics (Bilen et al. 2020): reference and predicted events -> counts by share of overlap."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events, merge_overlaps, take
from tasks.metrics.events.counts import Counts

TIE = 1e-9  # tolerance for rounding errors of shares


class Criteria(NamedTuple):
    """Minimum shares of overlap in [0, 1]."""

    detection: float = 0.5  # DTC: of a prediction covered by its class; below, it is a false positive
    truth: float = 0.5  # GTC: of a reference event covered by correct predictions
    cross: float = 0.3  # CTTC: of a false positive covered by another class; then it is a cross-trigger


class IntersectionScores(NamedTuple):
    """Counts of one operating point."""

    reference: NDArray[np.int64]  # (classes,) reference events
    detected: NDArray[np.int64]  # (classes,) detected reference events
    false_positives: NDArray[np.int64]  # (classes,)
    cross_triggers: NDArray[np.int64]  # (classes, classes) false positives of the row's class on the column's class

    @property
    def counts(self) -> Counts:
        """Counts for F1: detected events and false positives are the predictions."""
        return Counts(self.reference, self.detected + self.false_positives, self.detected)


class Truth:
    """Reference events with overlaps of one class merged, indexed for intersection queries."""

    def __init__(self, reference: Events, classes: int) -> None:
        events = merge_overlaps(reference).events
        self.classes = classes
        order = np.lexsort((events.onset, events.label, events.clip))
        self.events = take(events, order)  # sorted by clip, label, onset
        self.length = self.events.offset - self.events.onset
        self.count = np.bincount(self.events.label, minlength=classes)
        self.seconds = np.bincount(self.events.label, weights=self.length, minlength=classes)
        # Each clip and class has its own interval of one time line.
        self._stride = float(self.events.offset.max(initial=0.0)) + 2.0
        self._onsets = self._line(self.events.clip, self.events.label, self.events.onset)
        group = self.events.clip * classes + self.events.label
        self._group = np.append(group, -1)
        before = np.cumsum(self.length) - self.length
        starts = np.searchsorted(group, group)
        self._before = np.append(before - before[starts], 0.0)

    def active_before(self, clip: NDArray[np.int64], label: NDArray[np.int64], time: NDArray[np.float64]) -> NDArray[np.float64]:
        """Active time of a class in a clip before a time, s; all (queries,)."""
        last = np.searchsorted(self._onsets, self._line(clip, label, time), side="right") - 1
        own = self._group[last] == clip * self.classes + label
        # Without an earlier event `last` is -1 or a row of another group.
        last = np.where(own, last, 0)
        if not len(self.length):
            return np.zeros(len(time))
        inside = np.clip(time - self.events.onset[last], 0.0, self.length[last])
        return np.where(own, self._before[last] + inside, 0.0)

    def overlaps(self, events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Rows of `self.events` and of `events` that overlap in clip and class, and the overlap in s; each (pairs,)."""
        first = np.searchsorted(self._onsets, self._line(events.clip, events.label, events.onset), side="right") - 1
        last = np.searchsorted(self._onsets, self._line(events.clip, events.label, events.offset))
        count = np.maximum(last - first, 0)
        other = np.repeat(np.arange(len(events.clip)), count)
        true = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        same = self._group[true] == (events.clip * self.classes + events.label)[other]
        true, other = true[same], other[same]
        overlap = np.minimum(self.events.offset[true], events.offset[other])
        overlap -= np.maximum(self.events.onset[true], events.onset[other])
        return true[overlap > 0], other[overlap > 0], overlap[overlap > 0]

    def _line(self, clip: NDArray[np.int64], label: NDArray[np.int64], time: NDArray[np.float64]) -> NDArray[np.float64]:
        return (clip * self.classes + label) * self._stride + np.minimum(time, self._stride - 1.0)


def score(reference: Events | Truth, predicted: Events, classes: int, criteria: Criteria | None = None) -> IntersectionScores:
    """Counts of the events of one operating point.

    Args:
        reference: reference events, or their `Truth`
        predicted: predicted events of the same clips; overlaps within a class are merged
        classes: number of classes
        criteria: default: those of the intersection-based F1 (0.5, 0.5, 0.3)
    """
    criteria = criteria or Criteria()
    truth = reference if isinstance(reference, Truth) else Truth(reference, classes)
    predicted = merge_overlaps(predicted).events
    correct = share(truth, predicted, predicted.label) >= criteria.detection - TIE
    false = take(predicted, ~correct)
    cross_triggers = np.zeros((classes, classes), dtype=np.int64)
    for kind in range(classes):
        crosses = (share(truth, false, np.full(len(false.clip), kind)) >= criteria.cross - TIE) & (false.label != kind)
        cross_triggers[:, kind] = np.bincount(false.label[crosses], minlength=classes)
    true, row, overlap = truth.overlaps(predicted)
    counted = correct[row]
    covered = np.bincount(true[counted], weights=overlap[counted], minlength=len(truth.length))
    detected = covered >= (criteria.truth - TIE) * truth.length
    return IntersectionScores(
        truth.count,
        np.bincount(truth.events.label[detected], minlength=classes),
        np.bincount(false.label, minlength=classes),
        cross_triggers,
    )


def share(truth: Truth, events: Events, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each event, (events,), in which a class is active in the reference."""
    active = truth.active_before(events.clip, label, events.offset) - truth.active_before(events.clip, label, events.onset)
    return active / (events.offset - events.onset)
