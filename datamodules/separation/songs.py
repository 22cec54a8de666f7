"""Inputs of separation: files, folders and globs -> songs, opened but not decoded, with all channels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Dataset

from datamodules.audio.decoding import BLOCK, open_source
from datamodules.audio.files import UserFiles
from datamodules.audio.reading import as_waveform
from datamodules.common.errors import DataError


class SongBatch(NamedTuple):
    """One file."""

    path: str
    error: str | None  # reason why it cannot be opened


class Songs(UserFiles):
    """Files to separate; only their headers are read, since a song may be hours long.

    Args:
        sources: names of the stems, from the checkpoint
    """

    name = "songs"

    def __init__(self, inputs: list[str] | str | None = None, sources: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.sources = list(sources or [])

    def predict_set(self) -> Dataset:
        """Files as `SongBatch`."""
        return _Songs([item.path for item in self.remaining()], self.strict)


class _Songs(Dataset):
    def __init__(self, paths: list[str], strict: bool) -> None:
        self.paths, self.strict = paths, strict

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> SongBatch:
        path = self.paths[index]
        try:
            open_song(path).close()
        except DataError as error:
            if self.strict:
                raise
            return SongBatch(path, str(error))
        return SongBatch(path, None)


def open_song(path: "str | Path | LoadedSong") -> "Song | LoadedSong":
    """Open a file for reading in blocks, with all channels. Raises DataError if it cannot be opened."""
    return path if isinstance(path, LoadedSong) else Song(path)


class Song:
    """Open audio or video file; `frames` is declared by its header and may be wrong."""

    def __init__(self, path: str | Path) -> None:
        self.source = open_source(path, mono=False)
        self.path, self.rate, self.channels = self.source.path, self.source.rate, self.source.channels
        self.frames = self.source.expected

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    @property
    def damage(self) -> str | None:
        """Reason why decoding stopped early, after the last block, or None."""
        return self.source.damage

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks (frames, channels) float32. Raises DataError if there is no audio or it holds NaN."""
        return self.source.blocks()


class LoadedSong:
    """Audio in memory, (channels, samples) or (samples,), with the interface of `Song`.

    Raises:
        ValueError: other shapes, or integers other than int16.
    """

    path, damage = "the audio in memory", None

    def __init__(self, audio: ArrayLike, rate: int) -> None:
        self.audio, self.rate = as_waveform(audio), rate
        self.channels, self.frames = self.audio.shape

    __enter__, __exit__ = Song.__enter__, Song.__exit__

    def close(self) -> None:
        """Do nothing."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks (frames, channels) float32. Raises DataError if there is no audio or it holds NaN."""
        if not self.frames:
            raise DataError(f"{self.path} has no samples.")
        if not np.isfinite(self.audio).all():
            raise DataError(f"{self.path} holds NaN or infinite samples.")
        for start in range(0, self.frames, BLOCK):
            yield np.ascontiguousarray(self.audio[:, start : start + BLOCK].T)
