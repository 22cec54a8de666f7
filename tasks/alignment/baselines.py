"""What a network has to beat: features that nobody trained, each with exact DTW."""

from collections.abc import Callable

from datamodules.alignment.data import AlignmentData
from models.alignment import Handcrafted
from models.alignment.front import CQT, Chroma, LogCQTFlux, Match
from models.alignment.similarity import Similarity
from tasks.alignment.evaluate import evaluate
from tasks.metrics.alignment import AlignmentRows

SYSTEMS: dict[str, Callable[[], Similarity]] = {
    "DTW_chroma": lambda: Handcrafted(Chroma(), "euclidean"),
    "MATCH's feature": lambda: Handcrafted(Match(hop=512), "euclidean"),
    "log-CQT": lambda: Handcrafted(CQT(), "cosine"),
    "log-CQT + flux": lambda: Handcrafted(LogCQTFlux(), "cosine"),
}


def score_baselines(data: AlignmentData, split: str) -> dict[str, AlignmentRows]:
    """Errors of every system on a split."""
    return {name: evaluate(make(), data, split) for name, make in SYSTEMS.items()}
