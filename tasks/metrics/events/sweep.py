"""Counts at every distinct threshold in one pass, without decoding once per threshold.

Each event that any threshold decodes is judged once, and counted from the threshold at which it appears down to the
one at which it has grown into another.
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

# Every event that any threshold decodes from scores, once, with the thresholds at which it is there.
#
# As the threshold falls, runs of frames appear, grow and join. There are never more different runs than frames: each
# frame is the lowest of at most one.

Ints = NDArray[np.int64]


class Lives(NamedTuple):
    """Events of one class, sorted by clip, onset and offset; each is decoded where death < threshold <= birth."""

    events: Events
    birth: NDArray[np.floating]  # (events,) lowest score within
    death: NDArray[np.floating]  # (events,) highest score beside it; minus infinity where it fills its clip
    start: Ints  # (events,) row of `edge_times` at which it begins
    end: Ints  # (events,) and ends


def edge_times(scores: FrameScores) -> tuple[Ints, NDArray[np.float64]]:
    """Clip and time in s of the edges of all frames, one more per clip than it has frames, each (edges,)."""
    count = scores.lengths + 1
    clip = np.repeat(np.arange(len(count)), count)
    edge = np.arange(len(clip)) - np.repeat(np.cumsum(count) - count, count)
    return clip, np.minimum(edge * scores.frame_s, scores.durations[clip])


def lives(scores: FrameScores, kind: int) -> Lives:
    """All events of one class. Scores must be finite."""
    # One line of all clips, with silence before each and at the end, where every run stops.
    line = np.full(len(scores.values) + len(scores.lengths) + 1, -np.inf, dtype=scores.values.dtype)
    here = np.arange(len(scores.values)) + scores.clip + 1
    line[here] = scores.values[:, kind]
    minima = _minima(line, int(scores.lengths.max(initial=1)))
    left = here.copy()
    right = here.copy()
    for level in range(len(minima) - 1, -1, -1):
        step, low = 1 << level, minima[level]
        left = np.where(low[np.maximum(left - step, 0)] > line[here], left - step, left)
        right = np.where(low[np.minimum(right + 1, len(line) - 1)] >= line[here], right + step, right)
    left, right = left - 1, right + 1  # nearest frame to the left that is not higher, to the right that is lower
    first = line[left] < line[here]  # of equal frames in one run the leftmost speaks for it
    here, left, right = here[first], left[first], right[first]
    clip, time = edge_times(scores)
    heard = time[left] < time[right - 1]  # not beyond the end of the clip
    here, left, right = here[heard], left[heard], right[heard]
    order = np.lexsort((right, left))
    here, start, end = here[order], left[order], right[order] - 1
    events = Events(clip[start], np.full(len(start), kind), time[start], time[end])
    return Lives(events, line[here], np.maximum(line[start], line[end + 1]), start, end)


def _minima(line: NDArray[np.floating], longest: int) -> list[NDArray[np.floating]]:
    """Minimum of 1, 2, 4, ... values from each place on, up to `longest`; minus infinity lies beyond the end."""
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
    """Counts over segments of some s at each distinct score of every class."""
    classes = scores.values.shape[1]
    clip, frame = scores.clip, scores.frame
    onset, offset = (np.minimum((frame + i) * scores.frame_s, scores.durations[clip]) for i in (0, 1))
    kept = onset < offset
    first = np.floor(onset[kept] / segment).astype(np.int64)
    count = np.ceil(offset[kept] / segment).astype(np.int64) - first
    row = np.repeat(np.flatnonzero(kept), count)
    place = np.repeat(first, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    slots = int(max(place.max(initial=0) + 1, np.ceil(reference.offset.max(initial=0.0) / segment)))
    # Frames follow each other, so segments do: each is one stretch of rows, whose highest score decides.
    ids, starts = np.unique(clip[row] * slots + place, return_index=True)
    highest = np.maximum.reduceat(scores.values[row], starts) if len(row) else scores.values[:0]
    true = counts.active(reference, classes, segment, slots)
    swept = []
    for kind in range(classes):
        mine = true[true % classes == kind] // classes
        swept.append(_ranked(highest[:, kind], np.isin(ids, mine).astype(np.int64), len(mine)))
    return swept


def event_based(scores: FrameScores, reference: Events, collar: Collar = DCASE) -> list[Sweep]:
    """Counts over events that match within a collar, as many as can be, at each distinct score of every class."""
    swept = []
    for kind in range(scores.values.shape[1]):
        found, true = lives(scores, kind), take(reference, reference.label == kind)
        at, hits = _matched(found, *collars.near_pairs(true, found.events, collar))
        swept.append(_sweep(found, at, hits, len(true.clip)))
    return swept


def intersection_based(scores: FrameScores, truth: Truth, criteria: Criteria, crossed: bool = False) -> list[Sweep]:
    """Counts by intersection at each distinct score of every class; `crossed`: of cross-triggers too."""
    clip, time = edge_times(scores)
    classes = scores.values.shape[1]
    active = np.stack([truth.until(clip, np.full(len(clip), k), time) for k in range(classes)], axis=1)
    swept = []
    for kind in range(classes):
        found = lives(scores, kind)
        length = found.events.offset - found.events.onset
        right = (active[found.end, kind] - active[found.start, kind]) / length >= criteria.detection - TIE
        false = Lives(take(found.events, ~right), *(column[~right] for column in found[1:]))
        cross = np.zeros((len(false.birth), 0), dtype=bool)
        if crossed:
            cross = (active[false.end] - active[false.start]) / length[~right, None] >= criteria.cross - TIE
            cross[:, kind] = False
        at, hits = _covered(found, right, truth, criteria)
        swept.append(_sweep(false, at, hits, int(truth.count[kind]), cross, found_are_predicted=True))
    return swept


def _ranked(scores: NDArray[np.floating], labels: NDArray[np.int64], reference: int) -> Sweep:
    thresholds, sums = accumulate(scores, np.stack([np.ones_like(labels), labels], axis=1))
    return Sweep(thresholds, reference, sums[:, 0], sums[:, 1], sums[:, 2:])


def _sweep(
    said: Lives,
    at: NDArray[np.floating],
    hits: NDArray[np.int64],
    reference: int,
    crossed: NDArray[np.bool_] | None = None,
    found_are_predicted: bool = False,
) -> Sweep:
    """Join what appears and vanishes, `said` and on which classes it is `crossed`, with the changes `hits` of what is right."""
    crossed = np.zeros((len(said.birth), 0), dtype=bool) if crossed is None else crossed
    born = np.column_stack([np.ones(len(said.birth), dtype=np.int64), np.zeros(len(said.birth), dtype=np.int64), crossed])
    right = np.column_stack([hits * found_are_predicted, hits, np.zeros((len(hits), crossed.shape[1]), dtype=np.int64)])
    thresholds, sums = accumulate(np.concatenate([said.birth, said.death, at]), np.concatenate([born, -born, right]))
    return Sweep(thresholds, reference, sums[:, 0], sums[:, 1], sums[:, 2:])


def _matched(found: Lives, ref: NDArray[np.int64], est: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Thresholds and by how much the largest matching changes there, from all pairs that may be matched, each (pairs,).

    Pairs that share no event with each other are matched apart: of such a group only its own thresholds count.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(ref):
        return found.birth[:0], np.zeros(0, dtype=np.int64)
    refs, ref = np.unique(ref, return_inverse=True)
    ests, near = np.unique(est, return_inverse=True)
    size = len(refs) + len(ests)
    _, group = connected_components(coo_array((np.ones(len(ref), dtype=np.int8), (ref, len(refs) + near)), (size, size)), False)
    birth, death, group = found.birth[est], found.death[est], group[ref]
    # States of a group: its thresholds from the highest down. A pair is there from its birth to before its death.
    values, rank = np.unique(np.concatenate([birth, death]), return_inverse=True)
    key = np.concatenate([group, group]) * len(values) + (len(values) - 1 - rank)
    states, state = np.unique(key, return_inverse=True)
    start, end = state[: len(ref)], state[len(ref) :]
    count = end - start
    pair = np.repeat(np.arange(len(ref)), count)
    moment = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(start, count)
    left, right = (np.unique(row[pair] * len(states) + moment, return_inverse=True)[1] for row in (ref, near))
    order = np.lexsort((right, left))
    hits, _ = collars.matching(left[order], right[order])
    moment_of = np.zeros(left.max() + 1, dtype=np.int64)
    moment_of[left] = moment
    matched = np.bincount(moment_of[hits], minlength=len(states))
    new_group = np.diff(states // len(values), prepend=-1) != 0
    change = np.diff(matched, prepend=0)
    change[new_group] = matched[new_group]
    return values[len(values) - 1 - states % len(values)], change


def _covered(found: Lives, right: NDArray[np.bool_], truth: Truth, criteria: Criteria) -> tuple[NDArray[np.floating], NDArray]:
    """Thresholds and by how many true events more, or fewer, right events cover enough there."""
    kept = np.flatnonzero(right)
    true, said, overlap = truth.pairs(take(found.events, kept))
    at = np.concatenate([found.birth[kept][said], found.death[kept][said]])
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
