"""How strong each of the twelve pitch classes is, the paper's baseline."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.alignment.front.bands import semitones
from models.alignment.front.cqt import C2, constant_q
from models.alignment.front.front import Front
from models.alignment.front.stft import Spectrum

NORMS = {"l1": 1.0, "l2": 2.0, "max": float("inf")}
FAINT = 1e-3  # frames of a levelled recording whose norm is below are let fade, or silence would be blown up to noise
C1, OCTAVES = 24, 7


class Chroma(Front):
    """Pitch classes from C to B: (batch, 1, 12, frames).

    source: "stft", a hamming window of 46 ms as in the paper, whose bins of 21.5 Hz cannot tell semitones apart below
    about 400 Hz; "cqt", 24 bins an octave over six octaves from C2. gamma: log(1 + gamma * magnitude) before the octaves
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
            fold = np.tile(quarters, 6)  # what lies between two semitones counts half for either
        self.register_buffer("fold", torch.from_numpy(fold).float(), persistent=False)

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        if isinstance(self.spectrum, Spectrum):
            magnitude = self.spectrum(piece, semitones(C1, 12 * OCTAVES, self.spectrum.hertz(cents)))
        else:
            magnitude = self.spectrum(piece, cents)
        chroma = self.fold @ ((self.gamma * magnitude).log1p() if self.gamma else magnitude)
        if self.norm != "none":
            chroma = chroma / torch.linalg.vector_norm(chroma, NORMS[self.norm], 1, keepdim=True).clamp(min=FAINT)
        return chroma[:, None]
