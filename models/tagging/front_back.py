"""The paper's networks: any front-end with any back-end."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.tagging.att import Att
from models.tagging.back_end import BackEnd
from models.tagging.front_end import FrontEnd


class Explanation(NamedTuple):
    """What an attention network shows of its decision about a batch of chunks."""

    spectrogram: Tensor | None  # (batch, mels, mel frames) dB; None where the network reads samples
    attention: Tensor  # (batch, heads, 1 + frames), [CLS] first, sums to 1 over tokens
    contribution: Tensor  # (batch, frames, tags) probability if that frame alone were attended to
    seconds: Tensor  # (frames,) centre of each frame, from the chunk's start


class FrontBack(nn.Module):
    """Audio (batch, samples) int16 or float in [-1, 1) -> logits (batch, n_tags), by any front-end and any back-end.

    Won, Chun and Serra 2019, section 3: FrontBack(50, Spec, Att) is the paper's Spec Att. Both parts come as classes
    or partials of them; `back_end` is called with the front-end's channel count, the logits' layer with the back-end's.
    Layers that an embedding can be read from: `front_end` (batch, width, frames) and `back_end` (batch, width), the
    latter being the pooled [CLS] for Att; see the parts for theirs (`back_end.layers.0`).
    """

    def __init__(
        self,
        n_tags: int,
        front_end: Callable[[], FrontEnd],
        back_end: Callable[[int], BackEnd],
        dropout: float = 0.5,
    ):
        super().__init__()
        self.front_end = front_end()
        self.back_end = back_end(self.front_end.width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.back_end.width, n_tags)
        self.sample_rate, self.samples = self.front_end.sample_rate, self.front_end.samples
        self.hop, self.lead = self.front_end.hop, self.front_end.lead

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """`level` (batch,) dB as `clip_level` gave it for the whole clips; None: each chunk stands for itself."""
        return self.head(self.dropout(self.back_end(self.front_end(audio, level))))

    def clip_level(self, audio: Tensor) -> Tensor | None:
        """Whole clips (batch, samples) -> (batch,) dB for their chunks, None if the front-end needs none."""
        return self.front_end.clip_level(audio)

    @property
    def explains(self) -> bool:
        """Whether `explain` has something to say: only attention does."""
        return isinstance(self.back_end, Att)

    def explain(self, audio: Tensor, level: Tensor | None = None, layer: int = -1) -> Explanation:
        """Section 5.3: attention heat map of a layer and tag-wise contribution map, meant for eval mode.

        Raises ValueError for a back-end without attention.
        """
        return self.explain_inputs(self.front_end.inputs(audio, level), layer)

    def explain_inputs(self, inputs: Tensor, layer: int = -1) -> Explanation:
        """`explain` of the front-end's `inputs`, which may be two recordings joined along time (Figure 7)."""
        if not self.explains:
            raise ValueError(f"{type(self.back_end).__name__} has no attention to explain: use the Att back-end")
        maps = self.front_end.maps(inputs)
        attention, alone = self.back_end.explain(maps, layer)
        contribution = self.head(alone[:, 1:]).sigmoid()
        spectrogram = inputs if inputs.ndim == 3 else None
        return Explanation(spectrogram, attention, contribution, self.seconds(maps.shape[2]))

    def seconds(self, frames: int) -> Tensor:
        """Centre of each output frame of the front-end in s from the chunk's start: (frames,)."""
        return (torch.arange(frames) * self.front_end.frame_hop + self.front_end.frame_centre) / self.sample_rate

    def describe(self) -> dict[str, int | str]:
        """Trainable parameters, in all and by part, and the back-end's own remarks (Att: how its heads are cut)."""
        parts = {"front_end": self.front_end, "back_end": self.back_end, "head": self.head}
        counts = {name: sum(p.numel() for p in part.parameters() if p.requires_grad) for name, part in parts.items()}
        return {"parameters": sum(counts.values()), **counts, **self.back_end.describe()}
