"""A user's own songs to separate: files, folders and globs, opened but not decoded, all channels kept."""

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
    """One file: its path, and why it does not open (None: it does)."""

    path: str
    error: str | None


class Songs(UserFiles):
    """Files to separate; only their headers are read here, since a song may be hours long.

    Args:
        sources: names of the stems, which the checkpoint knows
    """

    name = "songs"

    def __init__(self, inputs: list[str] | str | None = None, sources: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, **kwargs)
        self.sources = list(sources or [])

    def predict_set(self) -> Dataset:
        """The files, each as a `SongBatch`."""
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
    """Open a file to be read block by block with its channels. Raises DataError where it does not open."""
    return path if isinstance(path, LoadedSong) else Song(path)


class Song:
    """A sound file or film; `frames` is what its header claims, `damage` why decoding stopped early."""

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
        """Why decoding stopped early, after the last block; None: it did not."""
        return self.source.damage

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 (frames, channels), block by block. Raises DataError where there is none, or NaN in it."""
        return self.source.blocks()


class LoadedSong:
    """Audio in memory, (channels, samples) or (samples,), read as a file would be.

    Raises ValueError for other shapes and for integers but int16.
    """

    path, damage = "the audio in memory", None

    def __init__(self, audio: ArrayLike, rate: int) -> None:
        self.audio, self.rate = as_waveform(audio), rate
        self.channels, self.frames = self.audio.shape

    __enter__, __exit__ = Song.__enter__, Song.__exit__

    def close(self) -> None:
        """Nothing to close."""

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 (frames, channels), block by block. Raises DataError where there is none, or NaN in it."""
        if not self.frames:
            raise DataError(f"{self.path} has no samples.")
        if not np.isfinite(self.audio).all():
            raise DataError(f"{self.path} holds NaN or infinite samples.")
        for start in range(0, self.frames, BLOCK):
            yield np.ascontiguousarray(self.audio[:, start : start + BLOCK].T)
