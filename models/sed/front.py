"""Inputs of sound event detection: audio -> normalised, standardised log-mel; embeddings -> aligned projections."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.features import LogMel, as_float, natural
from models.blocks.precision import ExactBuffers

SILENCE = 1e-5  # below one step of 16 bits: quieter clips are not amplified to full scale
PERCENTILE, CREST = 99.9, 1.9  # robust level, and peak of typical material relative to it; as in datamodules.audio.level
STD_FLOOR = 1e-4  # least deviation, for constant bands above the bandwidth of all sources

Level = Literal["peak", "robust", "none"]


class FlooredLogMel(LogMel):
    """Log-mel spectrogram, log(max(mel, floor))."""

    def __init__(self, *args: Any, floor: float) -> None:
        super().__init__(*args)
        self.scale = partial(natural, floor=floor)


class MelFrontEnd(ExactBuffers):
    """Audio (batch, samples) int16 or float in [-1, 1) -> log-mel (batch, frames, n_mels) float32 and its valid frames.

    Boes and Van hamme 2021, section 4.2: 22.1 kHz, peak normalisation of each clip, 128 mel bands of magnitudes, window
    2048, hop 366 (604 frames for 10 s), and standardisation of each band. `level` is the reference of the normalisation:
    the "peak" of a clip, or "robust": 1.9 times the 99.9th percentile of its magnitude, clipping samples beyond it, which is
    the peak of typical material and ignores clicks; or "none" (as with `peak` false). Options not specified in the paper:
    `mel` (scale and height of the triangles), `window`, `f_min` and `f_max` in Hz, `floor` of the magnitudes before the
    natural logarithm, and `standardise`: "dataset" by the buffers `mean` and `std`, set by `set_statistics` and kept in
    checkpoints; "instance" by each clip's own; "none".

    Frame t is centred on sample t * hop, with silence before and after a clip, independent of the batch's padding.
    Frames behind the valid ones are 0. Raises ValueError for an unknown option.
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
        """Frames of a clip of `samples`."""
        return 1 + samples // self.hop

    @property
    def gain(self) -> Tensor:
        """Change of the standardised log-mel for a factor e in level: (n_mels,)."""
        return 1.0 / self.std

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation of each band over the training set, each (n_mels,)."""
        self.mean.copy_(torch.as_tensor(mean))
        self.std.copy_(torch.as_tensor(std).clamp(min=STD_FLOOR))

    def forward(self, audio: Tensor, lengths: Tensor | None = None, level: Level | None = None) -> tuple[Tensor, Tensor]:
        """Standardised log-mel (batch, frames, n_mels) and valid frames (batch,); arguments as `log_mel`."""
        log_mel, valid = self.log_mel(audio, lengths, level)
        return self.standardised(log_mel, valid), valid

    def log_mel(self, audio: Tensor, lengths: Tensor | None = None, level: Level | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel (batch, frames, n_mels) before standardisation, and valid frames (batch,).

        lengths: (batch,) samples of each clip, by default all; level: overrides the front end's own, such as "robust" for
        windows of a recording with clicks, unless that is "none".
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
        """Standardised log-mel (batch, frames, n_mels) float32; 0 behind the valid frames."""
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
    """Audio (batch, samples), 0 behind `lengths` (batch,), normalised so that each clip's level is full scale."""
    if level == "none":
        return audio
    if level == "peak":
        return audio / audio.abs().amax(1).clamp(min=SILENCE)[:, None]
    return (audio / (CREST * robust_level(audio, lengths)).clamp(min=SILENCE)[:, None]).clamp(-1.0, 1.0)


def robust_level(audio: Tensor, lengths: Tensor) -> Tensor:
    """99.9th percentile (batch,) of the magnitude of clips (batch, samples), 0 behind `lengths` (batch,).

    From the largest samples only: `quantile` sorts all samples and does not accept long clips.
    """
    position = (1 - PERCENTILE / 100) * (lengths.clamp(min=1) - 1).double()  # from the largest down
    above = position.long()
    count = int((1 - PERCENTILE / 100) * max(audio.shape[-1] - 1, 0)) + 2
    largest = audio.abs().topk(min(count, audio.shape[-1]), dim=1).values
    upper = largest.gather(1, above[:, None])[:, 0]
    lower = largest.gather(1, (above + 1).clamp(max=largest.shape[1] - 1)[:, None])[:, 0]
    return torch.lerp(upper, lower, (position - above).to(upper.dtype))


# Fusion of embeddings

EMBEDDING_STD_FLOOR = 1e-4  # relative to the largest deviation


class Fusion(nn.Module):
    """Projections (Linear, ReLU, dropout) of embeddings (batch, frames, dim in) -> (batch, frames, dim out) per stream.

    Section 3 of Boes and Van hamme 2021. `streams`: name -> (dim in, dim out), in the order of the result.
    """

    def __init__(self, streams: Mapping[str, tuple[int, int]], dropout: float = 0.33) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: EmbeddingBranch(*dims, dropout) for name, dims in streams.items()})
        self.width = sum(out for _, out in streams.values())

    def forward(self, embeddings: Mapping[str, Tensor]) -> list[Tensor]:
        """One tensor (batch, frames, dim out) per stream. Raises ValueError for a missing stream."""
        missing = [name for name in self.branches if name not in embeddings]
        if missing:
            raise ValueError(f"missing embeddings `{missing[0]}`, got {', '.join(embeddings) or 'none'}")
        return [branch(embeddings[name]) for name, branch in self.branches.items()]


class EmbeddingBranch(ExactBuffers):
    """Projection of one stream. `set_statistics` standardises the embeddings, an addition to the paper."""

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
        # Constant features are not scaled.
        self.std.copy_(torch.where(std > EMBEDDING_STD_FLOOR * std.max(), std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        # Folded into the projection, without a standardised copy of wide embeddings.
        weight = self.linear.weight / self.std.to(self.linear.weight.dtype)
        bias = self.linear.bias - weight @ self.mean.to(weight.dtype)
        return self.dropout(F.linear(x.to(weight.dtype), weight, bias.to(weight.dtype)).relu())


def joined(parts: list[Tensor]) -> Tensor:
    """Concatenate (batch, frames, width) along features. Raises ValueError for different numbers of frames."""
    frames = {part.shape[1] for part in parts}
    if len(frames) > 1:
        raise ValueError(f"streams have {', '.join(map(str, sorted(frames)))} frames: align the embeddings to the network's")
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def align(
    embeddings: np.ndarray, times: np.ndarray, frame_times: np.ndarray, method: Literal["index", "time", "nearest"] = "time"
) -> np.ndarray:
    """Align embeddings (n, dim) at `times` (n,) s to `frame_times` (frames,) s -> (frames, dim).

    method: "index" (the paper's): row k for frame k, unchanged, or evenly spread rows if n differs from `frames`; half a second
    off at the ends of a 10 s clip, since the first patch is centred half a patch into it and the last as long before its end.
    "time": linear interpolation, constant before the first and after the last time. "nearest": nearest in time. The latter
    two give float32. Raises ValueError for another `method` or for times that do not increase.
    """
    n, frames = len(embeddings), len(frame_times)
    if method not in ("index", "time", "nearest"):
        raise ValueError(f"align: method is {method!r}, expected index, time or nearest")
    if len(times) != n or (np.diff(times) <= 0).any():
        raise ValueError(f"align: {n} embeddings and {len(times)} times, expected equally many, increasing")
    if n == 0:
        return np.zeros((frames, embeddings.shape[1]), np.float32)
    if method == "index":
        return embeddings if n == frames else embeddings[np.arange(frames) * n // max(1, frames)]
    after = np.clip(np.searchsorted(times, frame_times), 1, max(1, n - 1)) if n > 1 else np.zeros(frames, np.int64)
    before = np.maximum(after - 1, 0)
    span = np.where(after > before, times[after] - times[before], 1.0)
    share = np.clip((frame_times - times[before]) / span, 0.0, 1.0)
    if method == "nearest":
        share = (share > 0.5).astype(np.float64)
    share = share[:, None].astype(np.float32)
    # In this form a constant stream stays exactly constant.
    start = np.asarray(embeddings[before], np.float32)
    return start + share * (np.asarray(embeddings[after], np.float32) - start)
