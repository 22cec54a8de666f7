"""Log-mel spectrogram as a network layer: audio (batch, samples) -> (batch, n_mels, frames)."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from models.blocks.precision import ExactBuffers, full_precision


def decibels(power: Tensor, factor: float, amin: float) -> Tensor:
    """factor * log10(max(power, amin))."""
    return factor * power.clamp(min=amin).log10()


def compressed(power: Tensor, gain: float = 10_000.0) -> Tensor:
    """log10(1 + gain * power): non-negative and unit-free, the scale of the musicnn package."""
    return (1.0 + gain * power).log10()


def natural(mel: Tensor, floor: float = 1e-5) -> Tensor:
    """log(max(mel, floor))."""
    return mel.clamp(min=floor).log()


# "amplitude": librosa.amplitude_to_db of a power mel, as in Won et al. 2019: every level counts twice.
# "power": librosa.power_to_db, torchaudio's AmplitudeToDB("power").
# "log": the usual one of sound event detection, of magnitudes (`power` 1).
SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "amplitude": partial(decibels, factor=20.0, amin=1e-5),
    "power": partial(decibels, factor=10.0, amin=1e-10),
    "compressed": compressed,
    "log": natural,
}
# Default filterbanks of librosa and torchaudio: different spacing and different height of the triangles.
FILTERBANKS: dict[str, dict] = {
    "slaney": {"mel_scale": "slaney", "norm": "slaney"},
    "htk": {"mel_scale": "htk", "norm": None},
    "slaney_unnormed": {"mel_scale": "slaney", "norm": None},
    "htk_normed": {"mel_scale": "htk", "norm": "slaney"},
}
WINDOWS: dict[str, Callable[[int], Tensor]] = {"hann": torch.hann_window, "hamming": torch.hamming_window}


def as_float(audio: Tensor) -> Tensor:
    """Samples as float32 (or float64) in [-1, 1); int16 is divided by 32768."""
    if audio.dtype == torch.int16:
        return audio.float() / 32768.0
    return audio if audio.dtype == torch.float64 else audio.float()


class LogMel(ExactBuffers):
    """Log-mel spectrogram: audio (batch, samples) int16 or float in [-1, 1) -> (batch, n_mels, frames) float32.

    The defaults are the front end of Won, Chun and Serra 2019: Hann window of 512, Slaney mel bands, 20*log10 of the
    power, floor 80 dB under the peak of the whole clip. `mel="htk", db="power", top_db=None` is torchaudio's default.

    Without `center` frame t covers samples t*hop .. t*hop+n_fft, so a chunk includes its context: cut `lead` samples before
    its start, it gives exactly the frames of the whole, zero-padded clip.
    With `center` the edges are padded by `pad_mode`, "constant" in librosa, "reflect" in torchaudio.
    `power` 1 sums magnitudes in each band, 2 powers; bands are between `f_min` and `f_max` Hz (None: half the rate).
    Computed in float32 under any autocast and module dtype: the log of a bfloat16 power is wrong by whole dB.

    Raises ValueError for an unknown `mel`, `db`, `window` or `power`.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(
        self,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 256,
        n_mels: int = 96,
        mel: Literal["slaney", "htk", "slaney_unnormed", "htk_normed"] = "slaney",
        db: Literal["amplitude", "power", "compressed", "log"] = "amplitude",
        top_db: float | None = 80.0,
        center: bool = False,
        pad_mode: Literal["constant", "reflect"] = "constant",
        power: Literal[1, 2] = 2,
        window: Literal["hann", "hamming"] = "hann",
        f_min: float = 0.0,
        f_max: float | None = None,
    ):
        super().__init__()
        options = (("mel", mel, FILTERBANKS), ("db", db, SCALES), ("window", window, WINDOWS), ("power", power, (1, 2)))
        for name, value, known in options:
            if value not in known:
                raise ValueError(f"{type(self).__name__}: {name} is {value!r}, expected one of {', '.join(map(str, known))}")
        self.sample_rate, self.n_fft, self.hop, self.n_mels = sample_rate, n_fft, hop, n_mels
        self.top_db, self.center, self.pad_mode, self.power = top_db, center, pad_mode, power
        self.scale = SCALES[db]
        here = torch.get_default_device()
        with torch.device("cpu"):  # torchaudio's function cannot run on the meta device
            band = f_min, sample_rate / 2 if f_max is None else f_max
            filterbank = melscale_fbanks(n_fft // 2 + 1, *band, n_mels, sample_rate, **FILTERBANKS[mel])
        # Not persistent: both follow from the settings, and a checkpoint must not fix the shape of the front end.
        self.register_buffer("window", WINDOWS[window](n_fft), persistent=False)
        self.register_buffer("filterbank", filterbank.T.contiguous().to(here), persistent=False)

    @property
    def lead(self) -> int:
        """Samples of context before the centre of a chunk's first frame."""
        return 0 if self.center else self.n_fft // 2

    def samples(self, frames: int) -> int:
        """Samples for this many frames, context included."""
        return (frames - 1) * self.hop + (1 if self.center else self.n_fft)

    def hertz(self) -> Tensor:
        """Centre of gravity of each band in Hz: (n_mels,)."""
        bins = torch.linspace(0.0, self.sample_rate / 2, self.n_fft // 2 + 1, device=self.filterbank.device)
        return (self.filterbank @ bins) / self.filterbank.sum(1).clamp(min=1e-12)

    def forward(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        """Log-mel of chunks; `level` (batch,): peak of the clips in dB for top_db, by default of each chunk."""
        audio = as_float(audio).float()
        log_mel = self._scaled(self._pad(audio) if self.center else audio)
        if self.top_db is None:
            return log_mel
        level = log_mel.amax((1, 2)) if level is None else level.float()
        return log_mel.maximum((level - self.top_db)[:, None, None])

    def peak(self, audio: Tensor, block: int = 4096) -> Tensor:
        """Peak of whole clips (batch, samples) -> (batch,) dB, in blocks of frames to bound memory."""
        half = self.n_fft // 2
        # Zeros are padded block by block, without a padded copy of the whole clip.
        audio, margin = (audio, half) if self.pad_mode == "constant" else (self._pad(as_float(audio).float()), 0)
        total = audio.shape[-1]
        frames = 1 + (total + 2 * margin - self.n_fft) // self.hop
        peaks = []
        for first in range(0, frames, block):
            start = first * self.hop - margin
            stop = start + (min(block, frames - first) - 1) * self.hop + self.n_fft
            part = as_float(audio[:, max(start, 0) : max(stop, 0)]).float()
            part = F.pad(part, (max(-start, 0), max(stop - total, 0)))
            peaks.append(self._scaled(part).amax((1, 2)))
        return torch.stack(peaks).amax(0)

    def _pad(self, audio: Tensor) -> Tensor:
        return F.pad(audio, (self.n_fft // 2, self.n_fft // 2), mode=self.pad_mode)

    def _scaled(self, audio: Tensor) -> Tensor:
        with full_precision(audio):
            spectrum = torch.stft(audio, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
            power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)  # a third of abs()**2's time
            return self.scale(self.filterbank @ (power if self.power == 2 else power.sqrt()))
