"""A user's own songs to separate: files, folders and globs, opened but not decoded, all channels kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Dataset

from datamodules.audio import as_waveform
from datamodules.decoding import BLOCK, UNREADABLE, Source
from datamodules.errors import DataError
from datamodules.files import UserFiles
from datamodules.sample_rate import check_rate


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
        return _Songs(self.paths(), self.strict)


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


def open_song(path: "str | Path | LoadedSong") -> "Song | VideoSong | LoadedSong":
    """Open a file to be read block by block with its channels. Raises DataError where it does not open."""
    if isinstance(path, LoadedSong):
        return path
    if not str(path).lower().endswith(UNREADABLE):
        return Song(path)
    try:
        return Song(path)  # the ending may lie
    except DataError as error:
        return VideoSong(path, error)


class Song:
    """A file that libsndfile reads; `frames` is what its header claims, `damage` why decoding stopped early."""

    def __init__(self, path: str | Path) -> None:
        self.source = Source(path, mono=False)
        self.path, self.rate, self.channels = self.source.path, self.source.rate, self.source.channels
        self.frames = max(0, min(self.source.file.frames, self.source.plausible))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.source.file.close()

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


class VideoSong:
    """The first sound of a file that PyAV reads (mp4, m4a, aac, wma ...), where the extra `video` is installed.

    why_not: the error of the ordinary reader, raised where PyAV is missing or fails too
    """

    def __init__(self, path: str | Path, why_not: DataError) -> None:
        try:
            import av
        except ImportError:
            raise DataError(f"{why_not} Or read it as it is, with `pip install -e '.[video]'`.") from None
        self.path, self.damage = str(path), None
        try:
            self.container = av.open(self.path)
            stream = self.container.streams.audio[0]
        except (av.FFmpegError, OSError, IndexError):
            raise why_not from None
        self._stream, self._broken = stream, av.FFmpegError
        self.rate = check_rate(path, stream.codec_context.sample_rate)
        self.channels = stream.codec_context.layout.nb_channels
        self.frames = int((stream.duration or 0) * stream.time_base * self.rate)

    __enter__, __exit__ = Song.__enter__, Song.__exit__

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 (frames, channels), block by block. Raises DataError where there is none, or NaN in it."""
        import av

        convert = av.AudioResampler(format="fltp", layout=self._stream.codec_context.layout.name, rate=self.rate)
        total = 0
        frames = self.container.decode(self._stream)
        while True:
            try:
                decoded = next(frames, None)
                pieces = convert.resample(decoded)
            except (self._broken, OSError):
                self.damage = f"breaks off at {total / self.rate:.1f} s"
                break
            for piece in pieces:
                block = np.ascontiguousarray(piece.to_ndarray().T, dtype=np.float32)
                if not np.isfinite(block).all():
                    raise DataError(f"{self.path} holds NaN or infinite samples: replace it or leave it out.")
                total += len(block)
                yield block
            if decoded is None:
                break
        if not total:
            raise DataError(f"{self.path} holds no audio: replace it or leave it out.")
