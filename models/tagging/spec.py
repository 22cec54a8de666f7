"""Spec: the front-end of vertical (timbre) and horizontal (rhythm) filters on a log-mel spectrogram."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.features import LogMel
from models.tagging.front_end import FrontEnd, conv_norm_relu

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
