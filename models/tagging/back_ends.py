"""Back ends of Won, Chun and Serra 2019 (section 3): feature maps (batch, channels, frames) -> vectors (batch, width)."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm_relu(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Conv1d with "same" padding, batch norm, ReLU."""
    return nn.Sequential(nn.Conv1d(channels, width, kernel, stride, padding=kernel // 2), nn.BatchNorm1d(width), nn.ReLU())


class SelfAttention(nn.Module):
    """Multi-head attention softmax(Q K^T / sqrt(head_dim)) V (Won, Chun and Serra 2019, equation 1).

    Projections are width -> heads * head_dim -> width. `dropout` is applied to the softmax.
    """

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, heads * head_dim)
        self.key = nn.Linear(width, heads * head_dim)
        self.value = nn.Linear(width, heads * head_dim)
        self.out = nn.Linear(heads * head_dim, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """queries (batch, q, width), tokens (batch, t, width) -> joined heads (batch, q, heads * head_dim)."""
        query = self._split(self.query(queries))
        key, value = self._split(self.key(tokens)), self._split(self.value(tokens))
        # The fused kernels never store the (tokens x tokens) matrix, which makes long inputs affordable.
        joined = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return joined.transpose(1, 2).flatten(2)

    def weights(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attention weights for heat maps: (batch, heads, q, t)."""
        query, key = self._split(self.query(queries)), self._split(self.key(tokens))
        return (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(-1)

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(2, (self.heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Post-norm Transformer encoder layer, as in BERT: self-attention and feed-forward network."""

    def __init__(self, width: int, heads: int, head_dim: int, feed_forward: int, attention_dropout: float, hidden_dropout: float):
        super().__init__()
        self.attention = SelfAttention(width, heads, head_dim, attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.feed_forward = nn.Sequential(nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(hidden_dropout)

    def forward(self, tokens: Tensor, queries: Tensor | None = None) -> Tensor:
        """tokens (batch, t, width) -> the layer's output (batch, q, width) for `queries`, by default every token."""
        queries = tokens if queries is None else queries
        return self.finish(self.attention(queries, tokens), queries)

    def finish(self, context: Tensor, queries: Tensor) -> Tensor:
        """Layers after the attention: context (batch, q, heads * head_dim), queries (batch, q or 1, width)."""
        hidden = self.attention_norm(queries + self.dropout(self.attention.out(context)))
        return self.norm(hidden + self.dropout(self.feed_forward(hidden)))

    def contributions(self, tokens: Tensor, query: Tensor) -> Tensor:
        """Outputs for `query` (batch, 1, width) if all heads attend to a single token, for each token: (batch, t, width).

        A one-hot attention row selects that token's value vector, so one pass over all values covers every token.
        """
        return self.finish(self.attention.value(tokens), query)


def sinusoids(tokens: int, width: int) -> Tensor:
    """Positional encoding (tokens, width): sine in even, cosine in odd columns, pos / 10000^(2*floor(j/2)/width); row 0 is 0."""
    position = torch.arange(tokens, dtype=torch.float64)[:, None]
    column = torch.arange(width)
    angle = position / 10_000 ** (2 * (column // 2).double() / width)
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    table[0] = 0.0  # [CLS] has no position in time
    return table.float()


class Sinusoidal(nn.Module):
    """Fixed positional encoding by `sinusoids`, added to (batch, tokens, width) of any length."""

    table: Tensor

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.register_buffer("table", sinusoids(tokens, width), persistent=False)

    def forward(self, sequence: Tensor) -> Tensor:
        tokens, width = sequence.shape[1:]
        if tokens > self.table.shape[0]:
            self.table = sinusoids(tokens, width).to(self.table)
        return sequence + self.table[:tokens]


class Learned(nn.Module):
    """Learned positional encoding for up to `tokens` tokens, then LayerNorm.

    Raises ValueError for longer sequences.
    """

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.table = nn.Embedding(tokens, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, sequence: Tensor) -> Tensor:
        tokens, known = sequence.shape[1], self.table.num_embeddings
        if tokens > known:
            raise ValueError(f"positions were learned for {known} tokens, got {tokens}: set max_tokens to {tokens}")
        return self.norm(sequence + self.table.weight[:tokens])


class BackEnd(nn.Module):
    """Base class of back ends: (batch, channels, frames) -> (batch, width); `channels` is the first argument."""

    width: int

    def forward(self, maps: Tensor) -> Tensor:
        raise NotImplementedError

    def describe(self) -> dict[str, int | str]:
        """Description of the back end for tables of results."""
        return {}


POSITIONS = {"sinusoidal": Sinusoidal, "learned": Learned}


def fixed_cls(width: int) -> Tensor:
    """[CLS] of the authors' code: the first `width` uniform numbers of NumPy's seed 0."""
    return torch.from_numpy(np.random.RandomState(0).uniform(size=width)).float()


class Att(BackEnd):
    """Self-attention back end: (batch, channels, frames) -> (batch, channels), Transformer layers over [CLS] and frames.

    Section 3.3 and Figure 4 of Won, Chun and Serra 2019. `head_dim` defaults to floor(channels / heads): 64 for the paper's
    8 heads of 512; numbers of heads in Table 3 that do not divide 512 are projected 512 -> heads * head_dim -> 512.
    `feed_forward` defaults to 4 * channels. `cls` "fixed" is the authors' constant vector, "learned"
    trains it from there. `positions` "learned" supports up to `max_tokens`, [CLS] included.
    Layers: `layers.<i>` (batch, tokens, channels; the last one only [CLS]) and `pooler` (batch, channels).

    Raises ValueError for an unknown `cls` or `positions` and for more heads than channels.
    """

    cls: Tensor

    def __init__(
        self,
        channels: int,
        layers: int = 2,
        heads: int = 8,
        head_dim: int | None = None,
        feed_forward: int | None = None,
        attention_dropout: float = 0.4,
        hidden_dropout: float = 0.4,
        cls: Literal["fixed", "learned"] = "fixed",
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        max_tokens: int = 271,
    ):
        super().__init__()
        if positions not in POSITIONS or cls not in ("fixed", "learned"):
            raise ValueError(f"Att: cls {cls!r}, positions {positions!r}: expected fixed or learned, sinusoidal or learned")
        if not (layers >= 1 and 1 <= heads <= channels):
            raise ValueError(f"Att: expected layers >= 1 and 1 to {channels} heads, got {layers} and {heads}")
        self.width, self.heads, self.head_dim = channels, heads, head_dim or channels // heads
        if cls == "fixed":
            self.register_buffer("cls", fixed_cls(channels))
        else:
            self.cls = nn.Parameter(fixed_cls(channels))
        self.positions = POSITIONS[positions](channels, max_tokens)
        feed_forward = feed_forward or 4 * channels
        self.layers = nn.ModuleList(
            TransformerLayer(channels, heads, self.head_dim, feed_forward, attention_dropout, hidden_dropout)
            for _ in range(layers)
        )
        self.pooler = nn.Sequential(nn.Linear(channels, channels), nn.Tanh())

    def describe(self) -> dict[str, int | str]:
        inner = self.heads * self.head_dim
        return {"layers": len(self.layers), "heads": f"{self.heads} x {self.head_dim} ({self.width} -> {inner})"}

    def forward(self, maps: Tensor) -> Tensor:
        tokens = self.inputs(maps)[-1]
        # Only [CLS] is used from the last layer, so only [CLS] is computed there.
        return self.pooler(self.layers[-1](tokens, queries=tokens[:, :1]).squeeze(1))

    def inputs(self, maps: Tensor) -> list[Tensor]:
        """Inputs of all layers, each (batch, 1 + frames, channels), [CLS] first."""
        frames = maps.transpose(1, 2)
        sequence = [self.positions(torch.cat([self.cls.to(frames).expand(frames.shape[0], 1, -1), frames], 1))]
        for layer in self.layers[:-1]:
            sequence.append(layer(sequence[-1]))
        return sequence

    def explain(self, maps: Tensor, layer: int = -1) -> tuple[Tensor, Tensor]:
        """Attention of each head of a layer (batch, heads, tokens), and contribution vectors (batch, tokens, channels).

        Attention sums to 1 over tokens: that of [CLS] in the last layer, the mean over queries in earlier ones. The
        contribution of a token is the output of the back end if all heads of the last layer attend to this token only.
        """
        inputs, last = self.inputs(maps), self.layers[-1]
        cls, tokens = inputs[-1][:, :1], inputs[layer]
        queries = cls if self.layers[layer] is last else tokens
        attention = self.layers[layer].attention.weights(queries, tokens).mean(2)
        return attention, self.pooler(last.contributions(inputs[-1], cls))


class CNN_L(BackEnd):
    """Back end of the sample-level network: mean over frames, (batch, channels, frames) -> (batch, channels).

    Section 3.2 of Won, Chun and Serra 2019: all ten layers of Lee et al. 2017 are in the Raw front end, which leaves one
    frame of a nominal chunk.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.width = channels

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(2)


class CNN_P(BackEnd):
    """Convolutional back end of Pons et al. 2018: (batch, channels, frames) -> (batch, dense).

    Section 3.2 and Figure 2 of Won, Chun and Serra 2019: three convolutions with kernels of 7, the second and third with
    residuals and a maximum over 2 frames between; then maximum and mean over time, and one linear layer.
    """

    def __init__(self, channels: int, width: int = 512, dense: int = 500):
        super().__init__()
        self.width = dense
        self.first = conv_norm_relu(channels, width, 7)
        self.second = conv_norm_relu(width, width, 7)
        self.halve = nn.MaxPool1d(2)
        self.third = conv_norm_relu(width, width, 7)
        self.dense = nn.Sequential(nn.Linear(2 * width, dense), nn.BatchNorm1d(dense), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.first(maps)
        maps = self.halve(maps + self.second(maps))
        maps = maps + self.third(maps)
        return self.dense(torch.cat([maps.amax(2), maps.mean(2)], 1))
