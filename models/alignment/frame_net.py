"""A network a fortieth the size of the paper's that embeds frames in a context of a third of a second."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from models.alignment.front import Front
from models.alignment.similarity import Side, Similarity


class FrameNet(Similarity):
    """Three convolutions over time and frequency that halve the bins, then one over time; each but the last as the paper's.

    Nothing is padded in time, so that a crop's embeddings are those of the whole recording.

    Args:
        front: what it hears
        channels: kernels of the three convolutions (5 x 5, 5 x 5, 3 x 3)
        frames: width of the last one, frames
        embedding: numbers that stand for a frame, of length 1 together
        dropout: of whole feature maps before the last one
    """

    def __init__(
        self,
        front: Front,
        channels: Sequence[int] = (16, 32, 48),
        frames: int = 5,
        embedding: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(front, context=1 + 4 + 4 + 2 + frames - 1)
        first, second, third = channels
        self.layers = nn.Sequential(
            nn.Conv2d(front.channels, first, 5, stride=(2, 1), padding=(2, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(first),
            nn.Conv2d(first, second, 5, stride=(2, 1), padding=(2, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(second),
            nn.Conv2d(second, third, 3, stride=(2, 1), padding=(1, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(third),
            nn.Dropout2d(dropout),
        )
        self.last = nn.Conv1d(third * -(-front.bins // 8), embedding, frames)

    def embed(self, features: Tensor, side: Side = "performance") -> Tensor:
        """Features (batch, channels, bins, frames) -> (batch, frames - context + 1, embedding), alike on both sides."""
        x = self.last(self.layers(features).flatten(1, 2))
        return F.normalize(x.float(), dim=1).transpose(1, 2)
