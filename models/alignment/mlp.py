"""A perceptron that says of two frames whether they are the same (Izmirli and Dannenberg 2010), reimplemented."""

import numpy as np
import torch
from torch import Tensor, nn

from models.alignment.front import Front
from models.alignment.similarity import Side, Similarity

ROWS_AT_ONCE = 256


class MLP(Similarity):
    """Both frames' spectra side by side -> hidden units -> probability that they do not match.

    The original's details could not be had: layer size and activation are from memory.

    Args:
        front: what it hears, a semigram
        hidden: units
    """

    modes, threshold = ("binary",), 0.5

    def __init__(self, front: Front, hidden: int = 100) -> None:
        super().__init__(front, context=1)
        size = front.channels * front.bins
        # The first layer on two frames side by side is the sum of two, one a frame.
        self.performance, self.score = nn.Linear(size, hidden), nn.Linear(size, hidden, bias=False)
        self.output = nn.Linear(hidden, 1)

    def embed(self, features: Tensor, side: Side) -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames, hidden): what each side adds to the hidden units."""
        return getattr(self, side)(features.flatten(1, 2).transpose(1, 2)).float()

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Probability (...) that the frames of embeddings (..., hidden) do not match."""
        return torch.sigmoid(self.output(torch.tanh(left + right)).float()).squeeze(-1)

    def costs(self, performance: np.ndarray, score: np.ndarray) -> "PairCosts":
        """Probabilities for all pairs, a block of rows at a time."""
        return PairCosts(self, performance, score)


class PairCosts:
    """Distances by a network that has to see both frames (`models.alignment.costs.Costs`)."""

    def __init__(self, net: Similarity, performance: np.ndarray, score: np.ndarray) -> None:
        self.net = net
        self.left, self.right = (torch.as_tensor(x, device=net.device) for x in (performance, score))
        self.shape = len(performance), len(score)

    def block(self, first: int, last: int) -> np.ndarray:
        """See `Costs`."""
        return self.window(first, last, 0, self.shape[1])

    @torch.no_grad()
    def window(self, first: int, last: int, left: int, right: int) -> np.ndarray:
        """See `Costs`."""
        starts, score = range(first, last, ROWS_AT_ONCE), self.right[None, left:right]
        rows = [self.net.between(self.left[s : min(s + ROWS_AT_ONCE, last), None], score) for s in starts]
        return torch.cat(rows).cpu().numpy().astype(np.float32)
