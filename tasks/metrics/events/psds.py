"""Polyphonic sound detection score (PSDS, Bilen et al. 2020) from operating points, or threshold-free from scores."""

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
    """Parameters of a PSDS."""

    criteria: Criteria
    cross_cost: float  # alpha_ct, weight of cross-triggers in the rate of false positives
    spread_cost: float  # alpha_st, weight of the deviation over classes
    max_rate: float = 100.0  # upper limit of the effective false positive rate per hour

    def __str__(self) -> str:
        """All parameters by the names in the paper."""
        dtc, gtc, cttc = self.criteria
        return (
            f"dtc {dtc:g}, gtc {gtc:g}, cttc {cttc:g}, alpha_ct {self.cross_cost:g}, alpha_st {self.spread_cost:g}, "
            f"max eFPR {self.max_rate:g} per hour"
        )


# DCASE Task 4 since 2021: PSDS1 rewards exact times, PSDS2 the correct class. cttc has no effect if alpha_ct is 0.
PSDS1 = Scenario(Criteria(0.7, 0.7, 0.3), cross_cost=0.0, spread_cost=1.0)
PSDS2 = Scenario(Criteria(0.1, 0.1, 0.3), cross_cost=0.5, spread_cost=1.0)


class Psds(NamedTuple):
    """PSDS value, its ROC curve and its parameters."""

    value: float
    efpr: Array  # (steps,) effective false positive rate per hour, from 0
    etpr: Array  # (steps,) effective true positive rate, constant until the next step
    per_class: Array  # (classes,) area of each class alone; NaN for a class without events
    scenario: Scenario
    points: str  # description of the operating points

    def __str__(self) -> str:
        """Value with its parameters."""
        return f"{self.value:.4f} ({self.scenario}; {self.points})"


def from_scores(scores: FrameScores, corpus: EventTable, scenario: Scenario) -> Psds:
    """PSDS with every distinct score as a threshold, exact without sampling.

    Args:
        scores: filtered frame scores of the clips of `corpus`, in its order
        corpus: reference events
        scenario: PSDS1, PSDS2 or another
    """
    truth = Truth(corpus.events, len(corpus.classes))
    curves = sweep.intersection_based(scores, truth, scenario.criteria, cross_triggers=scenario.cross_cost > 0)
    return area(curves, truth, float(corpus.durations.sum()), scenario, "every distinct score a threshold")


def from_operating_points(points: Iterable[Events], corpus: EventTable, scenario: Scenario) -> Psds:
    """PSDS from one event table per operating point; few points underestimate it."""
    classes = len(corpus.classes)
    truth = Truth(corpus.events, classes)
    scores = [intersection.score(truth, events, classes, scenario.criteria) for events in points]
    counts = [point.counts for point in scores]
    no_thresholds = np.full(len(scores), np.nan)
    curves = [
        Sweep(
            no_thresholds,
            int(truth.count[k]),
            np.array([count.predicted[k] for count in counts], dtype=np.int64),
            np.array([count.correct[k] for count in counts], dtype=np.int64),
            np.array([point.cross_triggers[k] for point in scores], dtype=np.int64).reshape(-1, classes),
        )
        for k in range(classes)
    ]
    return area(curves, truth, float(corpus.durations.sum()), scenario, f"{len(scores)} operating points")


def area(curves: Sequence[Sweep], truth: Truth, seconds: float, scenario: Scenario, points: str) -> Psds:
    """Area under the effective ROC curve of all classes, a step function from below.

    Args:
        curves: counts of every class
        truth: reference events
        seconds: total length of the clips
        scenario: parameters
        points: description of the operating points
    """
    stairs = [_staircase(curve, k, truth, seconds, scenario) for k, curve in enumerate(curves) if curve.reference]
    if not stairs:
        return Psds(float("nan"), np.zeros(1), np.zeros(1), np.full(len(curves), np.nan), scenario, points)
    rate = np.unique(np.concatenate([np.zeros(1), *(x for x, _ in stairs)]))
    rate = rate[rate < scenario.max_rate]
    levels = np.array([np.append(0.0, y)[np.searchsorted(x, rate, side="right")] for x, y in stairs])
    width = np.diff(np.append(rate, scenario.max_rate)) / scenario.max_rate
    etpr = np.maximum(levels.mean(0) - scenario.spread_cost * levels.std(0), 0.0)
    per_class = np.full(len(curves), np.nan)
    per_class[[k for k, curve in enumerate(curves) if curve.reference]] = levels @ width
    return Psds(float(etpr @ width), rate, etpr, per_class, scenario, points)


def _staircase(curve: Sweep, kind: int, truth: Truth, seconds: float, scenario: Scenario) -> tuple[Array, Array]:
    """Effective false positive rates at which the true positive rate rises, and that rate, each (steps,)."""
    rate = curve.false_positives * (HOUR / seconds)
    others = np.flatnonzero((truth.seconds > 0) & (np.arange(len(truth.seconds)) != kind))
    if scenario.cross_cost and len(others):
        rate = rate + scenario.cross_cost * (curve.cross_triggers[:, others] * (HOUR / truth.seconds[others])).mean(1)
    order = np.lexsort((-curve.correct, rate))
    best = np.maximum.accumulate(curve.correct[order])
    rises = np.diff(best, prepend=0) > 0
    return rate[order][rises], best[rises] / curve.reference
