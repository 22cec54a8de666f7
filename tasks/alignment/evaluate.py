"""One recording laid on its score as the paper does it: distances of all frames, DTW, times of the score's events."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.alignment.data import AlignmentDataModule, WholeBatch
from datamodules.common.input_spec import AlignmentSpec
from models.alignment.dtw import STEPS, Binary, Path, Steps, dtw
from models.alignment.similarity import Similarity
from models.alignment.time_map import TimeMap
from tasks.alignment.metrics import AlignmentRows, AlignmentScores, time_errors


class Laid(NamedTuple):
    """A path through the matrix of a recording and its score, and the times it gives the score."""

    path: Path
    time_map: TimeMap


def costs_of(net: Similarity, batch: WholeBatch):
    """Distances of all frames of a recording and its score."""
    sides = [net.frames(features, side).cpu().numpy() for features, side in _sides(batch)]
    return net.costs(*sides)


def _sides(batch: WholeBatch) -> list[tuple[Tensor, str]]:
    return [(batch.performance, "performance"), (batch.score, "score")]


def lay(costs, frame_s: float, steps: Steps, reduce: str = "mean", threshold: float | None = None) -> Laid:
    """The best path through distances, or with a threshold through the matrix that only says same or different."""
    matrix = costs if threshold is None else Binary(costs, threshold)
    path = dtw(matrix, steps)
    return Laid(path, TimeMap.from_path(path, frame_s, reduce))


def score_into(scores: AlignmentScores, time_map: TimeMap, index: int, truth: np.ndarray) -> None:
    """Add a recording's errors to the scores."""
    errors = time_errors(truth, time_map.score_s, time_map.performance_s)
    scores.update(index, truth, time_map(truth[:, 0]), errors)


Follower = Callable[[np.ndarray, np.ndarray], TimeMap]
"""Frames of a performance (n, d) and of a score (m, d) -> when in the performance the score sounds; frame i is at i."""


def evaluate(net: Similarity, data: AlignmentDataModule, split: str, follow: Follower | None = None) -> AlignmentRows:
    """Errors of a system that learns nothing on a split, through features of its own; by exact DTW if not by `follow`."""
    scores = AlignmentScores()
    own = data.with_spec(input_spec(net))
    whole = own.validation_set() if split == "validation" else own.test_set()
    for index in range(len(whole)):
        batch = whole[index]
        truth = batch.truth.numpy()
        if follow is None:
            time_map = lay(costs_of(net, batch), net.frame_s, STEPS["unit"]).time_map
        else:
            frames = follow(*(net.frames(features, side).numpy() for features, side in _sides(batch)))
            time_map = TimeMap(frames.score_s * net.frame_s, frames.performance_s * net.frame_s)
        score_into(scores, time_map, index, truth)
    return scores.own_rows()  # the report scores baselines on one rank: the others would be waited for in vain


def input_spec(net: Similarity) -> AlignmentSpec:
    """Features that a network reads."""

    def extract(audio: np.ndarray, cents: float) -> np.ndarray:
        with torch.no_grad():
            return net.features(torch.from_numpy(audio).to(net.device), cents).cpu().numpy()

    return AlignmentSpec(
        net.sample_rate, net.frame_s, net.context, extract, lambda: net.front.key, lambda: net.device.type == "cpu"
    )
