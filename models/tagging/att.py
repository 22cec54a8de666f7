"""Att: the self-attention back-end, with its [CLS] token and what it can show of its decision."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.tagging.attention import TransformerLayer
from models.tagging.back_end import BackEnd
from models.tagging.positions import Learned, Sinusoidal

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
