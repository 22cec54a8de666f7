"""What a network has to beat: features that nobody trained, with exact DTW, and MATCH's own on-line time warping."""

from collections.abc import Callable

import numpy as np

from datamodules.alignment.data import AlignmentData
from models.alignment import Handcrafted
from models.alignment.front import CQT, Chroma, LogCQTFlux, Match
from models.alignment.oltw import first_crossings, follow, oltw
from models.alignment.similarity import Similarity
from models.alignment.time_map import TimeMap
from tasks.alignment.evaluate import Follower, evaluate
from tasks.metrics.alignment import AlignmentRows

SILENT = 1e-3  # of the length of loud frames
SETTINGS = {"diagonal": 2.0}  # of on-line time warping: with 1 it runs ahead in noise


def causal(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """On-line time warping as it goes: a frame of the score is where the way first reaches it."""
    positions = follow(_evened(performance), _evened(score), **SETTINGS)
    return TimeMap.from_crossings(first_crossings(positions, len(score)), 1.0)


def there_and_back(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """On-line time warping, then back along the cheapest of what was computed."""
    return TimeMap.from_path(oltw(_evened(performance), _evened(score), **SETTINGS), 1.0)


def _evened(frames: np.ndarray) -> np.ndarray:
    """Frames (n, d) of length 1, all but silence: rises as they are lose performances that are louder or noisier."""
    length = np.linalg.norm(frames, axis=1, keepdims=True)
    return frames / np.maximum(length, SILENT * np.quantile(length, 0.95) + 1e-9)


SYSTEMS: dict[str, tuple[Callable[[], Similarity], Follower | None]] = {
    "DTW_chroma": (lambda: Handcrafted(Chroma(), "euclidean"), None),
    "MATCH's feature, exact DTW": (lambda: Handcrafted(Match(hop=512), "euclidean"), None),
    "MATCH on line, causal": (lambda: Handcrafted(Match(hop=512)), causal),
    "MATCH on line, and back": (lambda: Handcrafted(Match(hop=512)), there_and_back),
    "log-CQT": (lambda: Handcrafted(CQT(), "cosine"), None),
    "log-CQT + flux": (lambda: Handcrafted(LogCQTFlux(), "cosine"), None),
}


def score_baselines(data: AlignmentData, split: str) -> dict[str, AlignmentRows]:
    """Errors of every system on a split."""
    return {name: evaluate(make(), data, split, how) for name, (make, how) in SYSTEMS.items()}
