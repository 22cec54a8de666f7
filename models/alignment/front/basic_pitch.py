"""Onsets and notes as a published transcription network hears them, from the ONNX file of another package."""

import importlib.util
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.alignment.front.front import Front, ratio
from models.extractors.onnx import Session

RATE = 22_050
FINE = 256  # samples from one frame of the network to the next
WINDOW, FRAMES, EDGE = 43_844, 172, 15  # samples and frames of one window; frames at either end that are not used
KEPT = FRAMES - 2 * EDGE
OUTPUTS = "StatefulPartitionedCall:2", "StatefulPartitionedCall:1"  # onsets, notes
FILE = Path("saved_models", "icassp_2022", "nmp.onnx")
FETCH = "pip install --no-deps basic-pitch==0.4.0"
WINDOWS = 16  # at once


class BasicPitch(Front):
    """Probabilities of onset and of sounding of the 88 keys of a piano: (batch, 2, 88, frames), channel 0 the onsets.

    Bittner et al. 2022 (basic-pitch). Windows of 2 s are 36,352 samples apart, so that the 142 frames kept of each follow one
    another in steps of 256 samples exactly: the package's own 36,164 make times drift by 5 ms/s unless that is undone.
    hop: 512, for which the maximum is taken over the frame of 256 samples there and its two neighbours, or 256.
    weights: path of an nmp.onnx, by default the one inside the package, which is not imported. Needs the extra `onnx`.
    Recordings out of tune are resampled to be in tune. Computed on the CPU. The network levels each window by itself, so
    where nothing but noise is heard for 2 s it may hear notes in it.

    Raises ValueError without package or file, for a file of another network and for another hop.
    """

    channels, bins = 2, 88

    def __init__(
        self,
        weights: str | None = None,
        hop: Literal[256, 512] = 512,
        normalise: Literal["loud", "peak", "none"] = "loud",
    ) -> None:
        self.path = packaged() if weights is None else weights
        session = Session(self.path, None)
        names = [value.name for value in session.session.get_outputs()]
        if not set(OUTPUTS) <= set(names) or session.input.shape[1:] != [WINDOW, 1]:
            raise ValueError(f"{self.path} is another network than basic-pitch, whose file lies in the package: {FETCH}")
        super().__init__(RATE, hop, normalise, file=session.digest)
        self.chosen("hop", hop, (FINE, 2 * FINE))
        self.session: Session | None = session

    def __getstate__(self) -> dict[str, Any]:
        """Without the session, which cannot be copied: a copy opens the file again."""
        return {**self.__dict__, "session": None}

    def forward(self, audio: Tensor, cents: float = 0.0) -> Tensor:
        audio = self.levelled(self.checked(audio, cents))
        found = np.stack([self._at(one, cents) for one in audio.cpu().numpy()])
        return torch.from_numpy(found).to(audio.device)

    def _at(self, audio: np.ndarray, cents: float) -> np.ndarray:
        """(2, 88, frames) of one recording, at its own frames' times."""
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
        """(2, 88, frames), a frame every 256 samples."""
        if self.session is None:
            self.session = Session(self.path, None)
        frames = 1 + len(audio) // FINE
        count = -(-frames // KEPT)
        behind = (count - 1) * KEPT * FINE + WINDOW - EDGE * FINE - len(audio)
        padded = np.pad(audio, (EDGE * FINE, max(0, behind)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:: KEPT * FINE][:count, :, None]
        name, found = self.session.input.name, []
        for first in range(0, count, WINDOWS):
            both = self.session.session.run(list(OUTPUTS), {name: np.ascontiguousarray(windows[first : first + WINDOWS])})
            found.append(np.stack(both)[:, :, EDGE : EDGE + KEPT])
        return np.concatenate(found, 1).reshape(2, -1, self.bins)[:, :frames].transpose(0, 2, 1)


def packaged() -> str:
    """The network's file inside the package basic-pitch, found without importing it."""
    spec = importlib.util.find_spec("basic_pitch")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (Path(folder) / FILE).is_file():
            return str(Path(folder) / FILE)
    raise ValueError(f"BasicPitch needs the file nmp.onnx of the package basic-pitch: {FETCH}, or give its path as `weights`")
