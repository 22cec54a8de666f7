"""Evaluation of alignment (Agrawal, Dixon 2021): frames of recording and score -> distances -> DTW -> errors of events."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.alignment.data import AlignmentDataModule, WholeBatch
from datamodules.common.input_spec import AlignmentSpec
from datamodules.common.workers import mix
from models.alignment.costs import Costs
from models.alignment.dtw import STEPS, Binary, Path, Steps, dtw
from models.alignment.similarity import Similarity
from models.alignment.time_map import TimeMap
from tasks.alignment.metrics import AlignmentRows, AlignmentScores, time_errors


class DTWAlignment(NamedTuple):
    """DTW path of a recording and its score, and its map from score time to recording time."""

    path: Path
    time_map: TimeMap


def costs_of(net: Similarity, batch: WholeBatch):
    """Distances between all frames of a recording and its score."""
    sides = [net.frames(features, side).cpu().numpy() for features, side in _sides(batch)]
    return net.costs(*sides)


def _sides(batch: WholeBatch) -> list[tuple[Tensor, str]]:
    return [(batch.performance, "performance"), (batch.score, "score")]


def align_frames(costs, frame_s: float, steps: Steps, reduce: str = "mean", threshold: float | None = None) -> DTWAlignment:
    """Align by the best path through the distance matrix, or with a threshold through the binary matrix."""
    matrix = costs if threshold is None else Binary(costs, threshold)
    path = dtw(matrix, steps)
    return DTWAlignment(path, TimeMap.from_path(path, frame_s, reduce))


def update_scores(scores: AlignmentScores, time_map: TimeMap, index: int, truth: np.ndarray) -> None:
    """Add the errors of a recording to a metric."""
    errors = time_errors(truth, time_map.score_s, time_map.performance_s)
    scores.update(index, truth, time_map(truth[:, 0]), errors)


PAIRS = 64
"""Matching pairs, and other pairs, of each validation recording for the threshold."""


def sample_distances(costs: Costs, truth: np.ndarray, frame_s: float, seed: int) -> tuple[Tensor, Tensor]:
    """Distances (2 * PAIRS,) of matching frames, then of other frames, and labels 0 and 1."""
    random = np.random.default_rng(mix(seed))
    rows, columns = costs.shape
    score, performance = (np.round(truth / frame_s).astype(int)).T
    events = random.integers(len(truth), size=PAIRS)
    performance, score = np.clip(performance[events], 0, rows - 1), np.clip(score[events], 0, columns - 1)
    offsets = random.integers(4, max(5, columns - 4), size=PAIRS)
    others = (score + offsets) % columns
    distances = [costs.block(i, i + 1)[0, j] for to in (score, others) for i, j in zip(performance, to, strict=True)]
    return torch.from_numpy(np.array(distances)), torch.cat([torch.zeros(PAIRS), torch.ones(PAIRS)])


Follower = Callable[[np.ndarray, np.ndarray], TimeMap]
"""Frames of a performance (n, d) and of a score (m, d) -> time map in frames."""


def evaluate(net: Similarity, data: AlignmentDataModule, split: str, follow: Follower | None = None) -> AlignmentRows:
    """Errors of an untrained system on a split.

    Args:
        net: features and distances
        data: data module
        split: "validation" or "test"
        follow: score follower (default: exact DTW)
    """
    scores = AlignmentScores()
    own = data.with_spec(input_spec(net))
    whole = own.validation_set() if split == "validation" else own.test_set()
    for index in range(len(whole)):
        batch = whole[index]
        truth = batch.truth.numpy()
        if follow is None:
            time_map = align_frames(costs_of(net, batch), net.frame_s, STEPS["unit"]).time_map
        else:
            frames = follow(*(net.frames(features, side).numpy() for features, side in _sides(batch)))
            time_map = TimeMap(frames.score_s * net.frame_s, frames.performance_s * net.frame_s)
        update_scores(scores, time_map, index, truth)
    return scores.own_rows()  # the report evaluates baselines on one rank: gathering would wait for the others


def input_spec(net: Similarity) -> AlignmentSpec:
    """Feature specification of a network."""

    def extract(audio: np.ndarray, cents: float) -> np.ndarray:
        with torch.no_grad():
            return net.features(torch.from_numpy(audio).to(net.device), cents).cpu().numpy()

    return AlignmentSpec(
        net.sample_rate, net.frame_s, net.context, extract, lambda: net.front.key, lambda: net.device.type == "cpu"
    )
