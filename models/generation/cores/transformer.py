"""Causal Transformer core with relative attention (Huang et al. 2018)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.cores.core import Core


class Cache(NamedTuple):
    """Ring buffers of the last keys and values (batch, frames, heads, size), and the number of frames written."""

    keys: Tensor
    values: Tensor
    written: int


class RelativeAttention(nn.Module):
    """Causal self-attention over the last `window` frames with learned embeddings of the distance.

    Shaw et al. 2018 in the efficient form of Huang et al. 2018 (Music Transformer, section 3.4.1): products of all queries
    with all distances are skewed into place, so that memory grows with frames x window, not with that times the size.
    """

    def __init__(self, width: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.window, self.dropout = heads, window, dropout
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.distances = nn.Parameter(torch.randn(heads, window, width // heads) * (width // heads) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, width) -> (batch, frames, width)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(x).chunk(3, -1))
        frames = x.shape[1]
        ago = torch.arange(frames - 1, -1, -1, device=x.device)
        by_distance = q @ self.distances[:, ago.clamp(max=self.window - 1)].transpose(1, 2)
        back = torch.arange(frames, device=x.device)[:, None] - torch.arange(frames, device=x.device)
        outside = (back < 0) | (back >= self.window)
        bias = skewed(by_distance) * q.shape[-1] ** -0.5
        bias = bias.masked_fill(outside, -torch.inf).to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out(read.transpose(1, 2).flatten(2))

    def step(self, x: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """One frame (batch, width) -> (batch, width)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.project(x).chunk(3, -1))
        slot = cache.written % self.window
        cache.keys[:, slot], cache.values[:, slot] = k, v
        known = min(cache.written + 1, self.window)
        # The slots contain distances slot, slot - 1, ..., 0 and, once the ring is full, window - 1 down to slot + 1.
        ago = (slot - torch.arange(known, device=x.device)) % self.window
        keys = cache.keys[:, :known] + self.distances[:, ago].transpose(0, 1)
        weights = (torch.einsum("bhd,bthd->bht", q, keys) * q.shape[-1] ** -0.5).softmax(-1)
        read = torch.einsum("bht,bthd->bhd", weights, cache.values[:, :known])
        return self.out(read.flatten(1)), Cache(cache.keys, cache.values, cache.written + 1)


def skewed(by_distance: Tensor) -> Tensor:
    """Products (..., frames, frames) by distance frames - 1 to 0 -> by key frame, for causal pairs."""
    frames = by_distance.shape[-1]
    return F.pad(by_distance, (1, 0)).unflatten(-2, (frames, 1)).reshape(*by_distance.shape[:-2], frames + 1, frames)[..., 1:, :]


class RelativeLayer(nn.Module):
    """Pre-norm Transformer layer: attention and feed-forward network, each with a residual connection."""

    def __init__(self, width: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = RelativeAttention(width, heads, window, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self._fed(x + self.dropout(self.attention(self.attention_norm(x))))

    def step(self, x: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """As `forward`, for one frame (batch, width)."""
        read, cache = self.attention.step(self.attention_norm(x), cache)
        x = x + read
        return x + self.feed_forward(self.norm(x)), cache

    def _fed(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.feed_forward(self.norm(x)))


class TransformerCore(Core):
    """`layers` layers of relative attention over the last `window` frames, with a cache of keys and values for `step`."""

    def __init__(
        self, inputs: int, width: int = 256, layers: int = 4, heads: int = 4, dropout: float = 0.1, window: int = 256
    ) -> None:
        super().__init__(inputs, width)
        if width % heads:
            raise ValueError(f"width {width} of the Transformer is not a multiple of its {heads} heads")
        self.into = nn.Linear(inputs, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(RelativeLayer(width, heads, window, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.into(x))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def start(self, batch: int) -> list[Cache]:
        caches = []
        for layer in self.layers:
            heads, window, size = layer.attention.distances.shape
            caches.append(Cache(self.zeros(batch, window, heads, size), self.zeros(batch, window, heads, size), 0))
        return caches

    def step(self, x: Tensor, state: list[Cache]) -> tuple[Tensor, list[Cache]]:
        """Inputs (batch, inputs) of one frame -> hidden state (batch, width), next state."""
        x, after = self.into(x), []
        for layer, cache in zip(self.layers, state, strict=True):
            x, cache = layer.step(x, cache)
            after.append(cache)
        return self.norm(x), after
