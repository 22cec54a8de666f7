"""Causal convolutional cores: TCN (Bai et al. 2018) and WaveNet-style gated stack (van den Oord et al. 2016)."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.generation.cores.core import Core


class FrameRing(NamedTuple):
    """Ring buffer of the last input frames (batch, frames, channels), and the number of frames written."""

    frames: Tensor
    written: int


class CausalConv(nn.Module):
    """Causal dilated convolution, zero-padded: (batch, frames, inputs) -> (batch, frames, outputs)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, normed: bool = False) -> None:
        super().__init__()
        conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu" if normed else "linear")
        self.conv = weight_norm(conv) if normed else conv
        self.inputs, self.reach, self.dilation = inputs, (kernel - 1) * dilation, dilation

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x.transpose(1, 2), (self.reach, 0))).transpose(1, 2)

    def start(self, batch: int, like: Tensor) -> FrameRing:
        """Ring buffer of zeros."""
        return FrameRing(like.new_zeros(batch, self.reach + 1, self.inputs), 0)

    def step(self, x: Tensor, ring: FrameRing) -> tuple[Tensor, FrameRing]:
        """One frame (batch, inputs) -> (batch, outputs)."""
        size = self.reach + 1
        ring.frames[:, ring.written % size] = x
        taps = [(ring.written - back) % size for back in range(self.reach, -1, -self.dilation)]
        weight = self.conv.weight.transpose(1, 2).flatten(1)
        return F.linear(ring.frames[:, taps].flatten(1), weight, self.conv.bias), FrameRing(ring.frames, ring.written + 1)


class TCNBlock(nn.Module):
    """Residual block of two weight-normalised convolutions with ReLU and dropout (Bai et al. 2018, figure 1 b).

    Returns its output twice: as input of the next block and as skip output.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(CausalConv(size, channels, kernel, dilation, normed=True) for size in (inputs, channels))
        self.around = nn.Linear(inputs, channels) if inputs != channels else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = x
        for conv in self.convs:
            inner = self.dropout(conv(inner).relu())
        x = (inner + self.around(x)).relu()
        return x, x

    def step(self, x: Tensor, rings: list[FrameRing]) -> tuple[Tensor, Tensor, list[FrameRing]]:
        """As `forward`, for one frame (batch, channels)."""
        inner, after = x, []
        for conv, ring in zip(self.convs, rings, strict=True):
            inner, ring = conv.step(inner, ring)
            inner = inner.relu()
            after.append(ring)
        x = (inner + self.around(x)).relu()
        return x, x, after


class GatedConv(nn.Module):
    """Gated convolution with residual and skip connection (van den Oord et al. 2016, figure 4).

    Returns the input of the next block and the skip output.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList([CausalConv(inputs, 2 * channels, kernel, dilation)])
        self.mix = nn.Linear(channels, 2 * channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        following, skip = self.mix(self.dropout(gate(self.convs[0](x)))).chunk(2, -1)
        return x + following, skip

    def step(self, x: Tensor, rings: list[FrameRing]) -> tuple[Tensor, Tensor, list[FrameRing]]:
        """As `forward`, for one frame (batch, channels)."""
        inner, ring = self.convs[0].step(x, rings[0])
        following, skip = self.mix(gate(inner)).chunk(2, -1)
        return x + following, skip, [ring]


class TCNCore(Core):
    """`layers` blocks of doubling dilation, which restarts at 1 after `cycle` blocks (0: never).

    gated: WaveNet stack, whose output is the ReLU of the summed skip connections; otherwise the network of Bai et al. 2018,
    with 150 channels, 2 layers, kernel 3, dropout 0.5 for JSB, and 4 layers of kernel 6 for Nottingham.
    """

    def __init__(
        self,
        inputs: int,
        channels: int = 150,
        layers: int = 2,
        kernel: int = 3,
        dropout: float = 0.5,
        gated: bool = False,
        cycle: int = 0,
    ) -> None:
        super().__init__(inputs, channels)
        self.into = nn.Linear(inputs, channels) if gated else None
        dilations = [2 ** (layer % cycle if cycle else layer) for layer in range(layers)]
        sizes = [channels if gated or layer else inputs for layer in range(layers)]
        self.blocks = nn.ModuleList(
            (GatedConv if gated else TCNBlock)(size, channels, kernel, dilation, dropout)
            for size, dilation in zip(sizes, dilations, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        x = x if self.into is None else self.into(x)
        for block in self.blocks:
            x, skip = block(x)
            skips.append(skip)
        return self._out(skips)

    def start(self, batch: int) -> list[list[FrameRing]]:
        like = self.zeros(1)
        return [[conv.start(batch, like) for conv in block.convs] for block in self.blocks]

    def step(self, x: Tensor, state: list[list[FrameRing]]) -> tuple[Tensor, list[list[FrameRing]]]:
        """Inputs (batch, inputs) of one frame -> hidden state (batch, width), next state."""
        skips, after = [], []
        x = x if self.into is None else self.into(x)
        for block, rings in zip(self.blocks, state, strict=True):
            x, skip, rings = block.step(x, rings)
            skips.append(skip)
            after.append(rings)
        return self._out(skips), after

    def _out(self, skips: list[Tensor]) -> Tensor:
        return skips[-1] if self.into is None else sum(skips[1:], skips[0]).relu()


def gate(x: Tensor) -> Tensor:
    """Gated unit: tanh of the first half of the channels times the sigmoid of the second."""
    curve, opening = x.chunk(2, -1)
    return curve.tanh() * opening.sigmoid()
