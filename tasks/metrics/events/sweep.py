"""Counts at every distinct threshold in one pass: scores and reference events -> `Sweep` per class.

Each event that any threshold decodes is evaluated once, and counted in its range of thresholds. As the threshold falls, runs of
frames appear, grow and join; there are at most as many different runs as frames, since each frame is the lowest of at most one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events, take
from tasks.metrics.events import collar as collars
from tasks.metrics.events import counts
from tasks.metrics.events.collar import DCASE, Collar
from tasks.metrics.events.counts import Sweep, accumulate
from tasks.metrics.events.decode import FrameScores
from tasks.metrics.events.intersection import TIE, Criteria, Truth

Ints = NDArray[np.int64]


class EventSpans(NamedTuple):
    """Events of one class with their ranges of thresholds (lower < threshold <= upper), sorted by clip, onset, offset."""

    events: Events
    upper: NDArray[np.floating]  # (events,) lowest score within
    lower: NDArray[np.floating]  # (events,) highest adjacent score; minus infinity if the event fills its clip
    start: Ints  # (events,) row of `edge_times` of the onset
    end: Ints  # (events,) row of the offset


def edge_times(scores: FrameScores) -> tuple[Ints, NDArray[np.float64]]:
    """Clip and time in s of all frame edges, one more than frames per clip; each (edges,)."""
    count = scores.lengths + 1
    clip = np.repeat(np.arange(len(count)), count)
    edge = np.arange(len(clip)) - np.repeat(np.cumsum(count) - count, count)
    return clip, np.minimum(edge * scores.frame_s, scores.durations[clip])


def event_spans(scores: FrameScores, kind: int) -> EventSpans:
    """All events of one class at any threshold; scores must be finite."""
    # Concatenation of all clips; minus infinity before each and at the end stops every run.
    line = np.full(len(scores.values) + len(scores.lengths) + 1, -np.inf, dtype=scores.values.dtype)
    frames = np.arange(len(scores.values)) + scores.clip + 1
    line[frames] = scores.values[:, kind]
    minima = _minima(line, int(scores.lengths.max(initial=1)))
    left = frames.copy()
    right = frames.copy()
    for level in range(len(minima) - 1, -1, -1):
        step, low = 1 << level, minima[level]
        left = np.where(low[np.maximum(left - step, 0)] > line[frames], left - step, left)
        right = np.where(low[np.minimum(right + 1, len(line) - 1)] >= line[frames], right + step, right)
    left, right = left - 1, right + 1  # nearest frames: left not higher, right lower
    first = line[left] < line[frames]  # the leftmost of equal frames represents the run
    frames, left, right = frames[first], left[first], right[first]
    clip, time = edge_times(scores)
    inside = time[left] < time[right - 1]  # starts before the end of the clip
    frames, left, right = frames[inside], left[inside], right[inside]
    order = np.lexsort((right, left))
    frames, start, end = frames[order], left[order], right[order] - 1
    events = Events(clip[start], np.full(len(start), kind), time[start], time[end])
    return EventSpans(events, line[frames], np.maximum(line[start], line[end + 1]), start, end)


def _minima(line: NDArray[np.floating], longest: int) -> list[NDArray[np.floating]]:
    """Minima of the next 1, 2, 4, ... values, up to `longest`; minus infinity beyond the end."""
    levels = [line]
    while 2 << (len(levels) - 1) <= longest:
        step, low = 1 << (len(levels) - 1), levels[-1]
        levels.append(np.minimum(low, np.append(low[step:], np.full(step, -np.inf, dtype=low.dtype))))
    return levels


def clip_based(probabilities: NDArray[np.floating], labels: NDArray) -> list[Sweep]:
    """Counts over clips at each distinct probability of every class; both (clips, classes)."""
    labels = np.asarray(labels, dtype=np.int64)
    return [_ranked(column, label, int(label.sum())) for column, label in zip(probabilities.T, labels.T, strict=True)]


def segment_based(scores: FrameScores, reference: Events, segment: float = 1.0) -> list[Sweep]:
    """Counts over segments at each distinct score of every class; `segment` in s."""
    classes = scores.values.shape[1]
    clip, frame = scores.clip, scores.frame
    onset, offset = (np.minimum((frame + i) * scores.frame_s, scores.durations[clip]) for i in (0, 1))
    inside = onset < offset
    first = np.floor(onset[inside] / segment).astype(np.int64)
    count = np.ceil(offset[inside] / segment).astype(np.int64) - first
    row = np.repeat(np.flatnonzero(inside), count)
    position = np.repeat(first, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    slots = int(max(position.max(initial=0) + 1, np.ceil(reference.offset.max(initial=0.0) / segment)))
    # Rows of a segment are contiguous; their highest score decides.
    ids, starts = np.unique(clip[row] * slots + position, return_index=True)
    highest = np.maximum.reduceat(scores.values[row], starts) if len(row) else scores.values[:0]
    true = counts.active(reference, classes, segment, slots)
    swept = []
    for kind in range(classes):
        active = true[true % classes == kind] // classes
        swept.append(_ranked(highest[:, kind], np.isin(ids, active).astype(np.int64), len(active)))
    return swept


def event_based(scores: FrameScores, reference: Events, collar: Collar = DCASE) -> list[Sweep]:
    """Counts over events, maximally matched within a collar, at each distinct score of every class."""
    swept = []
    for kind in range(scores.values.shape[1]):
        spans, true = event_spans(scores, kind), take(reference, reference.label == kind)
        at, hits = _matched(spans, *collars.near_pairs(true, spans.events, collar))
        swept.append(_sweep(spans, at, hits, len(true.clip)))
    return swept


def intersection_based(scores: FrameScores, truth: Truth, criteria: Criteria, cross_triggers: bool = False) -> list[Sweep]:
    """Counts by intersection at each distinct score of every class, optionally with cross-triggers."""
    clip, time = edge_times(scores)
    classes = scores.values.shape[1]
    active = np.stack([truth.active_before(clip, np.full(len(clip), k), time) for k in range(classes)], axis=1)
    swept = []
    for kind in range(classes):
        spans = event_spans(scores, kind)
        length = spans.events.offset - spans.events.onset
        correct = (active[spans.end, kind] - active[spans.start, kind]) / length >= criteria.detection - TIE
        false = EventSpans(take(spans.events, ~correct), *(column[~correct] for column in spans[1:]))
        cross = np.zeros((len(false.upper), 0), dtype=bool)
        if cross_triggers:
            cross = (active[false.end] - active[false.start]) / length[~correct, None] >= criteria.cross - TIE
            cross[:, kind] = False
        at, hits = _covered(spans, correct, truth, criteria)
        swept.append(_sweep(false, at, hits, int(truth.count[kind]), cross, hits_are_predicted=True))
    return swept


def _ranked(scores: NDArray[np.floating], labels: NDArray[np.int64], reference: int) -> Sweep:
    thresholds, sums = accumulate(scores, np.stack([np.ones_like(labels), labels], axis=1))
    return Sweep(thresholds, reference, sums[:, 0], sums[:, 1], sums[:, 2:])


def _sweep(
    spans: EventSpans,
    at: NDArray[np.floating],
    hits: NDArray[np.int64],
    reference: int,
    cross_triggers: NDArray[np.bool_] | None = None,
    hits_are_predicted: bool = False,
) -> Sweep:
    """Combine predicted events and their cross-triggers with the changes `hits` of correct events at thresholds `at`."""
    cross_triggers = np.zeros((len(spans.upper), 0), dtype=bool) if cross_triggers is None else cross_triggers
    added = np.column_stack(
        [np.ones(len(spans.upper), dtype=np.int64), np.zeros(len(spans.upper), dtype=np.int64), cross_triggers]
    )
    correct = np.column_stack([hits * hits_are_predicted, hits, np.zeros((len(hits), cross_triggers.shape[1]), dtype=np.int64)])
    thresholds, sums = accumulate(np.concatenate([spans.upper, spans.lower, at]), np.concatenate([added, -added, correct]))
    return Sweep(thresholds, reference, sums[:, 0], sums[:, 1], sums[:, 2:])


def _matched(spans: EventSpans, ref: NDArray[np.int64], est: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Thresholds, and changes of the size of the maximum matching there, from all candidate pairs, each (pairs,).

    Connected components of pairs are matched separately, each only at its own thresholds.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(ref):
        return spans.upper[:0], np.zeros(0, dtype=np.int64)
    refs, ref = np.unique(ref, return_inverse=True)
    ests, near = np.unique(est, return_inverse=True)
    size = len(refs) + len(ests)
    _, group = connected_components(coo_array((np.ones(len(ref), dtype=np.int8), (ref, len(refs) + near)), (size, size)), False)
    upper, lower, group = spans.upper[est], spans.lower[est], group[ref]
    # States of a group: its thresholds in descending order. A pair exists where lower < threshold <= upper.
    values, rank = np.unique(np.concatenate([upper, lower]), return_inverse=True)
    key = np.concatenate([group, group]) * len(values) + (len(values) - 1 - rank)
    states, state = np.unique(key, return_inverse=True)
    start, end = state[: len(ref)], state[len(ref) :]
    count = end - start
    pair = np.repeat(np.arange(len(ref)), count)
    state_of_pair = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(start, count)
    left, right = (np.unique(row[pair] * len(states) + state_of_pair, return_inverse=True)[1] for row in (ref, near))
    order = np.lexsort((right, left))
    hits, _ = collars.matching(left[order], right[order])
    state_of_node = np.zeros(left.max() + 1, dtype=np.int64)
    state_of_node[left] = state_of_pair
    matched = np.bincount(state_of_node[hits], minlength=len(states))
    new_group = np.diff(states // len(values), prepend=-1) != 0
    change = np.diff(matched, prepend=0)
    change[new_group] = matched[new_group]
    return values[len(values) - 1 - states % len(values)], change


def _covered(
    spans: EventSpans, correct: NDArray[np.bool_], truth: Truth, criteria: Criteria
) -> tuple[NDArray[np.floating], NDArray]:
    """Thresholds, and changes of the number of reference events that are covered sufficiently there."""
    rows = np.flatnonzero(correct)
    true, predicted, overlap = truth.overlaps(take(spans.events, rows))
    at = np.concatenate([spans.upper[rows][predicted], spans.lower[rows][predicted]])
    true, overlap = np.concatenate([true, true]), np.concatenate([overlap, -overlap])
    order = np.lexsort((-at, true))
    at, true, overlap = at[order], true[order], overlap[order]
    covered = np.cumsum(overlap)
    first = np.searchsorted(true, true)
    covered = covered - (covered[first] - overlap[first])
    last = np.append((np.diff(true) != 0) | (np.diff(at) != 0), True)[: len(at)]
    at, true, covered = at[last], true[last], covered[last]
    enough = (covered >= (criteria.truth - TIE) * truth.length[true]).astype(np.int64)
    change = np.diff(enough, prepend=0)
    new = np.diff(true, prepend=-1) != 0
    change[new] = enough[new]
    return at, change
