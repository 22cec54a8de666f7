"""Clips of one split with labels and reference levels: position -> int16 samples, from a pack or from audio files."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from datamodules.audio import reading
from datamodules.audio.pack import Level, measure
from datamodules.common.errors import DataError, printable
from datamodules.common.left_out import UnreadableFlags


class Store(Protocol):
    """Audio of a data set by row, int16 (samples,) at one rate: `pack.Pack` or `FileAudio`."""

    def length(self, row: int) -> int:
        """Length in samples."""

    def claim(self, row: int) -> int:
        """Length in samples as declared by the file header: cheap, may be wrong."""

    def read(self, row: int, start: int, samples: int) -> np.ndarray:
        """Samples `start .. start + samples`, fewer at the end."""

    def whole(self, row: int) -> np.ndarray:
        """All samples."""


class FileAudio:
    """Store that decodes audio files at each read; raises DataError for a file that does not decode."""

    def __init__(self, root: Path, paths: np.ndarray, rate: int) -> None:
        self.root, self.paths, self.rate = root, paths, rate

    def length(self, row: int) -> int:
        """Length of the decoded file in samples: decodes it."""
        return reading.length(self._path(row), self.rate)

    def claim(self, row: int) -> int:
        """Length in samples as declared by the header."""
        return reading.claimed_length(self._path(row), self.rate)

    def read(self, row: int, start: int, samples: int) -> np.ndarray:
        """int16 samples `start .. start + samples`, decoding little more than those."""
        return reading.to_int16(reading.read(self._path(row), start, samples, self.rate))

    def whole(self, row: int) -> np.ndarray:
        """int16 samples of the whole file."""
        return reading.to_int16(reading.read_file(self._path(row), self.rate))

    def _path(self, row: int) -> Path:
        return self.root / str(self.paths[row])


class SharedRows:
    """Reference levels and unreadable flags of all rows, in memory shared by the loader processes.

    Args:
        rows: number of rows
        extractor: reference level of a clip; None if the network needs none
        levels: (rows,) float32 dB stored by `prepare`; default: measured on first use
    """

    def __init__(self, rows: int, extractor: Level | None, levels: np.ndarray | None = None) -> None:
        self.extractor = extractor
        self.levels = torch.full((rows,), torch.nan) if levels is None else torch.from_numpy(levels)
        self.levels.share_memory_()
        self.unreadable = UnreadableFlags(rows)

    def level(self, row: int, store: Store, whole: np.ndarray | None = None) -> float:
        """Reference level of a row in dB, NaN if the network needs none; `whole`: its samples, if already read."""
        if self.extractor is None:
            return float("nan")
        if self.levels[row].isnan():
            self.levels[row] = measure(self.extractor, store.whole(row) if whole is None else whole)
        return float(self.levels[row])


class Clips:
    """Clips of one split.

    Args:
        paths: (clips,) str relative to the root
        labels: (clips, tags) uint8
        rows: (clips,) row of each clip in `store` and `shared`
        store: audio
        shared: levels and unreadable flags
        strict: raise the DataError of an unreadable clip instead of logging it once per run
    """

    def __init__(
        self, paths: np.ndarray, labels: np.ndarray, rows: np.ndarray, store: Store, shared: SharedRows, strict: bool = False
    ) -> None:
        self.paths, self.labels, self.rows = paths, labels, rows
        self.store, self.shared, self.strict = store, shared, strict
        self.names = [printable(str(path)) for path in paths]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, clip: int) -> str:
        """Printable path of a clip."""
        return self.names[clip]

    def length(self, clip: int) -> int:
        """Length of a clip in samples."""
        return self.store.length(self.rows[clip])

    def claim(self, clip: int) -> int:
        """Length of a clip in samples as declared by its header."""
        return self.store.claim(self.rows[clip])

    def read(self, clip: int, start: int, samples: int) -> np.ndarray:
        """int16 samples `start .. start + samples` of a clip, fewer at its end."""
        return self.store.read(self.rows[clip], start, samples)

    def whole(self, clip: int) -> np.ndarray:
        """int16 samples of a whole clip."""
        return self.store.whole(self.rows[clip])

    def level(self, clip: int, whole: np.ndarray | None = None) -> float:
        """Reference level of a clip in dB, NaN if the network needs none."""
        return self.shared.level(self.rows[clip], self.store, whole)

    def report(self, clip: int, error: DataError) -> None:
        """Log an unreadable clip, once over all workers; raise the error if strict."""
        self.shared.unreadable.report(self.rows[clip], error, self.strict)
