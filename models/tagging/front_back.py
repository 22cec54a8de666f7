"""Tagging networks of Won, Chun and Serra 2019: front end and back end, audio (batch, samples) -> logits (batch, n_tags)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.features import LogMel, as_float
from models.tagging.back_ends import Att, BackEnd, conv_norm_relu


class FrontEnd(nn.Module):
    """Base class of front ends: audio (batch, samples) -> feature maps (batch, width, frames).

    Attributes, in samples unless noted: `sample_rate` (Hz), `samples` of one chunk including context, `hop` of the grid of
    chunk starts, `lead` (context before a chunk's start), `frame_hop` between output frames, `frame_centre` of the first
    frame (from the chunk's start), `width` (channels) of the output.
    """

    sample_rate: int
    samples: int
    hop: int = 1
    lead: int = 0
    frame_hop: int
    frame_centre: int = 0
    width: int

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        return self.maps(self.inputs(audio, level))

    def inputs(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """Input of the first filters: log-mel (batch, mels, frames) or samples (batch, samples)."""
        raise NotImplementedError

    def maps(self, inputs: Tensor) -> Tensor:
        """Feature maps (batch, width, frames) of `inputs`, which may be concatenated along time."""
        raise NotImplementedError

    def clip_level(self, audio: Tensor) -> Tensor | None:
        """Level (batch,) in dB of whole clips (batch, samples) for their chunks; None if not needed."""
        return None


# Timbre: (height as a share of the bands, (length in frames, multiple of `channels`) ...)
VERTICAL = ((0.9, ((7, 1), (3, 2), (1, 4))), (0.4, ((7, 1), (3, 2), (1, 4))))
# Rhythm: (length in frames, multiple of `channels`), up to 165 frames = 2.64 s
HORIZONTAL = ((165, 1), (129, 2), (65, 4), (33, 8))


class Vertical(nn.Module):
    """Vertical filters with a maximum over frequency: (batch, 1, bands, frames) -> (batch, channels, frames).

    Convolution of gain * mel + offset, batch norm, ReLU, and the maximum over the rows of the convolution (11 or 59 of 96
    bands), which makes them pitch-invariant.
    """

    def __init__(self, channels: int, height: int, length: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (height, length), (1, stride), padding=(0, length // 2))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, mel: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        # Both branches take the maximum before the ReLU: equal, with one pass less over the rows.
        if self.training:
            return self.norm(self.filtered(mel, gain, offset)).max(2).values.relu()
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        bias = (self.conv.bias - self.norm.running_mean) * scale + self.norm.bias
        return self.convolve(gain * mel + offset, scale[:, None, None, None] * self.conv.weight, bias).amax(2).relu()

    def filtered(self, mel: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        """Convolution of gain * mel + offset, with both folded into the filters.

        Otherwise the gradient of these two numbers would need a transposed convolution to the spectrogram, a third of the
        training step. At the edges the zero padding has no offset, hence a separate convolution (of one row, equal for all).
        """
        ones = torch.ones_like(mel[:1, :, : self.conv.kernel_size[0]])
        rows = self.convolve(mel, gain * self.conv.weight, self.conv.bias)
        return rows + self.convolve(ones, offset * self.conv.weight, None)

    def convolve(self, mel: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(mel, weight, bias, self.conv.stride, self.conv.padding)


class Spec(FrontEnd):
    """Log-mel with six vertical and four horizontal filter banks (Pons 2018): (batch, samples) -> (batch, width, frames).

    Section 3.1 of Won, Chun and Serra 2019. `channels` (16) scales all ten banks: 29 * channels feature maps in total.
    `width`: channels of a 1x1 convolution, needed by the Att back end; None: no convolution, as for CNN_P. `frames`: nominal
    chunk (256 = 4.1 s); any number is accepted. `mel` replaces the paper's log-mel. `time_stride` > 1 evaluates the
    filters at every second (third ...) frame only, for small machines.
    """

    def __init__(
        self,
        channels: int = 16,
        frames: int = 256,
        width: int | None = 512,
        time_stride: int = 1,
        mel: LogMel | None = None,
    ):
        super().__init__()
        self.mel = LogMel() if mel is None else mel
        self.sample_rate, self.hop, self.lead = self.mel.sample_rate, self.mel.hop, self.mel.lead
        self.samples = self.mel.samples(frames)
        self.frame_hop = self.hop * time_stride
        joined = 29 * channels
        self.width = width or joined
        # Batch norm of the input; gain and offset are separate, for the vertical filters.
        self.norm = nn.BatchNorm2d(1, affine=False)
        self.gain, self.offset = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
        self.vertical = nn.ModuleList(
            Vertical(channels * multiple, int(share * self.mel.n_mels), length, time_stride)
            for share, shapes in VERTICAL
            for length, multiple in shapes
        )
        self.horizontal = nn.ModuleList(
            conv_norm_relu(1, channels * multiple, length, time_stride) for length, multiple in HORIZONTAL
        )
        self.projection = conv_norm_relu(joined, width, 1) if width else nn.Identity()

    def inputs(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """Audio (batch, samples) -> log-mel (batch, mels, frames)."""
        return self.mel(audio, level)

    def maps(self, inputs: Tensor) -> Tensor:
        """Log-mel (batch, mels, frames) -> feature maps (batch, width, frames)."""
        mel = self.norm(inputs[:, None].to(self.gain.dtype))
        energy = self.gain * mel.mean(2) + self.offset  # mean over bands, shared by all horizontal banks
        maps = [branch(mel, self.gain, self.offset) for branch in self.vertical]
        maps += [branch(energy) for branch in self.horizontal]
        return self.projection(torch.cat(maps, 1))

    def clip_level(self, audio: Tensor) -> Tensor | None:
        return None if self.mel.top_db is None else self.mel.peak(audio)


class Raw(FrontEnd):
    """Sample-level convolutions (Lee et al. 2017): audio (batch, samples) -> (batch, width, samples / 3**layers).

    Section 3.1 of Won, Chun and Serra 2019. `growth`: output of each layer in multiples of `channels`; each layer divides
    the time by 3. Five layers give frames of 15.2 ms, 270 in a chunk of 65,610 samples, for the Att back end; the ten layers
    (1,1,2,2,2,2,2,2,4,4) leave one frame for CNN_L. A last convolution of `kernel` frames has `width` channels: 7 before
    Att, the length of the Spec front end's vertical filters; 1 before CNN_L. `channels` is not stated in the paper: Lee et
    al. used 128, the authors' code defaults to 64.
    """

    def __init__(
        self,
        channels: int = 128,
        growth: Sequence[int] = (1, 1, 2, 2, 2),
        kernel: int = 7,
        width: int = 512,
        samples: int = 65_610,
        sample_rate: int = 16_000,
    ):
        super().__init__()
        self.sample_rate, self.samples, self.width = sample_rate, samples, width
        self.frame_hop = 3 ** len(growth)
        self.frame_centre = (self.frame_hop - 3) // 2  # the first layer centres on sample 0, each pooling adds a third
        sizes = [multiple * channels for multiple in growth]
        self.layers = nn.Sequential(conv_norm_relu(1, sizes[0], 3, stride=3))
        for narrow, wide in pairwise(sizes):
            self.layers.append(nn.Sequential(conv_norm_relu(narrow, wide, 3), nn.MaxPool1d(3)))
        self.projection = conv_norm_relu(sizes[-1], width, kernel)

    def inputs(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        return as_float(audio)

    def maps(self, inputs: Tensor) -> Tensor:
        """Samples (batch, samples) -> feature maps (batch, width, frames)."""
        first = self.layers[0][0].weight
        return self.projection(self.layers(inputs[:, None].to(first.dtype)))


class Explanation(NamedTuple):
    """Explanation of an attention network's predictions for a batch of chunks."""

    spectrogram: Tensor | None  # (batch, mels, mel frames) dB; None for networks on samples
    attention: Tensor  # (batch, heads, 1 + frames), [CLS] first, sums to 1 over tokens
    contribution: Tensor  # (batch, frames, tags) probabilities if only that frame is attended to
    seconds: Tensor  # (frames,) centre of each frame, from the chunk's start


class FrontBack(nn.Module):
    """Front end and back end: audio (batch, samples) int16 or float in [-1, 1) -> logits (batch, n_tags).

    Won, Chun and Serra 2019, section 3: FrontBack(50, Spec, Att) is the paper's Spec Att. Both parts are classes or partials
    of them; `back_end` is called with the number of channels of the front end. Layers for embeddings: `front_end` (batch,
    width, frames) and `back_end` (batch, width), the pooled [CLS] of Att; and those of the parts (`back_end.layers.0`).
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
        """Logits; `level`: (batch,) dB from `clip_level` of the whole clips; None: level of each chunk."""
        return self.head(self.dropout(self.back_end(self.front_end(audio, level))))

    def clip_level(self, audio: Tensor) -> Tensor | None:
        """Level (batch,) in dB of whole clips (batch, samples) for their chunks, None if not needed."""
        return self.front_end.clip_level(audio)

    @property
    def explains(self) -> bool:
        """True if the back end has attention for `explain`."""
        return isinstance(self.back_end, Att)

    def explain(self, audio: Tensor, level: Tensor | None = None, layer: int = -1) -> Explanation:
        """Attention heat map of a layer and tag-wise contribution map (section 5.3), in evaluation mode.

        Raises ValueError for a back-end without attention.
        """
        return self.explain_inputs(self.front_end.inputs(audio, level), layer)

    def explain_inputs(self, inputs: Tensor, layer: int = -1) -> Explanation:
        """`explain` for `inputs` of the front end, which may be two concatenated recordings (Figure 7)."""
        if not self.explains:
            raise ValueError(f"{type(self.back_end).__name__} has no attention to explain: use the Att back-end")
        maps = self.front_end.maps(inputs)
        attention, alone = self.back_end.explain(maps, layer)
        contribution = self.head(alone[:, 1:]).sigmoid()
        spectrogram = inputs if inputs.ndim == 3 else None
        return Explanation(spectrogram, attention, contribution, self.seconds(maps.shape[2]))

    def seconds(self, frames: int) -> Tensor:
        """Centres (frames,) of the front end's output frames, s from the chunk's start."""
        return (torch.arange(frames) * self.front_end.frame_hop + self.front_end.frame_centre) / self.sample_rate

    def describe(self) -> dict[str, int | str]:
        """Number of trainable parameters, in total and per part, and the description of the back end."""
        parts = {"front_end": self.front_end, "back_end": self.back_end, "head": self.head}
        counts = {name: sum(p.numel() for p in part.parameters() if p.requires_grad) for name, part in parts.items()}
        return {"parameters": sum(counts.values()), **counts, **self.back_end.describe()}
