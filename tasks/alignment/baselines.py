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


def causal(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """On-line time warping as it goes: a frame of the score is where the way first reaches it."""
    positions = follow(np.sqrt(performance), np.sqrt(score))
    return TimeMap.from_crossings(first_crossings(positions, len(score)), 1.0)


def there_and_back(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """On-line time warping, then back along the cheapest of what was computed."""
    return TimeMap.from_path(oltw(np.sqrt(performance), np.sqrt(score)), 1.0)


# Their roots are followed: MATCH's rises as they are lose loud performances.
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
