"""Recordings of any kind, sound files and films alike, as mono audio; and a user's own of them to predict on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules import audio, av_audio
from datamodules.errors import DataError
from datamodules.files import FileBatch, UserFiles
from datamodules.level import downmix

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

    blocks = [block for stream, block in av_audio.blocks(path) if stream == 0]
    mono, remark = downmix(np.concatenate(blocks)) if blocks else (np.zeros(0, np.float32), None)
    mono = soxr.resample(mono, av_audio.header(path).sample_rate, rate).astype(np.float32)
    if not len(mono):
        raise DataError(f"{path} holds no sound: expected a film with a sound track.")
    return audio.Decoded(audio.require_finite(mono, path), None, remark)


class Stream:
    """A recording as blocks (samples,) of mono float32 at `rate`, which together are what `decode` gives.

    Sound files are never held whole, films are. `damage` and `remark` are those of `decode`, known after the last block.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        self.path, self.rate = path, rate
        self.damage: str | None = None
        self.remark: str | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        if Path(self.path).suffix.lower() in SOUNDING:
            decoded = decode(self.path, self.rate)
            yield decoded.audio
            self.damage, self.remark = decoded.damage, decoded.remark
            return
        stream = audio.Stream(self.path, self.rate)
        yield from stream
        self.damage, self.remark = stream.damage, stream.remark


class Recordings(UserFiles):
    """Sound files and films to predict on, named but not read: one may be hours long.

    Args:
        classes: names of the network's outputs, which its checkpoint knows

    `sample_rate`, the network's, is handed over before the loaders are made.
    """

    sample_rate: int | None = None

    def __init__(self, inputs: list[str] | str | None = None, classes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.classes = list(classes or [])

    def predict_set(self) -> Dataset:
        """Every file by its path. Raises DataError where an input names nothing."""
        return ListedFiles(self.paths())


class ListedFiles(Dataset):
    """Files as `FileBatch` without their audio."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> FileBatch:
        return FileBatch(self.paths[index], torch.zeros(0), None)
