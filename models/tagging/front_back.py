"""The paper's networks: any front-end with any back-end."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.features import LogMel, as_float
from models.tagging.back_ends import Att, BackEnd, conv_norm_relu

# Spec: the front-end of vertical (timbre) and horizontal (rhythm) filters on a log-mel spectrogram.

# What every front-end promises to the network that joins it with a back-end.


class FrontEnd(nn.Module):
    """Audio (batch, samples) -> feature maps (batch, width, frames), the sequence that a back-end reads.

    Attributes, all in samples but the first and the last: `sample_rate` (Hz), `samples` of one chunk, context included,
    `hop` of the grid on which chunks start, `lead` of context before a chunk's start, `frame_hop` between two output
    frames, `frame_centre` of the first one (from the chunk's start), `width` (channels) of the output.
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
        """What the first filter reads: log-mel (batch, mels, frames) or samples (batch, samples)."""
        raise NotImplementedError

    def maps(self, inputs: Tensor) -> Tensor:
        """Feature maps (batch, width, frames) of `inputs`, which may be cut and joined along time."""
        raise NotImplementedError

    def clip_level(self, audio: Tensor) -> Tensor | None:
        """Whole clips (batch, samples) -> the (batch,) dB that chunks need as `level`; None where they need none."""
        return None


# (height as a share of the bands, (length in frames, multiple of `channels`) ...): timbre in one glance of time.
VERTICAL = ((0.9, ((7, 1), (3, 2), (1, 4))), (0.4, ((7, 1), (3, 2), (1, 4))))
# (length in frames, multiple of `channels`): energy patterns of up to 165 frames = 2.64 s.
HORIZONTAL = ((165, 1), (129, 2), (65, 4), (33, 8))


class Vertical(nn.Module):
    """(batch, 1, bands, frames) -> (batch, channels, frames): a tall filter, then the best place along frequency.

    Convolution of gain * mel + offset, batch norm, ReLU, and the maximum over all rows that the convolution leaves
    (11 or 59 of 96 bands), which makes it blind to pitch.
    """

    def __init__(self, channels: int, height: int, length: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (height, length), (1, stride), padding=(0, length // 2))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, mel: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        # Both forms take the maximum before the ReLU: equal, and one pass over the rows less.
        if self.training:
            return self.norm(self.filtered(mel, gain, offset)).max(2).values.relu()
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        bias = (self.conv.bias - self.norm.running_mean) * scale + self.norm.bias
        return self.convolve(gain * mel + offset, scale[:, None, None, None] * self.conv.weight, bias).amax(2).relu()

    def filtered(self, mel: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        """The convolution of gain * mel + offset, with both moved from the spectrogram into the filters.

        Else autograd would carry the gradient of these two numbers through a full transposed convolution to the
        spectrogram, a third of the training step. The offset reaches less of a filter at the edges, where it overlaps
        the zero padding, hence its own convolution (of one row: it is the same for all).
        """
        ones = torch.ones_like(mel[:1, :, : self.conv.kernel_size[0]])
        rows = self.convolve(mel, gain * self.conv.weight, self.conv.bias)
        return rows + self.convolve(ones, offset * self.conv.weight, None)

    def convolve(self, mel: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(mel, weight, bias, self.conv.stride, self.conv.padding)


class Spec(FrontEnd):
    """Audio (batch, samples) -> (batch, width, frames) by six vertical and four horizontal filter banks (Pons 2018).

    Section 3.1 of Won, Chun and Serra 2019. `channels` (16) scales all ten: 29 * channels maps are joined. `width`
    adds the 1x1 convolution to that many channels that the Att back-end needs; None leaves the maps for CNN_P.
    `frames` is the nominal chunk (256 = 4.1 s); any number of frames is accepted. `mel` replaces the paper's log-mel.
    `time_stride` > 1 evaluates the same filters at every second (third ...) frame only, for small machines.
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
        # The input's batch norm, its gain and offset kept apart for the vertical filters' sake.
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
        return self.mel(audio, level)

    def maps(self, inputs: Tensor) -> Tensor:
        mel = self.norm(inputs[:, None].to(self.gain.dtype))
        energy = self.gain * mel.mean(2) + self.offset  # one mean over bands for all four horizontal banks
        maps = [branch(mel, self.gain, self.offset) for branch in self.vertical]
        maps += [branch(energy) for branch in self.horizontal]
        return self.projection(torch.cat(maps, 1))

    def clip_level(self, audio: Tensor) -> Tensor | None:
        return None if self.mel.top_db is None else self.mel.peak(audio)


# Raw: the front-end of sample-level convolutions on the waveform.


class Raw(FrontEnd):
    """Audio (batch, samples) -> (batch, width, samples / 3**layers) by filters of three samples (Lee et al. 2017).

    Section 3.1 of Won, Chun and Serra 2019. One layer per entry of `growth`, the multiple of `channels` it puts out;
    each divides the time by 3. Five layers give frames of 15.2 ms, 270 in a chunk of 65,610 samples, for the Att
    back-end; the ten layers (1,1,2,2,2,2,2,2,4,4) leave one frame for CNN_L. A last convolution of `kernel` frames
    leads to `width` channels: 7 before Att, as far as the Spec front-end's vertical filters see; 1 before CNN_L.
    The paper does not state `channels`: Lee et al. used 128, the authors' code defaults to 64.
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
        first = self.layers[0][0].weight
        return self.projection(self.layers(inputs[:, None].to(first.dtype)))


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
