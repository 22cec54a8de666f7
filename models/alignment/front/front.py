"""Base class of feature front ends: waveform -> frames at a common hop (channels, bins, frames)."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.blocks.features import as_float
from models.blocks.precision import ExactBuffers, full_precision

SILENCE = 1e-4  # -80 dB re full scale: quieter recordings are not amplified further
LOUD = 0.1  # RMS of the loud parts of a levelled recording: -20 dB re full scale
LOUD_SHARE = 0.95  # quantile over hops: neither rests nor a few clicks change it
HOPS = 1 << 13  # whose power is computed at once
LEVELS = ("loud", "peak", "none")


Level = Callable[[Tensor], Tensor]
"""Scale pieces (batch, samples) of recordings, int16 or float, to float."""


class Front(ExactBuffers):
    """Audio (batch, samples) int16 or float -> features (batch, channels, bins, frames) float32.

    Frame i is centred on sample i * hop, with silence before and after; there are 1 + samples // hop frames.
    `normalise` levels each recording first, so that a log does not depend on its gain: "loud" scales the RMS of its loud
    parts to 0.1 (the 95th percentile over hops: rests and clicks do not count), "peak" its largest sample to 1; what is
    80 dB below full scale stays silence. Pass whole recordings, not excerpts, or use "none".
    `block` frames are computed at once, so only the result grows with the recording. Computed in float32 under any autocast.

    A subclass sets `channels`, `bins` and `context` (samples needed on either side of a frame's centre), and implements
    `analyse`. The settings passed to `__init__` make the `key`.
    """

    version = 1  # raised when the same settings give other features, so that cached ones are not reused
    channels: int
    bins: int
    context: int
    block: int = 4096

    def __init__(self, sample_rate: int, hop: int, normalise: str = "none", **settings: Any) -> None:
        super().__init__()
        self.chosen("normalise", normalise, LEVELS)
        for name, value in (("sample_rate", sample_rate), ("hop", hop)):
            if value < 1:
                raise ValueError(f"{type(self).__name__}: {name} is {value}, expected at least 1")
        self.sample_rate, self.hop, self.normalise = sample_rate, hop, normalise
        self.settings = {"sample_rate": sample_rate, "hop": hop, "normalise": normalise, **settings}

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.sample_rate

    @property
    def key(self) -> str:
        """Cache key of the features: class name and 16 hexadecimal digits over it, settings and weights."""
        name = type(self).__name__
        digest = hashlib.sha256(repr((name, self.version, sorted(self.settings.items()))).encode())
        for entry, value in sorted(self.state_dict().items()):
            digest.update(entry.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return f"{name.lower()}-{digest.hexdigest()[:16]}"

    def n_frames(self, samples: int) -> int:
        """Frames of a recording of that many samples."""
        return 1 + samples // self.hop

    def forward(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        """Features of recordings; cents: their tuning above 440 Hz, -100 to 100.

        Raises ValueError for a recording that is empty, not finite or not (batch, samples), and for cents out of range.
        """
        self.check(audio, cents)
        with full_precision(audio):
            level = self.leveller(audio, cents)
            spans = self.spans(self.n_frames(audio.shape[-1]))
            return torch.cat([self.span(audio, first, last, cents, level) for first, last in spans], -1)

    def check(self, audio: Tensor, cents: float = 0.0) -> None:
        """Raise ValueError for a wrong shape, samples that are not finite or cents out of range."""
        name = type(self).__name__
        if audio.ndim != 2 or not audio.numel():
            raise ValueError(f"{name}: audio of shape {tuple(audio.shape)}, expected (batch, samples) with at least one sample")
        if not -100.0 <= cents <= 100.0:
            raise ValueError(f"{name}: cents is {cents}, expected -100 to 100: move whole semitones by transposing")
        if not all(bool(part.isfinite().all()) for part in audio.split(HOPS * self.hop, 1)):  # hours would need copies
            raise ValueError(f"{name}: audio holds samples that are not finite")

    def leveller(self, audio: Tensor, cents: float = 0.0) -> Level:
        """Function that scales pieces of a recording as set by `normalise`, without a copy of the whole."""
        if self.normalise == "none":
            return as_float
        if self.normalise == "peak":
            peak = as_float(audio).abs().amax(1, keepdim=True).clamp(min=SILENCE)
            return lambda piece: as_float(piece) / peak
        gain = (LOUD / loudness(audio, self.hop).clamp(min=SILENCE))[:, None]
        return lambda piece: as_float(piece) * gain

    def levelled(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        """Whole recordings, scaled as set by `normalise`."""
        return self.leveller(audio, cents)(audio)

    def spans(self, frames: int) -> Iterator[tuple[int, int]]:
        """First and end frame of each block."""
        for first in range(0, frames, self.block):
            yield first, min(first + self.block, frames)

    def span(self, audio: Tensor, first: int, last: int, cents: float = 0.0, level: Level = as_float) -> Tensor:
        """Features of the frames first to last - 1 of a recording; `level` is applied to the piece, or has been before."""
        return self.analyse(level(self.piece(audio, first, last)).float(), cents)

    def piece(self, audio: Tensor, first: int, last: int) -> Tensor:
        """Samples that the frames first to last - 1 need; silence beyond the recording."""
        start, stop = first * self.hop - self.context, (last - 1) * self.hop + self.context + 1
        inside = audio[:, max(0, start) : max(0, stop)]
        left = min(max(0, -start), stop - start)
        return F.pad(inside, (left, stop - start - left - inside.shape[1]))

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        """Features (batch, channels, bins, frames) of a piece; frame j is centred on its sample context + j * hop."""
        raise NotImplementedError

    def chosen(self, name: str, value: object, known: tuple) -> None:
        """Raise ValueError for an unknown value of an option."""
        if value not in known:
            raise ValueError(f"{type(self).__name__}: {name} is {value!r}, expected one of {', '.join(map(str, known))}")

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


def loudness(audio: Tensor, hop: int) -> Tensor:
    """RMS of the loud parts of recordings (batch, samples) -> (batch,): the 95th percentile over pieces of `hop`."""
    size = min(hop, audio.shape[1])
    parts = audio[:, : audio.shape[1] // size * size].split(HOPS * size, 1)  # hours would need a copy
    power = torch.cat([as_float(part).square().unfold(1, size, size).mean(-1) for part in parts], 1).sort(1).values
    # `quantile` is not supported by torch.export.
    position = LOUD_SHARE * (power.shape[1] - 1)
    below, share = int(position), position - int(position)
    above = min(below + 1, power.shape[1] - 1)
    return torch.lerp(power[:, below], power[:, above], share).sqrt()


def ratio(cents: float) -> float:
    """Frequency ratio of an interval."""
    return 2.0 ** (cents / 1200.0)
