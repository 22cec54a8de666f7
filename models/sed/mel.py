"""Front end of sound event detection: peak normalisation, log-mel magnitudes, standardisation per band."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from models.features import LogMel, as_float, natural
from models.precision import ExactBuffers

SILENCE = 1e-5  # below one step of 16 bits: a clip with less is not blown up to full scale
STD_FLOOR = 1e-4  # a band that never changes, above the sample rate of all sources, is not blown up either


class MelFrontEnd(ExactBuffers):
    """Audio (batch, samples) int16 or float in [-1, 1) -> log-mel (batch, frames, n_mels) float32 and its valid frames.

    Boes and Van hamme 2021, section 4.2: 22.1 kHz, peak normalisation of each clip, 128 mel bands of magnitudes, window
    2048, hop 366, so that 10 s are 604 frames, and standardisation of each band. What the paper leaves open is an
    option: `mel` (scale and height of the triangles), `window`, `f_min` and `f_max` in Hz, `floor` under the magnitudes
    before the natural logarithm, and `standardise`: "dataset" by the buffers `mean` and `std`, which `set_statistics`
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
    ) -> None:
        super().__init__()
        if standardise not in ("dataset", "instance", "none"):
            raise ValueError(f"MelFrontEnd: standardise is {standardise!r}, expected dataset, instance or none")
        self.spectrum = LogMel(sample_rate, n_fft, hop, n_mels, mel, "log", None, True, "constant", power, window, f_min, f_max)
        self.spectrum.scale = partial(natural, floor=floor)
        self.sample_rate, self.hop, self.n_mels = sample_rate, hop, n_mels
        self.peak, self.by = peak, standardise
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

    def forward(self, audio: Tensor, lengths: Tensor | None = None, peak: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standardised log-mel (batch, frames, n_mels) and valid frames (batch,); arguments as `log_mel`."""
        log_mel, valid = self.log_mel(audio, lengths, peak)
        return self.standardised(log_mel, valid), valid

    def log_mel(self, audio: Tensor, lengths: Tensor | None = None, peak: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel before standardisation, what statistics are taken of, and valid frames.

        lengths: (batch,) samples of each clip, by default all; peak: (batch,) what the samples are divided by, for a piece
        of a longer recording; by default the largest among each clip's own.
        """
        audio = as_float(audio).float()
        if lengths is None:
            lengths = torch.full((len(audio),), audio.shape[-1], device=audio.device)
        inside = torch.arange(audio.shape[-1], device=audio.device) < lengths[:, None]
        audio = torch.where(inside, audio, 0.0)
        if self.peak and audio.shape[-1]:
            peak = audio.abs().amax(1) if peak is None else peak
            audio = audio / peak.clamp(min=SILENCE)[:, None]
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
