"""Systems that learn nothing: the frames of a front end as they are."""

from typing import Literal

from torch import Tensor

from models.alignment.front import Front
from models.alignment.similarity import Side, Similarity


class Handcrafted(Similarity):
    """A front end's own frames, compared by a metric.

    Args:
        front: chroma, MATCH's feature, logarithmic CQT ... (`models.alignment.front`)
        metric: `euclidean` as in the paper, or `cosine`
    """

    modes = ("distance",)

    def __init__(self, front: Front, metric: Literal["euclidean", "cosine"] = "euclidean") -> None:
        super().__init__(front, context=1)
        self.metric = metric

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames, channels * bins)."""
        return features.flatten(1, 2).transpose(1, 2).float()
