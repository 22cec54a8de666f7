"""Conformer encoder (Gulati et al. 2020) in the place of a CRNN's GRU."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.sed.attention import SelfAttention
from models.sed.inside import Inside, normed, silenced


class Conformer(nn.Module):
    """(batch, frames, width_in) -> (batch, frames, width): a dense layer, then `layers` of attention and convolution.

    Miyazaki et al. 2020 for sound events: 3 or 4 layers of 144, 4 heads, kernel 7. Positions are relative, as rotations
    (Gulati et al. add Transformer-XL's), so that a clip shifted in time is detected the same, shifted. Any length; a clip
    is independent of its padding (in evaluation; in training padding does not count in the batch norms' statistics).
    """

    def __init__(
        self,
        width_in: int,
        width: int = 144,
        layers: int = 3,
        heads: int = 4,
        feed_forward: int = 576,
        kernel: int = 7,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}, expected an odd number: as many frames before as after")
        self.width = width
        self.project = nn.Linear(width_in, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(width, heads, feed_forward, kernel, dropout) for _ in range(layers))

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`valid` (batch,): frames of each clip, on the CPU; None if all are valid."""
        return self.encoded(x, None if valid is None else Inside.of(valid, x.shape[1], x.device))

    def encoded(self, x: Tensor, inside: Inside | None) -> Tensor:
        """As `forward`, for any frames that are inside."""
        x = self.dropout(self.project(x))
        for layer in self.layers:
            x = layer(x, inside)
        return x


class Block(nn.Module):
    """Half a feed-forward network, self-attention, convolution, the other half; residuals; a norm at the end."""

    def __init__(self, width: int, heads: int, feed_forward: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = (half_step(width, feed_forward, dropout) for _ in range(2))
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout, rotary=True)
        self.convolution = Convolution(width, kernel, dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        x = x + 0.5 * self.first(x)
        x = x + self.dropout(self.attention(self.attention_norm(x), inside))
        x = x + self.convolution(x, inside)
        return self.norm(x + 0.5 * self.second(x))


def half_step(width: int, feed_forward: int, dropout: float) -> nn.Sequential:
    """The feed-forward module of a block."""
    inner = nn.Linear(width, feed_forward), nn.SiLU(), nn.Dropout(dropout)
    return nn.Sequential(nn.LayerNorm(width), *inner, nn.Linear(feed_forward, width), nn.Dropout(dropout))


class Convolution(nn.Module):
    """Pointwise with GLU, depthwise over time, batch norm, SiLU, pointwise."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        x = F.glu(self.gate(self.layer_norm(x)), 2).transpose(1, 2)
        x = normed(self.norm, self.depthwise(silenced(x, inside)), inside)
        return self.dropout(self.out(F.silu(x).transpose(1, 2)))
