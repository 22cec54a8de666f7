"""Transformer encoder in the place of a CRNN's GRU."""

from torch import Tensor, nn

from models.sed.attention import SelfAttention, sinusoids
from models.sed.inside import Inside


class Transformer(nn.Module):
    """(batch, frames, width_in) -> (batch, frames, width): a dense layer, sinusoidal positions, `layers` of self-attention.

    After Miyazaki et al. 2020, with the norms before the layers, which trains without warm-up of its own. Any length;
    a clip is independent of its padding.
    """

    def __init__(
        self, width_in: int, width: int = 144, layers: int = 3, heads: int = 4, feed_forward: int = 576, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(width_in, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, feed_forward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`valid` (batch,): frames of each clip, on the CPU; None if all are valid."""
        inside = None if valid is None else Inside.of(valid, x.shape[1], x.device)
        x = self.project(x)
        x = self.dropout(x + sinusoids(x.shape[1], self.width, x.device).to(x.dtype))
        for layer in self.layers:
            x = layer(x, inside)
        return self.norm(x)


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each behind a LayerNorm and beside a residual."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), inside))
        return x + self.dropout(self.feed_forward(self.norm(x)))
