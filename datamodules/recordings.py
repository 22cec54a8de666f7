"""Recordings of any kind, sound files and films alike, as mono audio; and a user's own of them to predict on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules import audio, av_audio
from datamodules.base import SuiteData
from datamodules.errors import DataError
from datamodules.files import FileBatch, find

FILMS = (".mp4", ".m4a", ".mkv", ".webm", ".mov", ".avi")
"""Endings that PyAV reads."""


def read(path: str | Path, rate: int) -> np.ndarray:
    """Sound of a file or film, mono float32 (samples,) at `rate` Hz. Raises DataError where it does not decode."""
    if Path(path).suffix.lower() not in FILMS:
        return audio.read_file(path, rate)
    import soxr

    blocks = [block.mean(1) for stream, block in av_audio.blocks(path) if stream == 0]
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    mono = soxr.resample(mono, av_audio.header(path).sample_rate, rate).astype(np.float32)
    if not len(mono):
        raise DataError(f"{path} holds no sound: expected a film with a sound track.")
    if not np.isfinite(mono).all():
        raise DataError(f"{path} holds NaN or infinity: replace it or leave it out.")
    return mono


class Recordings(SuiteData):
    """Sound files and films to predict on, shared among the ranks; one that cannot be read is yielded with its error.

    Args:
        inputs: files, folders (searched to any depth) and globs, alone or in a list
        classes: names of the network's outputs, which its checkpoint knows
        num_workers: processes that decode ahead
        strict: stop at the first file that cannot be read

    `sample_rate`, the network's, is handed over before the loaders are made.
    """

    name = "files"
    sample_rate: int | None = None

    def __init__(
        self,
        inputs: list[str] | str | None = None,
        classes: list[str] | None = None,
        num_workers: int = 0,
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        super().__init__(num_workers=num_workers, seed=seed, strict=strict)
        self.inputs, self.classes = [inputs] if isinstance(inputs, str) else list(inputs or []), list(classes or [])

    def predict_set(self) -> Dataset:
        """Every file once, sorted. Raises DataError where an input names nothing."""
        if self.sample_rate is None:
            raise ValueError("Tell the data the network's rate first: data.sample_rate = ...")
        return _Recordings(find(self.inputs), self.sample_rate, self.strict)

    def evaluation_collate(self, items: Sequence[FileBatch]) -> FileBatch:
        """The one file of a batch."""
        return items[0]


class _Recordings(Dataset):
    def __init__(self, paths: list[str], rate: int, strict: bool) -> None:
        self.paths, self.rate, self.strict = paths, rate, strict

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> FileBatch:
        try:
            return FileBatch(self.paths[index], torch.from_numpy(read(self.paths[index], self.rate)), None)
        except DataError as error:
            if self.strict:
                raise
            return FileBatch(self.paths[index], torch.zeros(0), str(error))
