"""Alignment metrics: true and estimated times of events -> errors, kept per event and gathered across ranks."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.metrics.rows import RowMetric

TOLERANCES_MS = (25, 50, 100, 200)
LOST_S = 0.5
"""A recording with a larger median error (s) counts as lost."""


class TimeErrors(NamedTuple):
    """Measures of a whole recording (Thickstun et al. 2020), s."""

    err: float  # mean absolute error over the time of the score
    dev: float  # root mean square


class AlignmentRows(NamedTuple):
    """Errors of all events, sorted by recording and score time."""

    recording: NDArray[np.int64]  # (events,) position in the split
    score_s: NDArray[np.float64]  # (events,)
    error: NDArray[np.float64]  # (events,) estimated - true, s
    recordings: NDArray[np.int64]  # (recordings,) positions in the split
    time_err: NDArray[np.float64]  # (recordings,) s
    time_dev: NDArray[np.float64]  # (recordings,) s

    def errors_of(self, recording: int) -> NDArray[np.float64]:
        """Errors of one recording."""
        return self.error[self.recording == recording]


class AlignmentScores(RowMetric):
    """Errors of all events; a recording seen by several ranks counts once. Call `rows`, which gathers, on every rank."""

    columns: ClassVar = {
        "recording": torch.int64,
        "score_s": torch.float64,
        "error": torch.float64,
        "whole": torch.int64,
        "times": torch.float64,
    }

    def update(self, recording: int, truth: NDArray[np.float64], estimate: NDArray[np.float64], times: TimeErrors) -> None:
        """Add a recording.

        Args:
            recording: position in the split
            truth: (events, 2): s in the score, s in the performance
            estimate: (events,) s in the performance
            times: errors of the whole map (`time_errors`)

        Raises:
            ValueError: an estimate is not finite, or their number is wrong.
        """
        if estimate.shape != truth[:, 1].shape or not np.isfinite(estimate).all():
            raise ValueError(f"expected a time for each of {len(truth)} events of recording {recording}")
        self.add(recording=np.full(len(truth), recording), score_s=truth[:, 0], error=estimate - truth[:, 1])
        self.add(whole=[recording], times=list(times))

    def compute(self) -> dict[str, float]:
        """`summary` of all recordings."""
        return summary(self.own_rows())

    def rows(self) -> AlignmentRows:
        """All events of all ranks."""
        return self.gathered(self.own_rows)

    def own_rows(self) -> AlignmentRows:
        """Events of this process, without gathering."""
        recording, score = self.held("recording").astype(np.int64), self.held("score_s").astype(np.float64)
        error = self.held("error").astype(np.float64)
        _, once = np.unique(np.stack([recording, score]), axis=1, return_index=True)
        whole, first = np.unique(self.held("whole").astype(np.int64), return_index=True)
        times = self.held("times").astype(np.float64).reshape(-1, 2)[first]
        return AlignmentRows(recording[once], score[once], error[once], whole, times[:, 0], times[:, 1])


def summary(rows: AlignmentRows) -> dict[str, float]:
    """Scores over events and over recordings.

    `within_<ms>`: share of events with an error below the tolerance (the paper's Table II, there in %); `mean_ms`, `median_ms`,
    `p95_ms`: absolute error; `bias_ms`: mean signed error, positive if the estimate is late; `time_err_ms`, `time_dev_ms`: see
    `TimeErrors`, mean over recordings; `lost`: share of recordings with a median above 500 ms; `n_events`, `n_recordings`.
    """
    if not len(rows.error):
        names = [*(f"within_{ms}" for ms in TOLERANCES_MS), "mean_ms", "median_ms", "p95_ms", "bias_ms", "time_err_ms"]
        return dict.fromkeys([*names, "time_dev_ms", "lost"], float("nan")) | {"n_events": 0, "n_recordings": 0}
    distance = np.abs(rows.error)
    scores = {f"within_{ms}": float((distance < ms / 1000).mean()) for ms in TOLERANCES_MS}
    scores |= {"mean_ms": 1000 * distance.mean(), "median_ms": 1000 * np.median(distance)}
    scores |= {"p95_ms": 1000 * np.quantile(distance, 0.95), "bias_ms": 1000 * rows.error.mean()}
    scores |= {"time_err_ms": 1000 * rows.time_err.mean(), "time_dev_ms": 1000 * rows.time_dev.mean()}
    scores["lost"] = np.mean([lost(rows.errors_of(recording)) for recording in rows.recordings])
    scores = {name: float(value) for name, value in scores.items()}
    return scores | {"n_events": len(distance), "n_recordings": len(rows.recordings)}


def lost(error: NDArray[np.float64]) -> bool:
    """True if the median of a recording's absolute errors (events,) in s is above `LOST_S`."""
    return bool(np.median(np.abs(error)) > LOST_S)


def intervals(rows: AlignmentRows, pieces: Sequence[str], resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of `within_<ms>` over pieces, or over recordings if there is a single piece.

    Args:
        rows: errors
        pieces: piece of each recording of the split, by position
        resamples: number of resamples
        seed: seed of the resampling
    """
    recordings = rows.recordings.tolist()
    groups: dict[str, list[int]] = {}
    single = len({pieces[recording] for recording in recordings}) < 2
    for recording in recordings:
        groups.setdefault(str(recording) if single else pieces[recording], []).append(recording)
    errors = {recording: np.abs(rows.errors_of(recording)) for recording in recordings}
    counts = np.array([sum(len(errors[recording]) for recording in group) for group in groups.values()])
    random, edges = np.random.default_rng(seed), {}
    draws = random.integers(len(groups), size=(resamples, len(groups))) if len(groups) else np.zeros((1, 0), int)
    for ms in TOLERANCES_MS:
        hits = np.array([sum((errors[recording] < ms / 1000).sum() for recording in group) for group in groups.values()])
        shares = hits[draws].sum(1) / np.maximum(counts[draws].sum(1), 1)
        edges[f"within_{ms}"] = tuple(float(edge) for edge in np.quantile(shares, (0.025, 0.975)))
    return edges


def time_errors(truth: NDArray[np.float64], knots: NDArray[np.float64], estimate: NDArray[np.float64]) -> TimeErrors:
    """Integrated error from the first to the last event of a score, exact for piecewise linear maps (Thickstun et al. 2020).

    Args:
        truth: (events, 2) s in the score, s in the performance
        knots: (n,) increasing, s in the score
        estimate: (n,) s in the performance
    """
    score, performance = truth.T
    if len(score) < 2 or score[-1] <= score[0]:
        distance = abs(float(np.interp(score[0], knots, estimate) - performance[0]))
        return TimeErrors(distance, distance)
    times = np.union1d(score, knots[(knots > score[0]) & (knots < score[-1])])
    error = np.interp(times, knots, estimate) - np.interp(times, score, performance)
    width, first, last = np.diff(times), error[:-1], error[1:]
    total, crossing = times[-1] - times[0], first * last < 0
    spread = np.where(crossing, np.abs(first) + np.abs(last), 1.0)
    # A change of sign splits the trapezium into two triangles.
    area = np.where(crossing, (first**2 + last**2) / (2 * spread), (np.abs(first) + np.abs(last)) / 2)
    square = (first**2 + first * last + last**2) / 3
    return TimeErrors(float((area * width).sum() / total), float(np.sqrt((square * width).sum() / total)))


class PairDistances(RowMetric):
    """Distances of matching and other frames, for the equal-error threshold of the paper's binary matrix."""

    columns: ClassVar = {"distance": torch.float32, "label": torch.float32}

    def update(self, distance: Tensor, label: Tensor) -> None:
        """Add pairs (any shape): distances, and labels 0 (match) or 1."""
        self.add(distance=distance.detach(), label=label.detach())

    def compute(self) -> Tensor:
        """(2,): equal-error threshold and error rate of the pairs of this process."""
        return torch.tensor(equal_error(self.held("distance"), self.held("label")))

    def threshold(self) -> tuple[float, float]:
        """Equal-error threshold and error rate over all ranks, NaN without pairs of both labels; call it on every rank."""
        return self.gathered(lambda: equal_error(self.held("distance"), self.held("label")))


def equal_error(distance: NDArray, label: NDArray) -> tuple[float, float]:
    """Threshold at which equal shares of matches (above) and others (below) are wrong, and that share."""
    match, other = np.sort(distance[label == 0]), np.sort(distance[label == 1])
    if not len(match) or not len(other):
        return float("nan"), float("nan")
    thresholds = np.unique(np.concatenate([match, other]))
    missed = 1 - np.searchsorted(match, thresholds, side="right") / len(match)
    false = np.searchsorted(other, thresholds, side="right") / len(other)
    best = int(np.argmin(np.abs(missed - false)))
    return float(thresholds[best]), float((missed[best] + false[best]) / 2)
