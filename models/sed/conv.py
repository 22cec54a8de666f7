"""The convolutional part of a CRNN: 3x3 filters over time and frequency, pooled until no frequency is left."""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.sed.dropout import Dropout
from models.sed.inside import Inside, normed, silenced

CHANNELS = (16, 32, 64, 128, 128, 128, 128)
POOLS = ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2))


class Gated(nn.Module):
    """A 1x1 convolution beside the input, one of the two through a sigmoid: GLU gates the convolution, CG the input."""

    def __init__(self, channels: int, gate_input: bool) -> None:
        super().__init__()
        self.linear, self.gate_input = nn.Conv2d(channels, channels, 1), gate_input

    def forward(self, x: Tensor) -> Tensor:
        beside = self.linear(x)
        return x * beside.sigmoid() if self.gate_input else beside * x.sigmoid()


ACTIVATIONS = {
    "relu": lambda channels: nn.ReLU(),
    "glu": lambda channels: Gated(channels, False),
    "cg": lambda channels: Gated(channels, True),
}


class Stack(nn.Module):
    """(batch, channels, frames, bands) -> (batch, width, frames // pool[0], bands // pool[1]).

    Convolution 3x3 -> batch norm -> activation -> dropout -> average pooling, as Figure 1 of Boes and Van hamme 2021.
    """

    def __init__(
        self, channels: int, width: int, pool: tuple[int, int], activation: str, dropout: float, eps: float, momentum: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width, eps, momentum)
        self.activation = ACTIVATIONS[activation](width)
        self.dropout = Dropout(dropout)
        self.pool = nn.AvgPool2d(pool)

    def forward(self, x: Tensor, inside: Inside | None) -> Tensor:
        x = normed(self.norm, self.conv(silenced(x, inside)), inside)
        return self.pool(self.dropout(self.activation(x)))


class Convolutions(nn.Module):
    """Log-mel (batch, frames, n_mels) -> (batch, frames // factor, channels[-1]) by stacks of 3x3 filters.

    channels: filters of each stack; pools: (frames, bands) that each averages; the bands must come down to one.
    activation: "relu", "glu" (gated linear unit), "cg" (context gating). Padded frames are set to 0 before every
    convolution, as if the clip ended there, and do not count in the batch norms' statistics.
    channels_last: memory format in which the filters run; on a CPU a third faster than the other.

    Raises ValueError for stacks that do not fit each other or the bands.
    """

    def __init__(
        self,
        n_mels: int = 128,
        channels: Sequence[int] = CHANNELS,
        pools: Sequence[Sequence[int]] = POOLS,
        activation: Literal["relu", "glu", "cg"] = "relu",
        dropout: float = 0.33,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        if len(channels) != len(pools) or activation not in ACTIVATIONS:
            raise ValueError(
                f"{len(channels)} channels, {len(pools)} pools, activation {activation!r}: expected as many of one as of the "
                f"other, and one of {', '.join(ACTIVATIONS)}"
            )
        bands = n_mels
        for _, pool in pools:
            bands //= pool
        if bands != 1:
            raise ValueError(f"pools leave {bands} of {n_mels} bands, expected one: {[list(pool) for pool in pools]}")
        shapes = zip((1, *channels[:-1]), channels, (tuple(pool) for pool in pools), strict=True)
        self.stacks = nn.ModuleList(Stack(*shape, activation, dropout, bn_eps, bn_momentum) for shape in shapes)
        self.width, self.factor = channels[-1], prod(pool for pool, _ in pools)
        if channels_last:
            # All maps follow the first filters, whose one input channel has no order.
            self.stacks.to(memory_format=torch.channels_last)

    def forward(self, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        """`valid` (batch,), on the CPU: frames of each clip, None if all are valid. At least one output frame."""
        missing = self.factor - mel.shape[1]
        if missing > 0:
            valid = torch.full((len(mel),), mel.shape[1]) if valid is None else valid
            mel = F.pad(mel, (0, 0, 0, missing))
        x = mel[:, None]
        for stack in self.stacks:
            inside = None
            if valid is not None:
                inside = Inside.of(valid, x.shape[2], x.device)
                valid = pooled(valid, stack.pool.kernel_size[0])
            x = stack(x, inside)
        return x.squeeze(3).transpose(1, 2)


def pooled(frames: Tensor | int, factor: int) -> Tensor | int:
    """Frames left of so many when each `factor` become one: only whole ones, but at least one."""
    if isinstance(frames, int):
        return max(1, frames // factor)
    return (frames // factor).clamp(min=1)
