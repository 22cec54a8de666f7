"""Outlines: coarse spectra of a recording, and of a score without synthesis, that can be compared frame by frame.

Audio or notes -> partials (frames, bins), about eleven frames per second.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.alignment.front import CQT

POOLED = 4
"""Constant-Q frames per frame of the outline."""
AROUND = 24
"""Bins (an octave) whose mean is subtracted from each bin, which leaves the partials of any instrument."""
BLOCK = 4096  # frames whose peaks are found at once, a multiple of POOLED
PARTIALS = 10
WIDTH = 0.7  # of a partial, bins
RELEASE_S = 0.3  # length of a score's outline after its last note
CONTRAST = 300.0  # of the logarithm, as in the front end


class NoteEvents(Protocol):
    """Notes of a score; all arrays (notes,)."""

    onset: np.ndarray  # s
    offset: np.ndarray  # s
    pitch: np.ndarray  # MIDI number
    velocity: np.ndarray  # 1 to 127
    program: np.ndarray  # General MIDI program; -1: drums


class Timbre(NamedTuple):
    """Spectrum of a note: partial h has the amplitude h ** -slope and decays with a time constant."""

    slope: float
    decay_s: float


TIMBRES: Mapping[str, Timbre] = {
    "struck": Timbre(1.2, 1.2),
    "soft": Timbre(2.0, 1.2),
    "sustained": Timbre(2.0, np.inf),
}
"""Timbres tried for a score: piano and guitar; their softer registers and upright pianos; strings, winds and voices."""


class Outline:
    """Spectral peaks of recordings and scores.

    An outline is (frames, bins) float32, not normalized; see `unit`.
    """

    def __init__(self) -> None:
        self.front = CQT()
        self.rate = self.front.sample_rate
        self.frame_s = POOLED * self.front.frame_s
        self.per_semitone = self.front.settings["per_octave"] // 12
        self._by_slope: dict[float, np.ndarray] = {}

    @torch.no_grad()
    def of_audio(self, audio: np.ndarray, cents: float = 0.0) -> np.ndarray:
        """Outline of audio (samples,) at `rate`, tuned `cents` above 440 Hz."""
        features = self.front(torch.from_numpy(audio)[None], cents=cents)[0, 0]
        return np.concatenate([pooled(peaks(part).numpy(), POOLED) for part in features.split(BLOCK, 1)])

    def of_notes(self, notes: NoteEvents, stretch: float, timbre: str, pool: int = 1) -> np.ndarray:
        """Outline of notes played slower by the factor `stretch`; `pool` frames are averaged."""
        amplitude = self._envelopes(notes, stretch, TIMBRES[timbre], pool)
        spectrum = self._templates(TIMBRES[timbre].slope).T @ amplitude
        loud = np.quantile(spectrum.max(0), 0.95)
        features = torch.from_numpy(np.log1p(CONTRAST / max(loud, 1e-9) * spectrum).astype(np.float32))
        return np.concatenate([peaks(part).numpy() for part in features.split(BLOCK, 1)])

    def transposed(self, outline: np.ndarray, semitones: int) -> np.ndarray:
        """Outline transposed down by `semitones`; bins that leave the range are dropped."""
        bins, moved = self.per_semitone * semitones, np.zeros_like(outline)
        if bins >= 0:
            moved[:, : outline.shape[1] - bins] = outline[:, bins:]
        else:
            moved[:, -bins:] = outline[:, :bins]
        return moved

    def _envelopes(self, notes: NoteEvents, stretch: float, timbre: Timbre, pool: int) -> np.ndarray:
        """Amplitude of each pitch (128, frames) float32; of notes of one pitch the loudest counts."""
        hop = pool * self.frame_s
        frames = max(1, int(np.ceil((float(notes.offset.max()) * stretch + RELEASE_S) / hop)))
        amplitude = np.zeros((128, frames), np.float32)
        decays = np.exp(-np.arange(frames) * hop / timbre.decay_s, dtype=np.float32)
        first = (notes.onset * stretch / hop).astype(int)
        last = np.maximum(first + 1, np.ceil(notes.offset * stretch / hop).astype(int)).clip(max=frames)
        for pitch, start, end in zip(*(side[notes.program >= 0].tolist() for side in (notes.pitch, first, last)), strict=True):
            part = amplitude[pitch, start:end]
            np.maximum(part, decays[: end - start], out=part)
        return amplitude

    def _templates(self, slope: float) -> np.ndarray:
        """Spectrum of each pitch (128, bins) float32."""
        if slope not in self._by_slope:
            self._by_slope[slope] = self._template(slope)
        return self._by_slope[slope]

    def _template(self, slope: float) -> np.ndarray:
        harmonics = np.arange(1, PARTIALS + 1)
        hertz = 440.0 * 2.0 ** ((np.arange(128) - 69) / 12)
        places = 12 * self.per_semitone * np.log2(hertz[:, None] * harmonics / self.front.hertz[0])  # bins
        near = np.exp(-0.5 * ((np.arange(self.front.bins) - places[..., None]) / WIDTH) ** 2)
        return (harmonics[:, None].astype(float) ** -slope * near).sum(1).astype(np.float32)


def peaks(features: Tensor) -> Tensor:
    """Log spectrum (bins, frames) -> excess of each bin over the octave around it (frames, bins)."""
    kernel = torch.ones(1, 1, AROUND + 1, device=features.device) / (AROUND + 1)
    columns = features.T[:, None]
    around = F.conv1d(F.pad(columns, (AROUND // 2, AROUND // 2), mode="replicate"), kernel)
    return (columns - around).clamp(min=0)[:, 0]


def pooled(outline: np.ndarray, count: int) -> np.ndarray:
    """Outline averaged over `count` frames, the last of fewer: (ceil(frames / count), bins)."""
    starts = np.arange(0, len(outline), count)
    sizes = np.minimum(count, len(outline) - starts)
    return (np.add.reduceat(outline, starts, axis=0) / sizes[:, None]).astype(np.float32)


def unit(outline: np.ndarray) -> np.ndarray:
    """Outline with frames of length 1, silent ones 0."""
    return outline / np.maximum(np.linalg.norm(outline, axis=1, keepdims=True), 1e-9)


# Tuning

TUNING_S = 60.0


def tuning_cents(audio: np.ndarray, rate: int) -> float:
    """Tuning of audio (samples,) in cents above 440 Hz, -50 to 50, from the spectral peaks of its loudest minute (librosa)."""
    import librosa

    if not len(audio):
        raise ValueError("cannot estimate the tuning of an empty recording")
    part = _loudest(audio, min(len(audio), int(TUNING_S * rate)))
    pitches, magnitudes = librosa.piptrack(y=part, sr=rate, n_fft=4096, fmin=100.0, fmax=2500.0)
    audible = magnitudes > 0
    if not audible.any():
        return 0.0
    strong = audible & (magnitudes >= np.median(magnitudes[audible]))
    return 100.0 * float(librosa.pitch_tuning(pitches[strong], resolution=0.02))


def _loudest(audio: np.ndarray, samples: int) -> np.ndarray:
    """Excerpt of `samples` with the most energy, in steps of a quarter of its length."""
    starts = range(0, len(audio) - samples + 1, max(1, samples // 4))
    return max((audio[start : start + samples] for start in starts), key=lambda part: float(np.square(part).sum()))
