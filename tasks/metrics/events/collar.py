"""Event-based metrics with collars (Mesaros, Heittola, Virtanen 2016): reference and predicted events -> counts, error rate."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events
from tasks.metrics.events.counts import Counts

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows of reference and predicted events, each (pairs,)


class Collar(NamedTuple):
    """Tolerances: onset, and offset as the maximum of `offset` and `share` of the reference length."""

    onset: float = 0.2  # s
    offset: float = 0.2  # s
    share: float = 0.2


DCASE = Collar()


class EventScores(NamedTuple):
    """Counts over events, and the error rate over all classes."""

    counts: Counts
    error_rate: float  # NaN without references
    substitutions: int
    deletions: int
    insertions: int


def score(reference: Events, predicted: Events, classes: int, collar: Collar = DCASE) -> EventScores:
    """Count events by a maximum one-to-one matching within each class.

    In the error rate a missed event and an event of another class in its place are one substitution.

    Args:
        reference: reference events
        predicted: predicted events of the same clips
        classes: number of classes
        collar: tolerances
    """
    near = near_pairs(reference, predicted, collar)
    same = reference.label[near[0]] == predicted.label[near[1]]
    hits = matching(near[0][same], near[1][same])
    counts = Counts(*(np.bincount(x, minlength=classes) for x in (reference.label, predicted.label, reference.label[hits[0]])))
    unmatched = ~np.isin(near[0], hits[0]) & ~np.isin(near[1], hits[1])
    substitutions = len(greedy_matching(zip(near[0][unmatched].tolist(), near[1][unmatched].tolist(), strict=True)))
    deletions, insertions = (len(events.clip) - len(hits[0]) - substitutions for events in (reference, predicted))
    errors = substitutions + deletions + insertions
    rate = errors / len(reference.clip) if len(reference.clip) else float("nan")
    return EventScores(counts, rate, substitutions, deletions, insertions)


def near_pairs(reference: Events, predicted: Events, collar: Collar = DCASE) -> Pairs:
    """All pairs within the collar, of any classes, sorted by reference and prediction."""
    # Clips are placed on one time line, so far apart that collars do not overlap.
    span = collar.onset + 1e-6
    stride = max([1.0, *(float(events.onset.max(initial=0.0)) for events in (reference, predicted))]) + 4 * span
    line = predicted.clip * stride + predicted.onset
    at = reference.clip * stride + reference.onset
    # Rounding errors of the time line only widen the search; the comparison below uses the original times.
    slack = span + 1e-9 * stride * (1 + int(reference.clip.max(initial=0)))
    first, last = np.searchsorted(line, at - slack), np.searchsorted(line, at + slack, side="right")
    count = last - first
    ref = np.repeat(np.arange(len(at)), count)
    est = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    length = reference.offset - reference.onset
    near = reference.clip[ref] == predicted.clip[est]
    near &= np.abs(reference.onset[ref] - predicted.onset[est]) <= collar.onset
    near &= np.abs(reference.offset[ref] - predicted.offset[est]) <= np.maximum(collar.offset, collar.share * length[ref])
    return ref[near], est[near]


def matching(ref: NDArray[np.int64], est: NDArray[np.int64]) -> Pairs:
    """Maximum bipartite matching of candidate pairs.

    Args:
        ref: reference rows of the candidates, (pairs,), ascending
        est: predicted rows of the candidates, (pairs,), ascending within a row of `ref`
    """
    alone = (np.bincount(ref)[ref] == 1) & (np.bincount(est)[est] == 1) if len(ref) else np.zeros(0, dtype=bool)
    candidates: dict[int, list[int]] = defaultdict(list)
    for r, e in zip(ref[~alone].tolist(), est[~alone].tolist(), strict=True):
        candidates[e].append(r)
    match: dict[int, int] = {}
    unmatched = []
    for e, refs in candidates.items():
        free = next((r for r in refs if r not in match), None)
        if free is None:
            unmatched.append(e)
        else:
            match[free] = e
    for e in unmatched:
        _augment(e, candidates, match, set())
    rows = np.array(sorted(match.items()), dtype=np.int64).reshape(-1, 2)
    return np.concatenate([ref[alone], rows[:, 0]]), np.concatenate([est[alone], rows[:, 1]])


def _augment(e: int, candidates: dict[int, list[int]], match: dict[int, int], seen: set[int]) -> bool:
    """Match `e` along an augmenting path; False if there is none."""
    for r in candidates[e]:
        if r not in seen:
            seen.add(r)
            if r not in match or _augment(match[r], candidates, match, seen):
                match[r] = e
                return True
    return False


def greedy_matching(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Match each reference in turn with its first unmatched prediction: {reference: prediction}."""
    matched: dict[int, int] = {}
    used: set[int] = set()
    for r, e in pairs:
        if r not in matched and e not in used:
            matched[r] = e
            used.add(e)
    return matched
