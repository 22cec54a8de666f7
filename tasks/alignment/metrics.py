"""Scores of alignments: how far every event of a score is from where it sounds, kept and gathered, never averaged per batch."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.metrics.rows import RowMetric

TOLERANCES_MS = (25, 50, 100, 200)
LOST_S = 0.5
"""A recording whose median error is larger is lost: its path has gone astray."""


class TimeErrors(NamedTuple):
    """Thickstun's measures of a whole recording, s."""

    err: float  # mean absolute error over the time of the score
    dev: float  # root mean square


class AlignmentRows(NamedTuple):
    """Every event of every recording, sorted by recording and score time, on every rank the same."""

    recording: NDArray[np.int64]  # (events,) position in the split
    score_s: NDArray[np.float64]  # (events,)
    error: NDArray[np.float64]  # (events,) estimated - true, s
    recordings: NDArray[np.int64]  # (recordings,) positions in the split
    time_err: NDArray[np.float64]  # (recordings,) s
    time_dev: NDArray[np.float64]  # (recordings,) s

    def of(self, recording: int) -> NDArray[np.float64]:
        """Errors of one recording."""
        return self.error[self.recording == recording]


class AlignmentScores(RowMetric):
    """Errors of all events; a recording that several ranks saw counts once. `rows` gathers: call it on every rank."""

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
            recording: its position in the split
            truth: (events, 2): s in the score, s in the performance
            estimate: (events,) s in the performance
            times: of the whole map (`time_errors`)

        Raises:
            ValueError: an estimate that is no time, or of another length.
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
        """Those held here: of this process alone, which may ask without the others."""
        recording, score = self.held("recording").astype(np.int64), self.held("score_s").astype(np.float64)
        error = self.held("error").astype(np.float64)
        _, once = np.unique(np.stack([recording, score]), axis=1, return_index=True)
        whole, first = np.unique(self.held("whole").astype(np.int64), return_index=True)
        times = self.held("times").astype(np.float64).reshape(-1, 2)[first]
        return AlignmentRows(recording[once], score[once], error[once], whole, times[:, 0], times[:, 1])


def summary(rows: AlignmentRows) -> dict[str, float]:
    """Scores over events, and over recordings.

    `within_<ms>`: share of all events within so many ms (the paper's Table II, there in %); `mean_ms`, `median_ms`, `p95_ms` of
    the absolute error; `bias_ms`: mean of the signed one, positive where the estimate is late; `time_err_ms`, `time_dev_ms`:
    Thickstun's, mean over recordings; `lost`: share of recordings with a median beyond 500 ms; `n_events`, `n_recordings`.
    """
    if not len(rows.error):
        names = [*(f"within_{ms}" for ms in TOLERANCES_MS), "mean_ms", "median_ms", "p95_ms", "bias_ms", "time_err_ms"]
        return dict.fromkeys([*names, "time_dev_ms", "lost"], float("nan")) | {"n_events": 0, "n_recordings": 0}
    far = np.abs(rows.error)
    found = {f"within_{ms}": float((far < ms / 1000).mean()) for ms in TOLERANCES_MS}
    found |= {"mean_ms": 1000 * far.mean(), "median_ms": 1000 * np.median(far), "p95_ms": 1000 * np.quantile(far, 0.95)}
    found |= {"bias_ms": 1000 * rows.error.mean(), "time_err_ms": 1000 * rows.time_err.mean()}
    found |= {"time_dev_ms": 1000 * rows.time_dev.mean(), "lost": float(np.mean([lost(rows.of(one)) for one in rows.recordings]))}
    found = {name: float(value) for name, value in found.items()}
    return found | {"n_events": len(far), "n_recordings": len(rows.recordings)}


def lost(error: NDArray[np.float64]) -> bool:
    """Whether a recording's errors (events,) in s are those of a path gone astray."""
    return bool(np.median(np.abs(error)) > LOST_S)


def intervals(rows: AlignmentRows, pieces: Sequence[str], resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of `within_<ms>`: whole pieces are drawn again, or whole recordings where there is one piece.

    pieces: the piece of each recording of the split, by position.
    """
    groups: dict[str, list[int]] = {}
    alone = len({pieces[one] for one in rows.recordings}) < 2
    for one in rows.recordings.tolist():
        groups.setdefault(str(one) if alone else pieces[one], []).append(one)
    far = {one: np.abs(rows.of(one)) for one in rows.recordings.tolist()}
    counts = np.array([sum(len(far[one]) for one in group) for group in groups.values()])
    random, found = np.random.default_rng(seed), {}
    draws = random.integers(len(groups), size=(resamples, len(groups))) if len(groups) else np.zeros((1, 0), int)
    for ms in TOLERANCES_MS:
        hits = np.array([sum((far[one] < ms / 1000).sum() for one in group) for group in groups.values()])
        shares = hits[draws].sum(1) / np.maximum(counts[draws].sum(1), 1)
        found[f"within_{ms}"] = tuple(float(edge) for edge in np.quantile(shares, (0.025, 0.975)))
    return found


def time_errors(truth: NDArray[np.float64], knots: NDArray[np.float64], estimate: NDArray[np.float64]) -> TimeErrors:
    """Error over the score's time from its first to its last event, exact for maps linear in between (Thickstun et al. 2020).

    truth: (events, 2) s in the score, s in the performance, linear in between; knots (n,) s in the score, rising, and the
    estimate there, linear in between.
    """
    score, heard = truth.T
    if len(score) < 2 or score[-1] <= score[0]:
        far = abs(float(np.interp(score[0], knots, estimate) - heard[0]))
        return TimeErrors(far, far)
    at = np.union1d(score, knots[(knots > score[0]) & (knots < score[-1])])
    error = np.interp(at, knots, estimate) - np.interp(at, score, heard)
    width, first, last = np.diff(at), error[:-1], error[1:]
    total, crossing = at[-1] - at[0], first * last < 0
    spread = np.where(crossing, np.abs(first) + np.abs(last), 1.0)
    # Where the sign changes two triangles are left of the trapezium.
    area = np.where(crossing, (first**2 + last**2) / (2 * spread), (np.abs(first) + np.abs(last)) / 2)
    square = (first**2 + first * last + last**2) / 3
    return TimeErrors(float((area * width).sum() / total), float(np.sqrt((square * width).sum() / total)))


# From which distance on a pair of frames counts as different: the threshold of the paper's binary matrix.


class PairDistances(RowMetric):
    """Distances of frames that match and that do not, gathered from all ranks; `threshold` gives their equal-error threshold."""

    columns: ClassVar = {"distance": torch.float32, "label": torch.float32}

    def update(self, distance: Tensor, label: Tensor) -> None:
        """Add pairs (any shape): distances, and 0 for a match, 1 for none."""
        self.add(distance=distance.detach(), label=label.detach())

    def compute(self) -> Tensor:
        """(2,): equal-error threshold and the error there, of the pairs held here."""
        return torch.tensor(equal_error(self.held("distance"), self.held("label")))

    def threshold(self) -> tuple[float, float]:
        """Threshold and the error rate there, over all ranks: call it on every rank. NaN without pairs of both kinds."""
        return self.gathered(lambda: equal_error(self.held("distance"), self.held("label")))


def equal_error(distance: NDArray, label: NDArray) -> tuple[float, float]:
    """The distance that as many matches lie above as others lie below, in shares, and that share."""
    match, other = np.sort(distance[label == 0]), np.sort(distance[label == 1])
    if not len(match) or not len(other):
        return float("nan"), float("nan")
    tried = np.unique(np.concatenate([match, other]))
    missed = 1 - np.searchsorted(match, tried, side="right") / len(match)
    false = np.searchsorted(other, tried, side="right") / len(other)
    best = int(np.argmin(np.abs(missed - false)))
    return float(tried[best]), float((missed[best] + false[best]) / 2)
