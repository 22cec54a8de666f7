"""Recordings of any kind, sound files and films alike, as mono audio; and a user's own of them to predict on."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules import audio, av_audio
from datamodules.errors import DataError
from datamodules.files import DecodedFiles, UserFiles

FILMS = (".mp4", ".mkv", ".webm", ".mov", ".avi")
"""Endings of films."""
SOUNDING = (*FILMS, ".m4a")
"""Endings whose sound PyAV reads."""


def read(path: str | Path, rate: int) -> np.ndarray:
    """Sound of a file or film, mono float32 (samples,) at `rate` Hz. Raises DataError where it does not decode."""
    return decode(path, rate).audio


def decode(path: str | Path, rate: int) -> audio.Decoded:
    """The same, with a sentence on any damage."""
    if Path(path).suffix.lower() not in SOUNDING:
        return audio.decode(path, rate)
    import soxr

    blocks = [block.mean(1) for stream, block in av_audio.blocks(path) if stream == 0]
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    mono = soxr.resample(mono, av_audio.header(path).sample_rate, rate).astype(np.float32)
    if not len(mono):
        raise DataError(f"{path} holds no sound: expected a film with a sound track.")
    if not np.isfinite(mono).all():
        raise DataError(f"{path} holds NaN or infinity: replace it or leave it out.")
    return audio.Decoded(mono, None)


class Recordings(UserFiles):
    """Sound files and films to predict on; one that cannot be read is yielded with its error.

    Args:
        classes: names of the network's outputs, which its checkpoint knows

    `sample_rate`, the network's, is handed over before the loaders are made.
    """

    sample_rate: int | None = None

    def __init__(self, inputs: list[str] | str | None = None, classes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.classes = list(classes or [])

    def predict_set(self) -> Dataset:
        """Every file, decoded. Raises DataError where an input names nothing."""
        if self.sample_rate is None:
            raise ValueError("Tell the data the network's rate first: data.sample_rate = ...")
        return DecodedFiles(self.paths(), partial(decode, rate=self.sample_rate), self.strict)
