"""Transformer and Conformer encoders (Miyazaki et al. 2020): (batch, frames, width_in) -> (batch, frames, width)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.sed.pooling import Inside, normed, silenced


def sinusoids(frames: int, width: int, device: torch.device) -> Tensor:
    """Positional encoding (frames, width) of Vaswani et al. 2017: sines, then cosines."""
    rates = 10_000.0 ** -(torch.arange(width // 2, device=device) / (width // 2))
    angles = torch.arange(frames, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of (batch, heads, frames, head_dim).

    Products of queries and keys then depend on positions only by their distance.
    """
    frames, width = x.shape[-2:]
    sine, cosine = sinusoids(frames, width, x.device).to(x.dtype).chunk(2, -1)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


class RotarySelfAttention(nn.Module):
    """Self-attention over valid frames: (batch, frames, width) -> (batch, frames, width).

    rotary: apply rotary position embeddings; else the input must contain positions.
    """

    def __init__(self, width: int, heads: int, dropout: float, rotary: bool = False) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of twice the {heads} heads, got {width}")
        self.heads, self.dropout, self.rotary = heads, dropout, rotary
        self.joint = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        query, key, value = self.joint(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rotary:
            query, key = rotated(query), rotated(key)
        mask = None if inside is None else inside.mask[:, None, None]
        dropout = self.dropout if self.training else 0.0
        joined = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.out(joined.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Transformer encoder: linear layer, sinusoidal positions, `layers` pre-norm layers of self-attention.

    After Miyazaki et al. 2020; pre-norm layers train without warm-up. Accepts any length; the result is independent of
    padding.
    """

    def __init__(
        self, width_in: int, width: int = 144, layers: int = 3, heads: int = 4, feed_forward: int = 576, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(width_in, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feed_forward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`valid` (batch,): frames of each clip, on the CPU; None if all are valid."""
        inside = None if valid is None else Inside.from_lengths(valid, x.shape[1], x.device)
        x = self.project(x)
        x = self.dropout(x + sinusoids(x.shape[1], self.width, x.device).to(x.dtype))
        for layer in self.layers:
            x = layer(x, inside)
        return self.norm(x)


class EncoderLayer(nn.Module):
    """Pre-norm Transformer layer: self-attention and feed-forward network with residual connections."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = RotarySelfAttention(width, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), inside))
        return x + self.dropout(self.feed_forward(self.norm(x)))


class Conformer(nn.Module):
    """Conformer encoder (Gulati et al. 2020): linear layer, then `layers` blocks of attention and convolution.

    Miyazaki et al. 2020 for sound events: 3 or 4 layers of 144, 4 heads, kernel 7. Positions are rotary (Transformer-XL's in
    Gulati et al.), so the encoder is shift-equivariant. Accepts any length; in evaluation the result is independent of
    padding, in training padding is excluded from the batch norms' statistics.
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
            raise ValueError(f"kernel must be odd, got {kernel}")
        self.width = width
        self.project = nn.Linear(width_in, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(ConformerBlock(width, heads, feed_forward, kernel, dropout) for _ in range(layers))

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`valid` (batch,): frames of each clip, on the CPU; None if all are valid."""
        return self.encoded(x, None if valid is None else Inside.from_lengths(valid, x.shape[1], x.device))

    def encoded(self, x: Tensor, inside: Inside | None) -> Tensor:
        """`forward` with a mask of valid frames."""
        x = self.dropout(self.project(x))
        for layer in self.layers:
            x = layer(x, inside)
        return x


class ConformerBlock(nn.Module):
    """Conformer block: half-step feed-forward, self-attention, convolution, half-step feed-forward, norm."""

    def __init__(self, width: int, heads: int, feed_forward: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = (half_step(width, feed_forward, dropout) for _ in range(2))
        self.attention_norm = nn.LayerNorm(width)
        self.attention = RotarySelfAttention(width, heads, dropout, rotary=True)
        self.convolution = Convolution(width, kernel, dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        x = x + 0.5 * self.first(x)
        x = x + self.dropout(self.attention(self.attention_norm(x), inside))
        x = x + self.convolution(x, inside)
        return self.norm(x + 0.5 * self.second(x))


def half_step(width: int, feed_forward: int, dropout: float) -> nn.Sequential:
    """Feed-forward module of a block."""
    inner = nn.Linear(width, feed_forward), nn.SiLU(), nn.Dropout(dropout)
    return nn.Sequential(nn.LayerNorm(width), *inner, nn.Linear(feed_forward, width), nn.Dropout(dropout))


class Convolution(nn.Module):
    """Convolution module: pointwise with GLU, depthwise over time, batch norm, SiLU, pointwise."""

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
