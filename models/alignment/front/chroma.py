"""Chroma (the paper's baseline) and half-wave rectified spectral difference (Dixon and Widmer 2005)."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.alignment.front.cqt import C2, constant_q
from models.alignment.front.front import Front
from models.alignment.front.stft import Spectrum, midi_of, semitones

NORMS = {"l1": 1.0, "l2": 2.0, "max": float("inf")}
CHROMA_FLOOR = 1e-3  # least norm that a frame of a levelled recording is divided by, so that silence is not amplified
C1, OCTAVES = 24, 7


class Chroma(Front):
    """Pitch classes from C to B: (batch, 1, 12, frames).

    source: "stft", a hamming window of 46 ms as in the paper, whose bins of 21.5 Hz do not resolve semitones below
    about 400 Hz; "cqt", 24 bins per octave over six octaves from C2. gamma: log(1 + gamma * magnitude) before the octaves
    are summed, 0 for none. norm: of each frame, "l2", "l1", "max" or "none".
    Raises ValueError for an unknown option.
    """

    def __init__(
        self,
        sample_rate: int = 22_050,
        hop: int = 512,
        source: Literal["stft", "cqt"] = "stft",
        n_fft: int = 1024,
        gamma: float = 0.0,
        norm: Literal["l2", "l1", "max", "none"] = "l2",
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        super().__init__(sample_rate, hop, normalise, source=source, n_fft=n_fft, gamma=gamma, norm=norm)
        self.chosen("source", source, ("stft", "cqt"))
        self.chosen("norm", norm, (*NORMS, "none"))
        if gamma < 0:
            raise ValueError(f"Chroma: gamma is {gamma}, expected 0 or more")
        self.channels, self.bins, self.gamma, self.norm = 1, 12, gamma, norm
        if source == "stft":
            self.spectrum, self.context = Spectrum(sample_rate, n_fft, hop), n_fft // 2
            fold = np.tile(np.eye(12), OCTAVES)
        else:
            self.spectrum = constant_q(C2 * 2 ** (np.arange(144) / 24), 24, sample_rate, hop)
            self.context = self.spectrum.context
            quarters = (np.eye(24) + np.roll(np.eye(24), 1, 0) / 2 + np.roll(np.eye(24), -1, 0) / 2)[::2]
            fold = np.tile(quarters, 6)  # a bin between two semitones counts half for either
        self.register_buffer("fold", torch.from_numpy(fold).float(), persistent=False)

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> chroma (batch, 1, 12, frames)."""
        if isinstance(self.spectrum, Spectrum):
            magnitude = self.spectrum(piece, semitones(C1, 12 * OCTAVES, self.spectrum.hertz(cents)))
        else:
            magnitude = self.spectrum(piece, cents)
        chroma = self.fold @ ((self.gamma * magnitude).log1p() if self.gamma else magnitude)
        if self.norm != "none":
            chroma = chroma / torch.linalg.vector_norm(chroma, NORMS[self.norm], 1, keepdim=True).clamp(min=CHROMA_FLOOR)
        return chroma[:, None]


MATCH_FLOOR = 1e-6  # least norm that a frame is divided by
HIGHEST = 127  # MIDI number above which all bins are one
BINS = 84


class SpectralRise(Front):
    """Half-wave rectified difference of a spectrum, the feature of MATCH: (batch, 1, 84, frames).

    Dixon and Widmer 2005: hamming window of 46 ms, hop 20 ms. FFT bins up to 710 Hz, where a semitone is two bins wide, then
    semitones, then one bin for all above MIDI 127. That gives the published 84 bins; the 370 Hz named in the paper would
    not. At 22,050 Hz the last two are empty. power: 1 for magnitudes, 2 for the energies of the paper.
    norm: of each frame: "none" as in the paper, "l1" as in later programs, "l2"; with a norm the frames between onsets
    weigh as much as onsets, and DTW by Euclidean distance finds a fifth fewer of them within 25 ms.
    Raises ValueError for an unknown option.
    """

    def __init__(
        self,
        sample_rate: int = 22_050,
        hop: int = 441,
        n_fft: int = 1024,
        power: Literal[1, 2] = 1,
        norm: Literal["l1", "l2", "none"] = "none",
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        super().__init__(sample_rate, hop, normalise, n_fft=n_fft, power=power, norm=norm)
        self.chosen("power", power, (1, 2))
        self.chosen("norm", norm, ("l1", "l2", "none"))
        self.channels, self.bins, self.norm = 1, BINS, norm
        self.spectrum = Spectrum(sample_rate, n_fft, hop, power=power)
        self.context = n_fft // 2 + hop

    def weights(self, cents: float) -> np.ndarray:
        """Filterbank (84, n_fft / 2 + 1) from FFT bins to output bins."""
        hertz = self.spectrum.hertz(cents)
        plain = int(2 / (2 ** (1 / 12) - 1))
        semitone = np.round(midi_of(np.maximum(hertz, 1.0))).astype(int)
        rows = np.where(np.arange(len(hertz)) <= plain, np.arange(len(hertz)), plain + semitone - semitone[plain])
        return (np.minimum(rows, min(plain + HIGHEST - semitone[plain], BINS - 1)) == np.arange(BINS)[:, None]).astype(float)

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> rise of the spectrum (batch, 1, bands, frames)."""
        power = self.spectrum(piece, self.weights(cents))
        rise = power.diff(dim=-1)[..., :-1].relu()  # the piece has an extra frame on either side
        if self.norm != "none":
            norm = torch.linalg.vector_norm(rise, 1 if self.norm == "l1" else 2, 1, keepdim=True)
            rise = rise / norm.clamp(min=MATCH_FLOOR)
        return rise[:, None]
