"""Att: the self-attention back-end, with its [CLS] token and what it can show of its decision."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm_relu(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Conv1d that keeps the length (divided by the stride), batch norm, ReLU: the block all parts are built from."""
    return nn.Sequential(nn.Conv1d(channels, width, kernel, stride, padding=kernel // 2), nn.BatchNorm1d(width), nn.ReLU())


# Multi-head self-attention and the Transformer encoder layer around it (post-norm, as in BERT).


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(head_dim)) V for each head, equation 1 of Won, Chun and Serra 2019.

    Projections run width -> heads * head_dim -> width. `dropout` acts on the softmax.
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
        # The fused kernels never hold the (tokens x tokens) table, which is what makes long inputs affordable.
        joined = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return joined.transpose(1, 2).flatten(2)

    def weights(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """The softmax that `forward` keeps to itself, for heat maps: (batch, heads, q, t)."""
        query, key = self._split(self.query(queries)), self._split(self.key(tokens))
        return (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(-1)

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(2, (self.heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward network, each with dropout, residual and LayerNorm after it."""

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
        """All that follows the attention: context (batch, q, heads * head_dim), queries (batch, q or 1, width)."""
        hidden = self.attention_norm(queries + self.dropout(self.attention.out(context)))
        return self.norm(hidden + self.dropout(self.feed_forward(hidden)))

    def contributions(self, tokens: Tensor, query: Tensor) -> Tensor:
        """What `query` (batch, 1, width) leads to if all heads attend to one token alone, for each: (batch, t, width).

        A one-hot attention row picks that token's value vector, so one pass over all values covers every token.
        """
        return self.finish(self.attention.value(tokens), query)


# Where in the sequence a token stands: sinusoidal (the paper's training code) or learned (its figures' code).


def sinusoids(tokens: int, width: int) -> Tensor:
    """(tokens, width): sine in even columns, cosine in odd ones, angle pos / 10000^(2*floor(j/2)/width); row 0 is 0."""
    position = torch.arange(tokens, dtype=torch.float64)[:, None]
    column = torch.arange(width)
    angle = position / 10_000 ** (2 * (column // 2).double() / width)
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    table[0] = 0.0  # [CLS] has no place in time
    return table.float()


class Sinusoidal(nn.Module):
    """Adds a fixed table of `sinusoids` to (batch, tokens, width), of any length."""

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
    """Adds a trained row per token, then LayerNorm; no sequence may be longer than `tokens`.

    Raises ValueError for a longer one.
    """

    def __init__(self, width: int, tokens: int):
        super().__init__()
        self.table = nn.Embedding(tokens, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, sequence: Tensor) -> Tensor:
        tokens, known = sequence.shape[1], self.table.num_embeddings
        if tokens > known:
            raise ValueError(f"{tokens} tokens, but positions were learned for {known}: set max_tokens to {tokens}")
        return self.norm(sequence + self.table.weight[:tokens])


# What every back-end promises to the network that joins it with a front-end.


class BackEnd(nn.Module):
    """Feature maps (batch, channels, frames) -> one vector per chunk (batch, width); `channels` comes first in init."""

    width: int

    def forward(self, maps: Tensor) -> Tensor:
        raise NotImplementedError

    def describe(self) -> dict[str, int | str]:
        """What a table of results has to say about this back-end beside its name."""
        return {}


POSITIONS = {"sinusoidal": Sinusoidal, "learned": Learned}


def fixed_cls(width: int) -> Tensor:
    """The authors' [CLS]: the first `width` uniform numbers of NumPy's seed 0, from a generator of its own."""
    return torch.from_numpy(np.random.RandomState(0).uniform(size=width)).float()


class Att(BackEnd):
    """(batch, channels, frames) -> (batch, channels): Transformer encoder layers over [CLS] and the frames.

    Section 3.3 and Figure 4 of Won, Chun and Serra 2019. Each head is `head_dim` wide, by default
    floor(channels / heads): 64 for the paper's 8 heads of 512; the head counts of Table 3 that do not divide 512 are
    projected 512 -> heads * head_dim -> 512. `feed_forward` defaults to 4 * channels. `cls` "fixed" is the authors'
    constant vector, "learned" trains it from there. `positions` "learned" holds at most `max_tokens`, [CLS] included.
    Layers: `layers.<i>` (batch, tokens, channels; the last one [CLS] alone) and `pooler` (batch, channels).

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
        # Nothing but [CLS] is read from the last layer, so nothing else is computed there: exact, and much cheaper.
        return self.pooler(self.layers[-1](tokens, queries=tokens[:, :1]).squeeze(1))

    def inputs(self, maps: Tensor) -> list[Tensor]:
        """What goes into each layer: (batch, 1 + frames, channels), [CLS] first."""
        frames = maps.transpose(1, 2)
        sequence = [self.positions(torch.cat([self.cls.to(frames).expand(frames.shape[0], 1, -1), frames], 1))]
        for layer in self.layers[:-1]:
            sequence.append(layer(sequence[-1]))
        return sequence

    def explain(self, maps: Tensor, layer: int = -1) -> tuple[Tensor, Tensor]:
        """Attention of each head of a layer (batch, heads, tokens) and the vector (batch, tokens, channels) per token.

        Attention sums to 1 over tokens: in the last layer as [CLS] pays it, the only query that counts there; in an
        earlier one the mean over queries. The vectors are what the back-end would put out if, in its last layer, all
        heads attended to one token alone.
        """
        inputs, last = self.inputs(maps), self.layers[-1]
        cls, tokens = inputs[-1][:, :1], inputs[layer]
        queries = cls if self.layers[layer] is last else tokens
        attention = self.layers[layer].attention.weights(queries, tokens).mean(2)
        return attention, self.pooler(last.contributions(inputs[-1], cls))


# CNN_L: the back-end of the sample-level network, whose ten layers all lie in the Raw front-end.


class CNN_L(BackEnd):
    """(batch, channels, frames) -> (batch, channels); a nominal chunk has one frame left, longer ones are averaged.

    Section 3.2 of Won, Chun and Serra 2019: there is no clear boundary in the network of Lee et al. 2017.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.width = channels

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(2)


# CNN_P: the residual convolutional back-end after Pons et al.


class CNN_P(BackEnd):
    """(batch, channels, frames) -> (batch, dense) by three convolutions over time and global pooling.

    Section 3.2 and Figure 2 of Won, Chun and Serra 2019: kernels of 7, the second and third with a residual around
    them, time halved between; then maximum and mean over all time that is left, and one dense layer.
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
