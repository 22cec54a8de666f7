"""Pretrained front ends: pitch salience (Bittner et al. 2017) and Basic Pitch (Bittner et al. 2022)."""

import importlib.util
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.alignment.front.cqt import constant_q
from models.alignment.front.front import SILENCE, Front, Level, ratio
from models.alignment.keras_weights import FETCH, salience_weights
from models.alignment.salience import HARMONICS, REACH, DeepSalience
from models.blocks.features import as_float
from models.extractors.extractor import fill
from models.extractors.onnx import ONNXSession

RATE = 22_050
FINE = 256  # hop of both networks, samples
C1 = 32.7  # Hz
PER_OCTAVE = 60
BINS = 360
RANGE_DB = 80.0


class HCQT(Front):
    """Six constant-Q transforms from 0.5, 1, 2, 3, 4 and 5 times C1, 60 bins per octave: (batch, 6, 360, frames) in 0 to 1.

    Bittner et al. 2017: level in dB relative to the recording's largest value, -80 dB to 0, mapped to 0 to 1. Bins are
    weighted by the root of their window's length, as in librosa. Each recording is transformed twice, first to find its
    largest value. Harmonics an octave apart share their bins.
    """

    block = 2048

    def __init__(self, hop: int = FINE) -> None:
        super().__init__(RATE, hop)
        self.channels, self.bins = len(HARMONICS), BINS
        steps = np.round(PER_OCTAVE * np.log2(HARMONICS), 6)[:, None] + np.arange(BINS)  # bins of C1's transform
        unique, self.index = np.unique(steps, return_inverse=True)
        self.transform = constant_q(C1 * 2 ** (unique / PER_OCTAVE), PER_OCTAVE, RATE, hop)
        self.context = self.transform.context
        self.weights = 2.0 ** (-unique / PER_OCTAVE / 2)

    @property
    def hertz(self) -> np.ndarray:
        """Frequencies of the bins of the first harmonic: (360,) Hz."""
        return C1 * 2 ** (np.arange(BINS) / PER_OCTAVE)

    def leveller(self, audio: Tensor, cents: float = 0.0) -> Level:
        """Scale to a largest magnitude of 1."""
        spans = self.spans(self.n_frames(audio.shape[-1]))
        peaks = [self.magnitude(as_float(self.piece(audio, first, last)), cents).amax((1, 2)) for first, last in spans]
        peak = peaks[0]
        for other in peaks[1:]:
            peak = peak.maximum(other)
        return lambda piece: as_float(piece) / peak.clamp(min=SILENCE)[:, None]

    def magnitude(self, piece: Tensor, cents: float) -> Tensor:
        """Magnitudes (batch, distinct bins, frames) of a piece."""
        magnitude = self.transform(piece, cents)
        return magnitude * magnitude.new_tensor(self.weights)[:, None]

    def analyse(self, piece: Tensor, cents: float) -> Tensor:
        """Audio (batch, samples) -> harmonic constant-Q magnitudes (batch, harmonics, bins, frames)."""
        magnitude = self.magnitude(piece, cents)
        level = (magnitude.clamp(min=10 ** (-RANGE_DB / 20)).log10() * (20 / RANGE_DB)).add(1.0)
        index = magnitude.new_tensor(self.index, dtype=int).flatten()
        return level.index_select(1, index).unflatten(1, (len(HARMONICS), BINS))


class Salience(Front):
    """Salience of the semitones C1 to B6 by the network of Bittner et al. 2017: (batch, 1, 72, frames) in 0 to 1.

    weights: their Keras .h5 (needs the extra `h5`), or a .safetensors or torch.save file of our `DeepSalience`; None for an
    untrained network. It is always in evaluation mode, without gradients.
    hop: 256, or 512: the maximum over the frame of 256 samples at the centre and its two neighbours. The largest of the
    five bins of a semitone counts. Recordings are levelled by their largest value.

    Raises ValueError for weights that do not fit or are missing, and for another hop.
    """

    block = 2048

    def __init__(self, weights: str | None = None, hop: Literal[256, 512] = 512) -> None:
        super().__init__(RATE, hop)
        self.chosen("hop", hop, (FINE, 2 * FINE))
        self.channels, self.bins = 1, BINS // 5
        self.hcqt, self.net = HCQT(), DeepSalience()
        fill(self.net, weights, random_init=True, where=FETCH, read=salience_weights)
        self.requires_grad_(False).eval()
        self.context = self.hcqt.context

    @property
    def hertz(self) -> np.ndarray:
        """Frequencies of the bins of `salience`: (360,) Hz."""
        return self.hcqt.hertz

    def train(self, mode: bool = True) -> "Salience":
        """The network stays in evaluation mode."""
        super().train(mode)
        self.net.eval()
        return self

    def salience(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        """Salience (batch, 360, frames) in fifths of a semitone, one frame per 256 samples."""
        self.check(audio, cents)
        return self._fine(audio, 0, 1 + audio.shape[-1] // FINE, cents, self.leveller(audio, cents))

    def leveller(self, audio: Tensor, cents: float = 0.0) -> Level:
        return self.hcqt.leveller(audio, cents)

    def span(self, audio: Tensor, first: int, last: int, cents: float = 0.0, level: Level = as_float) -> Tensor:
        step = self.hop // FINE
        margin = step // 2
        start, stop = max(0, step * first - margin), min(1 + audio.shape[-1] // FINE, step * (last - 1) + margin + 1)
        fine = F.pad(self._fine(audio, start, stop, cents, level), (0, 0, 2, 0))  # bin 0 is the middle of its semitone
        rows = F.max_pool2d(fine, (5, 1), (5, 1))
        left = start - (step * first - margin)
        return F.max_pool1d(F.pad(rows, (left, step)), 2 * margin + 1, step)[:, None, :, : last - first]

    def _fine(self, audio: Tensor, start: int, stop: int, cents: float, level: Level) -> Tensor:
        """Salience (batch, 360, stop - start), zero-padded beyond the recording's ends."""
        left, right = max(0, start - REACH), min(1 + audio.shape[-1] // FINE, stop + REACH)
        return self.net.salience(self.hcqt.span(audio, left, right, cents, level))[..., start - left : stop - left]


# Basic Pitch

WINDOW, FRAMES, EDGE = 43_844, 172, 15  # samples and frames of one window; unused frames at either end
KEPT = FRAMES - 2 * EDGE
OUTPUTS = "StatefulPartitionedCall:2", "StatefulPartitionedCall:1"  # onsets, notes
FILE = Path("saved_models", "icassp_2022", "nmp.onnx")
BASIC_PITCH_SOURCE = "pip install --no-deps basic-pitch==0.4.0"
WINDOWS = 16  # per batch


class BasicPitch(Front):
    """Onset and note probabilities of the 88 piano keys: (batch, 2, 88, frames), channel 0 the onsets.

    Bittner et al. 2022 (basic-pitch). Windows of 2 s are 36,352 samples apart, so that the 142 frames kept of each are
    exactly 256 samples apart: the package's own 36,164 make times drift by 5 ms/s unless corrected.
    hop: 256, or 512: the maximum over the frame of 256 samples at the centre and its two neighbours.
    weights: path of an nmp.onnx, by default the one inside the package, which is not imported. Needs the extra `onnx`.
    Recordings out of tune are resampled to be in tune. Computed on the CPU. The network levels each window separately, so
    it may report notes in 2 s of noise.

    Raises ValueError if package or file are missing, for a file of another network and for another hop.
    """

    channels, bins = 2, 88

    def __init__(
        self,
        weights: str | None = None,
        hop: Literal[256, 512] = 512,
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        self.path = packaged() if weights is None else weights
        session = ONNXSession(self.path, None)
        names = [value.name for value in session.session.get_outputs()]
        if not set(OUTPUTS) <= set(names) or session.input.shape[1:] != [WINDOW, 1]:
            raise ValueError(f"{self.path} is not the network of basic-pitch, whose file is in the package: {BASIC_PITCH_SOURCE}")
        super().__init__(RATE, hop, normalise, file=session.digest)
        self.chosen("hop", hop, (FINE, 2 * FINE))
        self.session: ONNXSession | None = session

    def __getstate__(self) -> dict[str, Any]:
        """State without the session, which cannot be pickled: a copy reopens the file."""
        return {**self.__dict__, "session": None}

    def forward(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        self.check(audio, cents)
        audio = self.levelled(audio).float()
        features = np.stack([self._at(recording, cents) for recording in audio.cpu().numpy()])
        return torch.from_numpy(features).to(audio.device)

    def _at(self, audio: np.ndarray, cents: float) -> np.ndarray:
        """Probabilities (2, 88, frames) of one recording, at the times of its own frames."""
        frames, slower = self.n_frames(len(audio)), ratio(cents)
        if cents:
            import soxr

            audio = soxr.resample(audio, RATE, RATE * slower)
        fine = self._fine(audio)
        around = self.hop // FINE // 2
        middle = np.rint(np.arange(frames) * (self.hop / FINE * slower)).astype(int)
        places = np.clip(middle + np.arange(-around, around + 1)[:, None], 0, fine.shape[-1] - 1)
        return fine[..., places].max(2)

    def _fine(self, audio: np.ndarray) -> np.ndarray:
        """Probabilities (2, 88, frames), one frame per 256 samples."""
        if self.session is None:
            self.session = ONNXSession(self.path, None)
        frames = 1 + len(audio) // FINE
        count = -(-frames // KEPT)
        behind = (count - 1) * KEPT * FINE + WINDOW - EDGE * FINE - len(audio)
        padded = np.pad(audio, (EDGE * FINE, max(0, behind)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:: KEPT * FINE][:count, :, None]
        name, outputs = self.session.input.name, []
        for first in range(0, count, WINDOWS):
            both = self.session.session.run(list(OUTPUTS), {name: np.ascontiguousarray(windows[first : first + WINDOWS])})
            outputs.append(np.stack(both)[:, :, EDGE : EDGE + KEPT])
        return np.concatenate(outputs, 1).reshape(2, -1, self.bins)[:, :frames].transpose(0, 2, 1)


def packaged() -> str:
    """Path of the network inside the package basic-pitch, located without importing it."""
    spec = importlib.util.find_spec("basic_pitch")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (Path(folder) / FILE).is_file():
            return str(Path(folder) / FILE)
    raise ValueError(
        f"BasicPitch needs the file nmp.onnx of the package basic-pitch: {BASIC_PITCH_SOURCE}, or give its path as `weights`"
    )
