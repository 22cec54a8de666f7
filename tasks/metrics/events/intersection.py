"""Intersection criteria (Bilen et al. 2020): events are right by how much of them overlaps, not by where they end."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events, merge_overlaps, take
from tasks.metrics.events.counts import Counts

TIE = 1e-9  # a share that misses its criterion by rounding alone meets it


class Criteria(NamedTuple):
    """Shares in [0, 1] from which on an overlap counts."""

    detection: float = 0.5  # of a predicted event that its class covers: else it is a false positive (DTC)
    truth: float = 0.5  # of a true event that right predictions cover: then it is found (GTC)
    cross: float = 0.3  # of a false positive that another class covers: then it is that class's cross-trigger (CTTC)


class IntersectionScores(NamedTuple):
    """Counts of one operating point."""

    reference: NDArray[np.int64]  # (classes,) true events
    found: NDArray[np.int64]  # (classes,) of them, found
    false: NDArray[np.int64]  # (classes,) predictions that are false positives
    crossed: NDArray[np.int64]  # (classes, classes) false positives of the row's class on the column's class

    @property
    def counts(self) -> Counts:
        """For F1: found events and false positives together are what was predicted."""
        return Counts(self.reference, self.found + self.false, self.found)


class Truth:
    """True events, merged where a class overlaps itself, laid out for questions about overlap."""

    def __init__(self, reference: Events, classes: int) -> None:
        events = merge_overlaps(reference).events
        self.classes = classes
        order = np.lexsort((events.onset, events.label, events.clip))
        self.events = take(events, order)  # sorted by clip, label, onset
        self.length = self.events.offset - self.events.onset
        self.count = np.bincount(self.events.label, minlength=classes)
        self.seconds = np.bincount(self.events.label, weights=self.length, minlength=classes)
        # Each clip and class has its own stretch of one line, which keeps clear of its neighbours.
        self._stride = float(self.events.offset.max(initial=0.0)) + 2.0
        self._onsets = self._line(self.events.clip, self.events.label, self.events.onset)
        group = self.events.clip * classes + self.events.label
        self._group = np.append(group, -1)
        before = np.cumsum(self.length) - self.length
        starts = np.searchsorted(group, group)
        self._before = np.append(before - before[starts], 0.0)

    def until(self, clip: NDArray[np.int64], label: NDArray[np.int64], time: NDArray[np.float64]) -> NDArray[np.float64]:
        """How long the class is active in its clip before a time, s; all (questions,)."""
        last = np.searchsorted(self._onsets, self._line(clip, label, time), side="right") - 1
        mine = self._group[last] == clip * self.classes + label
        # Where nothing began before, `last` is -1 or another group's: both are not mine.
        last = np.where(mine, last, 0)
        if not len(self.length):
            return np.zeros(len(time))
        inside = np.clip(time - self.events.onset[last], 0.0, self.length[last])
        return np.where(mine, self._before[last] + inside, 0.0)

    def pairs(self, events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Rows of `self.events` and of `events` that overlap in clip and class, and by how much, s; each (pairs,)."""
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
    """Judge the events of one operating point.

    Args:
        reference: true events, or what `Truth` made of them
        predicted: of the same clips; overlaps within a class are merged
        classes: number of classes
        criteria: by default those of the intersection-based F1 (0.5, 0.5, 0.3)
    """
    criteria = criteria or Criteria()
    truth = reference if isinstance(reference, Truth) else Truth(reference, classes)
    predicted = merge_overlaps(predicted).events
    right = share(truth, predicted, predicted.label) >= criteria.detection - TIE
    false = take(predicted, ~right)
    crossed = np.zeros((classes, classes), dtype=np.int64)
    for kind in range(classes):
        crosses = (share(truth, false, np.full(len(false.clip), kind)) >= criteria.cross - TIE) & (false.label != kind)
        crossed[:, kind] = np.bincount(false.label[crosses], minlength=classes)
    true, said, overlap = truth.pairs(predicted)
    kept = right[said]
    covered = np.bincount(true[kept], weights=overlap[kept], minlength=len(truth.length))
    found = covered >= (criteria.truth - TIE) * truth.length
    return IntersectionScores(
        truth.count,
        np.bincount(truth.events.label[found], minlength=classes),
        np.bincount(false.label, minlength=classes),
        crossed,
    )


def share(truth: Truth, events: Events, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each event, (events,), in which a class is truly active."""
    active = truth.until(events.clip, label, events.offset) - truth.until(events.clip, label, events.onset)
    return active / (events.offset - events.onset)
