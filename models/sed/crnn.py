"""CRNN of Boes and Van hamme 2021: log-mel and embeddings -> frame and clip probabilities of sound events."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.blocks.precision import full_precision
from models.sed.front import Fusion, Level, MelFrontEnd, joined
from models.sed.pooling import POOLINGS, Inside, normed, silenced

STEPS = 2**16


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU four values share one random integer of 64 bits, with p rounded to a multiple of 2**-16.

    A training step of `DetectionCRNN` with nn.Dropout takes 1.26 times as long (`python -m benchmarks sed_step`).
    """

    def forward(self, x: Tensor) -> Tensor:
        threshold = round(self.p * STEPS)
        if not self.training or x.device.type != "cpu" or threshold in (0, STEPS):
            return super().forward(x)
        # A product with floats is ten times faster than torch.where or a product with booleans.
        return x * kept(x, threshold).view(torch.int8).to(x.dtype).mul_(STEPS / (STEPS - threshold))


def kept(x: Tensor, threshold: int) -> Tensor:
    """Dropout mask with shape and memory format of x (on the CPU), False with probability threshold / 2**16."""
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    strides = torch.empty_like(x, device="meta").stride()  # those of x, or dense ones if x has gaps
    return draws[: x.numel()].as_strided(x.shape, strides) >= threshold - STEPS // 2


CHANNELS = (16, 32, 64, 128, 128, 128, 128)
POOLS = ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2))


class ContextGate(nn.Module):
    """Gate by a 1x1 convolution: GLU is conv(x) * sigmoid(x), context gating (gate_input) is x * sigmoid(conv(x))."""

    def __init__(self, channels: int, gate_input: bool) -> None:
        super().__init__()
        self.linear, self.gate_input = nn.Conv2d(channels, channels, 1), gate_input

    def forward(self, x: Tensor) -> Tensor:
        projected = self.linear(x)
        return x * projected.sigmoid() if self.gate_input else projected * x.sigmoid()


ACTIVATIONS = {
    "relu": lambda channels: nn.ReLU(),
    "glu": lambda channels: ContextGate(channels, False),
    "cg": lambda channels: ContextGate(channels, True),
}


class Stack(nn.Module):
    """Convolution 3x3, batch norm, activation, dropout, average pooling (Boes and Van hamme 2021, Figure 1).

    (batch, channels, frames, bands) -> (batch, width, frames // pool[0], bands // pool[1]).
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

    channels: filters of each stack; pools: (frames, bands) of the average pooling, which must reduce the bands to one.
    activation: "relu", "glu" (gated linear unit), "cg" (context gating). Padded frames are set to 0 before every
    convolution and excluded from the batch norms' statistics.
    channels_last: memory format of the convolutions; on a CPU a third faster than the default format.

    Raises ValueError for stacks that do not match each other or the bands.
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
                f"{len(channels)} channels, {len(pools)} pools, activation {activation!r}: expected equally many channels and "
                f"pools, and one of {', '.join(ACTIVATIONS)}"
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
            # All feature maps follow the format of the first filters, whose single input channel has none.
            self.stacks.to(memory_format=torch.channels_last)

    def forward(self, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        """Feature maps of log-mel with valid frames `valid` (batch,), on the CPU, None if all; at least one output frame."""
        missing = self.factor - mel.shape[1]
        if missing > 0:
            valid = torch.full((len(mel),), mel.shape[1]) if valid is None else valid
            mel = F.pad(mel, (0, 0, 0, missing))
        x = mel[:, None]
        for stack in self.stacks:
            inside = None
            if valid is not None:
                inside = Inside.from_lengths(valid, x.shape[2], x.device)
                valid = pooled(valid, stack.pool.kernel_size[0])
            x = stack(x, inside)
        return x.squeeze(3).transpose(1, 2)


def pooled(frames: Tensor | int, factor: int) -> Tensor | int:
    """Number of frames after pooling by `factor`: whole ones, at least one."""
    if isinstance(frames, int):
        return max(1, frames // factor)
    return (frames // factor).clamp(min=1)


class BiGRU(nn.Module):
    """Bidirectional GRU over the valid frames: (batch, frames, width_in) -> (batch, frames, 2 * hidden)."""

    def __init__(self, width_in: int, hidden: int = 128, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = 2 * hidden
        dropout = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(width_in, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`valid` (batch,): frames of each clip, on the CPU, None if all; outputs behind them are 0."""
        if valid is None:
            return self.gru(x)[0]
        packed = pack_padded_sequence(x, valid, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class Detection(NamedTuple):
    """Frame-level and clip-level probabilities."""

    frames: Tensor  # (batch, out frames, classes) probabilities float32
    clip: Tensor  # (batch, classes) probabilities float32
    mask: Tensor  # (batch, out frames) bool: False behind the end of a clip


class DetectionCRNN(nn.Module):
    """Log-mel and embeddings -> Detection. 1,038,314 parameters for 10 classes; 1,072,126 with 128 -> 16 and 4096 -> 4.

    streams: name -> (dim of the embeddings, dim of their projection); embeddings are aligned to the output frames.
    spectral: whether the log-mel is an input besides the streams.
    mel: front end, by default the paper's; it also defines the frames of a network without `spectral`.
    pooling: frames to clip: "linear" (the paper's), "attention", "attention_legacy", "max", "mean", "exponential"
    or a class called with the number of features and of classes.
    channels, pools, activation, bn_eps, bn_momentum, channels_last: see `Convolutions`; dropout: there and after every
    projection. encoder: called with the number of features per frame; by default BiGRU of `hidden` and `layers`.

    In evaluation the result of a clip depends neither on its padding nor on its batch. Logits, sigmoid and pooling are
    float32 under any autocast. Raises ValueError without any input and for an unknown pooling.
    """

    def __init__(
        self,
        n_classes: int,
        streams: dict[str, tuple[int, int]] | None = None,
        spectral: bool = True,
        mel: MelFrontEnd | None = None,
        pooling: str | Callable[[int, int], nn.Module] = "linear",
        channels: Sequence[int] = CHANNELS,
        pools: Sequence[tuple[int, int]] = POOLS,
        activation: Literal["relu", "glu", "cg"] = "relu",
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.33,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.1,
        channels_last: bool = True,
        encoder: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not spectral and not streams:
            raise ValueError("a network without spectral input needs at least one stream of embeddings")
        if isinstance(pooling, str) and pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")
        self.mel = mel or MelFrontEnd()
        self.factor = prod(pool for pool, _ in pools)
        self.convolutions = None
        if spectral:
            self.convolutions = Convolutions(
                self.mel.n_mels, channels, pools, activation, dropout, bn_eps, bn_momentum, channels_last
            )
        self.fusion = Fusion(streams or {}, dropout)
        width = self.fusion.width + (self.convolutions.width if spectral else 0)
        self.encoder = encoder(width) if encoder else BiGRU(width, hidden, layers)
        self.head = nn.Linear(self.encoder.width, n_classes)
        self.pooling = (POOLINGS[pooling] if isinstance(pooling, str) else pooling)(self.encoder.width, n_classes)

    @property
    def spectral(self) -> bool:
        """True if the log-mel is an input."""
        return self.convolutions is not None

    @property
    def sample_rate(self) -> int:
        """Sample rate of the audio, Hz."""
        return self.mel.sample_rate

    @property
    def hop(self) -> int:
        """Hop of the log-mel, samples."""
        return self.mel.hop

    @property
    def frame_s(self) -> float:
        """Duration of an output frame, s."""
        return self.factor * self.hop / self.sample_rate

    def n_frames(self, samples: int) -> int:
        """Output frames of a clip of `samples`: whole ones, at least one."""
        return pooled(self.mel.n_frames(samples), self.factor)

    def frame_times(self, samples: int) -> np.ndarray:
        """Centres of the output frames of a clip of `samples`, (frames,) float64 in s."""
        first = np.arange(self.n_frames(samples)) * self.factor
        return (first + (self.factor - 1) / 2) * self.hop / self.sample_rate

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation of the log-mel, each (bands,); part of the checkpoint."""
        self.mel.set_statistics(mean, std)

    def set_embedding_statistics(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation of a stream's embeddings, each (dim,), an addition to the paper; in the checkpoint."""
        self.fusion.branches[name].set_statistics(mean, std)

    def features(self, audio: Tensor, lengths: Tensor | None = None, level: Level | None = None) -> tuple[Tensor | None, Tensor]:
        """Standardised log-mel (batch, frames, bands), None without `spectral`, and valid frames (batch,); see MelFrontEnd."""
        if self.spectral:
            return self.mel(audio, lengths, level)
        if lengths is None:
            lengths = torch.full((len(audio),), audio.shape[-1], device=audio.device)
        return None, self.mel.n_frames(lengths)

    def forward(
        self, mel: Tensor | None, valid: Tensor | None = None, embeddings: Mapping[str, Tensor] | None = None
    ) -> Detection:
        """Detection from log-mel (batch, frames, bands) and embeddings, name -> (batch, out frames, dim).

        valid: (batch,) log-mel frames of each clip, as from `features`; None if all frames are valid.
        """
        parts = self.fusion(embeddings or {})
        frames = parts[0].shape[1] if mel is None else pooled(mel.shape[1], self.factor)
        valid = None if valid is None else valid.cpu()  # needed there by the GRU too: one synchronisation
        lengths = None if valid is None else self._padded(valid, mel, frames)
        if self.spectral:
            if mel is None:
                raise ValueError("the log-mel is an input of this network: pass one, or build it without `spectral`")
            parts.insert(0, self.convolutions(mel, None if lengths is None else valid))
        features = self.encoder(joined(parts), lengths)
        mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        if lengths is not None:
            mask = torch.arange(frames, device=features.device) < lengths.to(features.device)[:, None]
        return self._detection(features, mask)

    def _padded(self, valid: Tensor, mel: Tensor | None, frames: int) -> Tensor | None:
        """Output frames (batch,) of each clip; None without padding."""
        lengths = pooled(valid, self.factor).clamp(max=frames)
        full = bool((lengths == frames).all()) and (mel is None or bool((valid >= mel.shape[1]).all()))
        return None if full else lengths

    def _detection(self, features: Tensor, mask: Tensor) -> Detection:
        with full_precision(features):
            features = features.float()
            logits = F.linear(features, self.head.weight.float(), self.head.bias.float())
            probabilities = logits.sigmoid()
            return Detection(probabilities, self.pooling(probabilities, features, mask), mask)
