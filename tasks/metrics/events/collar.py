"""Event-based scores (Mesaros, Heittola, Virtanen 2016): whole events, right if both their ends are near enough."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events
from tasks.metrics.events.counts import Counts

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows of the reference and of the prediction, each (pairs,)


class Collar(NamedTuple):
    """How far off an event may be: the offset by `offset` or by `share` of the true length, whichever is more."""

    onset: float = 0.2  # s
    offset: float = 0.2  # s
    share: float = 0.2


DCASE = Collar()


class EventScores(NamedTuple):
    """Counts over events, and the error rate of all classes together."""

    counts: Counts
    error_rate: float  # NaN without references
    substitutions: int
    deletions: int
    insertions: int


def score(reference: Events, predicted: Events, classes: int, collar: Collar = DCASE) -> EventScores:
    """Match events of one class one to one, as many as can be, and count.

    In the error rate of all classes a missed event and an event of another class in its place are one substitution.

    Args:
        reference: true events
        predicted: of the same clips
        classes: number of classes
        collar: how near is near enough
    """
    near = near_pairs(reference, predicted, collar)
    same = reference.label[near[0]] == predicted.label[near[1]]
    hits = matching(near[0][same], near[1][same])
    counts = Counts(*(np.bincount(x, minlength=classes) for x in (reference.label, predicted.label, reference.label[hits[0]])))
    left = ~np.isin(near[0], hits[0]) & ~np.isin(near[1], hits[1])
    substitutions = len(first_come(zip(near[0][left].tolist(), near[1][left].tolist(), strict=True)))
    deletions, insertions = (len(events.clip) - len(hits[0]) - substitutions for events in (reference, predicted))
    errors = substitutions + deletions + insertions
    rate = errors / len(reference.clip) if len(reference.clip) else float("nan")
    return EventScores(counts, rate, substitutions, deletions, insertions)


def near_pairs(reference: Events, predicted: Events, collar: Collar = DCASE) -> Pairs:
    """All pairs within the collar, of whatever classes, sorted by reference and prediction."""
    # Clips lie one after the other on one line of onsets, so far apart that no collar reaches over.
    span = collar.onset + 1e-6
    stride = max([1.0, *(float(events.onset.max(initial=0.0)) for events in (reference, predicted))]) + 4 * span
    line = predicted.clip * stride + predicted.onset
    at = reference.clip * stride + reference.onset
    # The line's rounding errors only widen the search; the comparison itself is of the times as they are.
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
    """As many pairs as can be, no row in two of them (maximum bipartite matching).

    Args:
        ref: rows of the pairs to choose from, (pairs,), ascending
        est: likewise, ascending within a row of `ref`
    """
    alone = (np.bincount(ref)[ref] == 1) & (np.bincount(est)[est] == 1) if len(ref) else np.zeros(0, dtype=bool)
    wishes: dict[int, list[int]] = defaultdict(list)
    for r, e in zip(ref[~alone].tolist(), est[~alone].tolist(), strict=True):
        wishes[e].append(r)
    owner: dict[int, int] = {}
    waiting = []
    for e, choice in wishes.items():
        free = next((r for r in choice if r not in owner), None)
        if free is None:
            waiting.append(e)
        else:
            owner[free] = e
    for e in waiting:
        _augment(e, wishes, owner, set())
    rows = np.array(sorted(owner.items()), dtype=np.int64).reshape(-1, 2)
    return np.concatenate([ref[alone], rows[:, 0]]), np.concatenate([est[alone], rows[:, 1]])


def _augment(e: int, wishes: dict[int, list[int]], owner: dict[int, int], seen: set[int]) -> bool:
    """Find a row for `e`, its owner moving elsewhere if it can."""
    for r in wishes[e]:
        if r not in seen:
            seen.add(r)
            if r not in owner or _augment(owner[r], wishes, owner, seen):
                owner[r] = e
                return True
    return False


def first_come(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Each reference in turn takes the first prediction that is left: {reference: prediction}."""
    taken: dict[int, int] = {}
    gone: set[int] = set()
    for r, e in pairs:
        if r not in taken and e not in gone:
            taken[r] = e
            gone.add(e)
    return taken
