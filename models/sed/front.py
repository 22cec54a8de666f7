"""Front end of sound event detection: level normalisation, log-mel magnitudes, standardisation per band."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.features import LogMel, as_float, natural
from models.blocks.precision import ExactBuffers

SILENCE = 1e-5  # below one step of 16 bits: a clip with less is not blown up to full scale
PERCENTILE, CREST = 99.9, 1.9  # the robust level, and the peak of ordinary material over it; as in datamodules.audio.level
STD_FLOOR = 1e-4  # a band that never changes, above the sample rate of all sources, is not blown up either

Level = Literal["peak", "robust", "none"]


class FlooredLogMel(LogMel):
    """Log-mel spectrogram whose mel values are kept at or above `floor` before the natural logarithm."""

    def __init__(self, *args: Any, floor: float) -> None:
        super().__init__(*args)
        self.scale = partial(natural, floor=floor)


class MelFrontEnd(ExactBuffers):
    """Audio (batch, samples) int16 or float in [-1, 1) -> log-mel (batch, frames, n_mels) float32 and its valid frames.

    Boes and Van hamme 2021, section 4.2: 22.1 kHz, peak normalisation of each clip, 128 mel bands of magnitudes, window
    2048, hop 366, so that 10 s are 604 frames, and standardisation of each band. `level` says what full scale is put to:
    the "peak" of a clip, or "robust": 1.9 times the 99.9th percentile of its magnitude, the samples beyond it clipped, which
    is the peak of ordinary material and ignores clicks; or "none" (`peak` false means the same). What the paper leaves
    open is an option: `mel` (scale and height of the triangles), `window`, `f_min` and `f_max` in Hz, `floor` under the
    magnitudes before the natural logarithm, and `standardise`: "dataset" by the buffers `mean` and `std`, which `set_statistics`
    fills and checkpoints keep; "instance" by each clip's own; "none".

    Frame t is centred on sample t * hop; there is silence before and after a clip, whatever a batch pads it with.
    Frames behind a clip's valid ones are 0. Raises ValueError for an unknown option.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        sample_rate: int = 22_100,
        n_fft: int = 2048,
        hop: int = 366,
        n_mels: int = 128,
        mel: Literal["slaney", "htk", "slaney_unnormed", "htk_normed"] = "slaney",
        window: Literal["hann", "hamming"] = "hann",
        f_min: float = 0.0,
        f_max: float | None = None,
        power: Literal[1, 2] = 1,
        floor: float = 1e-5,
        peak: bool = True,
        standardise: Literal["dataset", "instance", "none"] = "dataset",
        level: Level = "peak",
    ) -> None:
        super().__init__()
        if level not in ("peak", "robust", "none"):
            raise ValueError(f"MelFrontEnd: level is {level!r}, expected peak, robust or none")
        if standardise not in ("dataset", "instance", "none"):
            raise ValueError(f"MelFrontEnd: standardise is {standardise!r}, expected dataset, instance or none")
        options = (mel, "log", None, True, "constant", power, window, f_min, f_max)
        self.spectrum = FlooredLogMel(sample_rate, n_fft, hop, n_mels, *options, floor=floor)
        self.sample_rate, self.hop, self.n_mels = sample_rate, hop, n_mels
        self.level: Level = level if peak else "none"
        self.by = standardise
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("std", torch.ones(n_mels))

    def n_frames(self, samples: int | Tensor) -> int | Tensor:
        """Frames of a clip of that many samples."""
        return 1 + samples // self.hop

    @property
    def gain(self) -> Tensor:
        """What a factor e in level adds to each band of the standardised log-mel: (n_mels,)."""
        return 1.0 / self.std

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardise by the training set's mean and standard deviation of each band, each (n_mels,)."""
        self.mean.copy_(torch.as_tensor(mean))
        self.std.copy_(torch.as_tensor(std).clamp(min=STD_FLOOR))

    def forward(self, audio: Tensor, lengths: Tensor | None = None, level: Level | None = None) -> tuple[Tensor, Tensor]:
        """Standardised log-mel (batch, frames, n_mels) and valid frames (batch,); arguments as `log_mel`."""
        log_mel, valid = self.log_mel(audio, lengths, level)
        return self.standardised(log_mel, valid), valid

    def log_mel(self, audio: Tensor, lengths: Tensor | None = None, level: Level | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel before standardisation, what statistics are taken of, and valid frames.

        lengths: (batch,) samples of each clip, by default all; level: instead of the front end's own, such as "robust" for
        windows of a recording whose peak may be a click. A front end of level "none" never changes levels.
        """
        audio = as_float(audio).float()
        if lengths is None:
            lengths = torch.full((len(audio),), audio.shape[-1], device=audio.device)
        inside = torch.arange(audio.shape[-1], device=audio.device) < lengths[:, None]
        audio = torch.where(inside, audio, 0.0)
        if audio.shape[-1] and self.level != "none":
            audio = normalised(audio, lengths, level or self.level)
        return self.spectrum(audio).transpose(1, 2), self.n_frames(lengths)

    def standardised(self, log_mel: Tensor, valid: Tensor) -> Tensor:
        """Log-mel (batch, frames, n_mels) of any float standardised per band, float32; 0 behind the valid frames."""
        log_mel = log_mel.float()
        inside = (torch.arange(log_mel.shape[1], device=log_mel.device) < valid[:, None])[..., None]
        mean, std = self.mean, self.std
        if self.by == "instance":
            count = valid[:, None, None].clamp(min=1)
            mean = torch.where(inside, log_mel, 0.0).sum(1, keepdim=True) / count
            std = (torch.where(inside, log_mel - mean, 0.0).square().sum(1, keepdim=True) / count).sqrt().clamp(min=STD_FLOOR)
        elif self.by == "none":
            return torch.where(inside, log_mel, 0.0)
        return torch.where(inside, (log_mel - mean) / std, 0.0)


def normalised(audio: Tensor, lengths: Tensor, level: Level) -> Tensor:
    """Audio (batch, samples), zeros behind `lengths` (batch,), with each clip's level at full scale."""
    if level == "none":
        return audio
    if level == "peak":
        return audio / audio.abs().amax(1).clamp(min=SILENCE)[:, None]
    return (audio / (CREST * robust_level(audio, lengths)).clamp(min=SILENCE)[:, None]).clamp(-1.0, 1.0)


def robust_level(audio: Tensor, lengths: Tensor) -> Tensor:
    """99.9th percentile (batch,) of the magnitude of clips (batch, samples), zeros behind `lengths` (batch,).

    By the few largest samples alone: `quantile` sorts all and refuses long clips.
    """
    place = (1 - PERCENTILE / 100) * (lengths.clamp(min=1) - 1).double()  # from the largest down
    above = place.long()
    count = int((1 - PERCENTILE / 100) * max(audio.shape[-1] - 1, 0)) + 2
    largest = audio.abs().topk(min(count, audio.shape[-1]), dim=1).values
    upper = largest.gather(1, above[:, None])[:, 0]
    lower = largest.gather(1, (above + 1).clamp(max=largest.shape[1] - 1)[:, None])[:, 0]
    return torch.lerp(upper, lower, (place - above).to(upper.dtype))


# Embeddings of other networks beside the spectral ones: aligned in time, projected, joined.

STD_FLOOR = 1e-4  # of the largest


class Fusion(nn.Module):
    """Streams of embeddings, each (batch, frames, its dim) -> (batch, frames, its width): Linear, ReLU, dropout.

    Section 3 of Boes and Van hamme 2021. `streams`: name -> (dim in, dim out); their order is that of the result.
    """

    def __init__(self, streams: Mapping[str, tuple[int, int]], dropout: float = 0.33) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: EmbeddingBranch(*dims, dropout) for name, dims in streams.items()})
        self.width = sum(out for _, out in streams.values())

    def forward(self, embeddings: Mapping[str, Tensor]) -> list[Tensor]:
        """One tensor (batch, frames, dim out) per stream. Raises ValueError where a stream is missing."""
        missing = [name for name in self.branches if name not in embeddings]
        if missing:
            raise ValueError(f"no embeddings `{missing[0]}`; there are {', '.join(embeddings) or 'none'}")
        return [branch(embeddings[name]) for name, branch in self.branches.items()]


class EmbeddingBranch(ExactBuffers):
    """One stream. `set_statistics` makes it start from embeddings of mean 0 and deviation 1; the paper takes them as they are."""

    mean: Tensor
    std: Tensor

    def __init__(self, width_in: int, width: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mean", torch.zeros(width_in))
        self.register_buffer("std", torch.ones(width_in))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation of each feature over the training set, each (dim in,)."""
        std = torch.as_tensor(std)
        self.mean.copy_(torch.as_tensor(mean))
        # A feature that is the same everywhere stays as it is.
        self.std.copy_(torch.where(std > STD_FLOOR * std.max(), std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        # Part of the projection, so that no standardised copy of wide embeddings is made.
        weight = self.linear.weight / self.std.to(self.linear.weight.dtype)
        bias = self.linear.bias - weight @ self.mean.to(weight.dtype)
        return self.dropout(F.linear(x.to(weight.dtype), weight, bias.to(weight.dtype)).relu())


def joined(parts: list[Tensor]) -> Tensor:
    """(batch, frames, widths) side by side. Raises ValueError unless all have as many frames."""
    frames = {part.shape[1] for part in parts}
    if len(frames) > 1:
        raise ValueError(f"streams have {', '.join(map(str, sorted(frames)))} frames: align the embeddings to the network's")
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def align(
    embeddings: np.ndarray, times: np.ndarray, frame_times: np.ndarray, how: Literal["index", "time", "nearest"] = "time"
) -> np.ndarray:
    """Embeddings (n, dim) of moments `times` (n,) s -> (frames, dim) for `frame_times` (frames,) s.

    "index", the paper's: row k for frame k, as it is; the others give float32. Where n is not `frames`, evenly spread
    rows. Half a second off at the ends of a 10 s clip, since the first patch is centred half a patch into it (and the last
    as long before its end).
    "time": interpolated between the two nearest moments, constant before the first and after the last.
    "nearest": the moment nearest in time. Raises ValueError for another `how` or for times that do not rise.
    """
    n, frames = len(embeddings), len(frame_times)
    if how not in ("index", "time", "nearest"):
        raise ValueError(f"align: how is {how!r}, expected index, time or nearest")
    if len(times) != n or (np.diff(times) <= 0).any():
        raise ValueError(f"align: {n} embeddings and {len(times)} times, expected as many, rising")
    if n == 0:
        return np.zeros((frames, embeddings.shape[1]), np.float32)
    if how == "index":
        return embeddings if n == frames else embeddings[np.arange(frames) * n // max(1, frames)]
    after = np.clip(np.searchsorted(times, frame_times), 1, max(1, n - 1)) if n > 1 else np.zeros(frames, np.int64)
    before = np.maximum(after - 1, 0)
    span = np.where(after > before, times[after] - times[before], 1.0)
    share = np.clip((frame_times - times[before]) / span, 0.0, 1.0)
    if how == "nearest":
        share = (share > 0.5).astype(np.float64)
    share = share[:, None].astype(np.float32)
    # As a difference a constant stream stays exactly what it is.
    start = np.asarray(embeddings[before], np.float32)
    return start + share * (np.asarray(embeddings[after], np.float32) - start)
