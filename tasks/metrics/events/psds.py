"""Polyphonic sound detection score (Bilen et al. 2020), from operating points or, free of thresholds, from scores."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.sed.events import Events, EventTable
from tasks.metrics.events import intersection, sweep
from tasks.metrics.events.counts import Sweep
from tasks.metrics.events.decode import FrameScores
from tasks.metrics.events.intersection import Criteria, Truth

Array = NDArray[np.float64]
HOUR = 3600.0  # s


class Scenario(NamedTuple):
    """What makes one PSDS another number: print it beside the number."""

    criteria: Criteria
    cross_cost: float  # alpha_ct, weight of cross-triggers in the rate of false positives
    spread_cost: float  # alpha_st, weight of the deviation over classes
    max_rate: float = 100.0  # effective false positives per hour, up to which the area reaches

    def __str__(self) -> str:
        """All parameters by the names of the definition."""
        dtc, gtc, cttc = self.criteria
        return (
            f"dtc {dtc:g}, gtc {gtc:g}, cttc {cttc:g}, alpha_ct {self.cross_cost:g}, alpha_st {self.spread_cost:g}, "
            f"max eFPR {self.max_rate:g} per hour"
        )


# Task 4 of DCASE 2021 and later: the first wants exact times, the second the right class. Without alpha_ct, cttc is idle.
PSDS1 = Scenario(Criteria(0.7, 0.7, 0.3), cross_cost=0.0, spread_cost=1.0)
PSDS2 = Scenario(Criteria(0.1, 0.1, 0.3), cross_cost=0.5, spread_cost=1.0)


class Psds(NamedTuple):
    """The score, the curve under which it is the area, and how it was meant."""

    value: float
    rate: Array  # (steps,) effective false positives per hour, from 0
    found: Array  # (steps,) effective rate of found events, from there to the next step
    per_class: Array  # (classes,) area of each class alone; NaN for a class without events
    scenario: Scenario
    points: str  # what the operating points were

    def __str__(self) -> str:
        """The number with everything it depends on."""
        return f"{self.value:.4f} ({self.scenario}; {self.points})"


def from_scores(scores: FrameScores, corpus: EventTable, scenario: Scenario) -> Psds:
    """PSDS over every distinct score as a threshold: exact, nothing is sampled.

    Args:
        scores: after the median filter, of the clips of `corpus` in its order
        corpus: what truly sounds
        scenario: PSDS1, PSDS2 or another
    """
    truth = Truth(corpus.events, len(corpus.classes))
    curves = sweep.intersection_based(scores, truth, scenario.criteria, crossed=scenario.cross_cost > 0)
    return area(curves, truth, float(corpus.durations.sum()), scenario, "every distinct score a threshold")


def from_operating_points(points: Iterable[Events], corpus: EventTable, scenario: Scenario) -> Psds:
    """PSDS from the events at some thresholds, one table each; with few of them it comes out lower."""
    classes = len(corpus.classes)
    truth = Truth(corpus.events, classes)
    found = [intersection.score(truth, events, classes, scenario.criteria) for events in points]
    counts = [point.counts for point in found]
    nowhere = np.full(len(found), np.nan)
    curves = [
        Sweep(
            nowhere,
            int(truth.count[k]),
            np.array([count.predicted[k] for count in counts], dtype=np.int64),
            np.array([count.correct[k] for count in counts], dtype=np.int64),
            np.array([point.crossed[k] for point in found], dtype=np.int64).reshape(-1, classes),
        )
        for k in range(classes)
    ]
    return area(curves, truth, float(corpus.durations.sum()), scenario, f"{len(found)} operating points")


def area(curves: Sequence[Sweep], truth: Truth, seconds: float, scenario: Scenario, points: str) -> Psds:
    """Area under the effective curve of all classes, which is a staircase: between two points the lower one counts.

    Args:
        curves: of every class
        truth: for how long each class is active
        seconds: length of all clips
        scenario: costs, and where the area ends
        points: said beside the number
    """
    stairs = [_staircase(curve, k, truth, seconds, scenario) for k, curve in enumerate(curves) if curve.reference]
    if not stairs:
        return Psds(float("nan"), np.zeros(1), np.zeros(1), np.full(len(curves), np.nan), scenario, points)
    rate = np.unique(np.concatenate([np.zeros(1), *(x for x, _ in stairs)]))
    rate = rate[rate < scenario.max_rate]
    levels = np.array([np.append(0.0, y)[np.searchsorted(x, rate, side="right")] for x, y in stairs])
    width = np.diff(np.append(rate, scenario.max_rate)) / scenario.max_rate
    found = np.maximum(levels.mean(0) - scenario.spread_cost * levels.std(0), 0.0)
    per_class = np.full(len(curves), np.nan)
    per_class[[k for k, curve in enumerate(curves) if curve.reference]] = levels @ width
    return Psds(float(found @ width), rate, found, per_class, scenario, points)


def _staircase(curve: Sweep, kind: int, truth: Truth, seconds: float, scenario: Scenario) -> tuple[Array, Array]:
    """Effective rates at which more is found than at any lower one, and how much, each (steps,)."""
    rate = curve.false * (HOUR / seconds)
    others = np.flatnonzero((truth.seconds > 0) & (np.arange(len(truth.seconds)) != kind))
    if scenario.cross_cost and len(others):
        rate = rate + scenario.cross_cost * (curve.crossed[:, others] * (HOUR / truth.seconds[others])).mean(1)
    order = np.lexsort((-curve.correct, rate))
    best = np.maximum.accumulate(curve.correct[order])
    rises = np.diff(best, prepend=0) > 0
    return rate[order][rises], best[rises] / curve.reference
