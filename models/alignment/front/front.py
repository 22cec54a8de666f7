"""What every input of an alignment network offers: frames of a recording, in step with those of every other input."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.blocks.features import as_float
from models.blocks.precision import ExactBuffers, full_precision

SILENCE = 1e-4  # -80 dB under full scale: what is quieter is not blown up
LOUD = 0.1  # RMS that the loud parts of a levelled recording have: -20 dB under full scale
LOUD_SHARE = 0.95  # quantile over pieces of one hop: neither rests nor a few clicks change it
LEVELS = ("loud", "peak", "none")


class Front(ExactBuffers):
    """Audio (batch, samples) int16 or float -> features (batch, channels, bins, frames) float32.

    Frame i is centred on sample i * hop, there is silence before and after, and there are 1 + samples // hop frames.
    `normalise` levels each recording first, so that a log sees the same whatever the recording's gain: "loud" puts the
    RMS of its loud parts to 0.1 (the 95th percentile over hops: rests and clicks do not count), "peak" its largest
    sample to 1; what is 80 dB under full scale stays silence. So give whole recordings, not excerpts, or "none".
    Only `block` frames are computed at once: memory does not grow with the recording, but for what is returned.
    Computed in float32 whatever the autocast.

    A subclass sets `channels`, `bins` and `context`, the samples on either side of a frame's centre that it hears, and
    gives `analyse`. Settings passed on to `__init__` make the `key`.
    """

    version = 1  # counted up when the same settings give other features, so that none on disk are mistaken for them
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
        """Name of the class and 16 hexadecimal digits over it, settings and weights: what features on disk are kept under."""
        name = type(self).__name__
        digest = hashlib.sha256(repr((name, self.version, sorted(self.settings.items()))).encode())
        for entry, value in sorted(self.state_dict().items()):
            digest.update(entry.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return f"{name.lower()}-{digest.hexdigest()[:16]}"

    def n_frames(self, samples: int) -> int:
        """Frames of a recording of that many samples."""
        return 1 + samples // self.hop

    def forward(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        """Features of recordings; cents: how far they are tuned above 440 Hz, at most 100 either way.

        Raises ValueError for a recording that is empty, not finite or not (batch, samples), and for other cents.
        """
        audio = self.checked(audio, cents)
        with full_precision(audio):
            audio = self.levelled(audio, cents)
            spans = self.spans(self.n_frames(audio.shape[-1]))
            return torch.cat([self.span(audio, first, last, cents) for first, last in spans], -1)

    def checked(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        """The audio as float32, if it can be used at all; else ValueError."""
        name = type(self).__name__
        if audio.ndim != 2 or not audio.numel():
            raise ValueError(f"{name}: audio of shape {tuple(audio.shape)}, expected (batch, samples) with at least one sample")
        if not -100.0 <= cents <= 100.0:
            raise ValueError(f"{name}: cents is {cents}, expected -100 to 100: move whole semitones by transposing")
        audio = as_float(audio).float()
        if not bool(audio.isfinite().all()):
            raise ValueError(f"{name}: audio holds samples that are not finite")
        return audio

    def levelled(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        """Audio at the level that `normalise` asks for."""
        if self.normalise == "none":
            return audio
        if self.normalise == "peak":
            return audio / audio.abs().amax(1, keepdim=True).clamp(min=SILENCE)
        return audio * (LOUD / loudness(audio, self.hop).clamp(min=SILENCE))[:, None]

    def spans(self, frames: int) -> Iterator[tuple[int, int]]:
        """First frame and the one after the last of each block."""
        for first in range(0, frames, self.block):
            yield first, min(first + self.block, frames)

    def span(self, audio: Tensor, first: int, last: int, cents: float = 0.0) -> Tensor:
        """Features of the frames first to last - 1 of levelled audio."""
        return self.analyse(self.piece(audio, first, last), cents)

    def piece(self, audio: Tensor, first: int, last: int) -> Tensor:
        """What the frames first to last - 1 hear; beyond the recording it is silence."""
        start, stop = first * self.hop - self.context, (last - 1) * self.hop + self.context + 1
        inside = audio[:, max(0, start) : max(0, stop)]
        left = min(max(0, -start), stop - start)
        return F.pad(inside, (left, stop - start - left - inside.shape[1]))

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        """Features (batch, channels, bins, frames) of a piece; frame j is centred on its sample context + j * hop."""
        raise NotImplementedError

    def chosen(self, name: str, value: object, known: tuple) -> None:
        """Raises ValueError for a value that is none of the known ones."""
        if value not in known:
            raise ValueError(f"{type(self).__name__}: {name} is {value!r}, expected one of {', '.join(map(str, known))}")

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


def loudness(audio: Tensor, hop: int) -> Tensor:
    """RMS of the loud parts of recordings (batch, samples) -> (batch,): the 95th percentile over pieces of `hop`."""
    power = audio.square().unfold(1, min(hop, audio.shape[1]), hop).mean(-1).sort(1).values
    # As `quantile`, which torch.export does not know.
    place = LOUD_SHARE * (power.shape[1] - 1)
    below, share = int(place), place - int(place)
    above = min(below + 1, power.shape[1] - 1)
    return torch.lerp(power[:, below], power[:, above], share).sqrt()


def ratio(cents: float) -> float:
    """Frequency ratio of an interval."""
    return 2.0 ** (cents / 1200.0)
