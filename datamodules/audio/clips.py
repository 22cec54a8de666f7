"""The clips of one split, wherever their audio lies: in the files themselves or in a pack."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from datamodules.audio import reading
from datamodules.audio.pack import Level, measure
from datamodules.common.errors import DataError, printable
from datamodules.common.left_out import NamedOnce


class Store(Protocol):
    """Audio of a data set by row, int16 at one rate: `pack.Pack` or `FileAudio`."""

    def length(self, row: int) -> int:
        """Samples that the row holds."""

    def claim(self, row: int) -> int:
        """Samples that the row is said to hold; costs little, never to be trusted."""

    def read(self, row: int, start: int, samples: int) -> np.ndarray:
        """Samples `start .. start + samples` as far as they go."""

    def whole(self, row: int) -> np.ndarray:
        """All samples."""


class FileAudio:
    """Clips decoded from their files at each reading; raises DataError by name for one that does not decode."""

    def __init__(self, root: Path, paths: np.ndarray, rate: int) -> None:
        self.root, self.paths, self.rate = root, paths, rate

    def length(self, row: int) -> int:
        """Samples that decoding yields: decodes the file."""
        return reading.length(self._path(row), self.rate)

    def claim(self, row: int) -> int:
        """Samples that the header claims."""
        return reading.claimed_length(self._path(row), self.rate)

    def read(self, row: int, start: int, samples: int) -> np.ndarray:
        """int16 samples `start .. start + samples`, decoding little more than them."""
        return reading.to_int16(reading.read(self._path(row), start, samples, self.rate))

    def whole(self, row: int) -> np.ndarray:
        """int16 samples of the whole file."""
        return reading.to_int16(reading.read_file(self._path(row), self.rate))

    def _path(self, row: int) -> Path:
        return self.root / str(self.paths[row])


class SharedRows:
    """What the loader processes of a run share about each row: its reference level, and whether it was named as bad.

    levels (rows,) float32 dB: from the table that `prepare` stored, else measured once and kept.
    """

    def __init__(self, rows: int, extractor: Level | None, levels: np.ndarray | None = None) -> None:
        self.extractor = extractor
        self.levels = torch.full((rows,), torch.nan) if levels is None else torch.from_numpy(levels)
        self.levels.share_memory_()
        self.unreadable = NamedOnce(rows)

    def level(self, row: int, store: Store, whole: np.ndarray | None = None) -> float:
        """dB of a row; NaN where the network needs none. `whole`: its samples, if at hand."""
        if self.extractor is None:
            return float("nan")
        if self.levels[row].isnan():
            self.levels[row] = measure(self.extractor, store.whole(row) if whole is None else whole)
        return float(self.levels[row])


class Clips:
    """One split: `paths` (clips,) str relative to the root, `labels` (clips, tags) uint8, and their audio by position.

    A clip that cannot be read is named once per run, unless `strict`: then its DataError is raised.
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
        """Path of a clip, safe to print and to log."""
        return self.names[clip]

    def length(self, clip: int) -> int:
        """Samples of a clip."""
        return self.store.length(self.rows[clip])

    def claim(self, clip: int) -> int:
        """Samples that a clip is said to have."""
        return self.store.claim(self.rows[clip])

    def read(self, clip: int, start: int, samples: int) -> np.ndarray:
        """int16 samples `start .. start + samples` of a clip, as far as it goes."""
        return self.store.read(self.rows[clip], start, samples)

    def whole(self, clip: int) -> np.ndarray:
        """int16 samples of a whole clip."""
        return self.store.whole(self.rows[clip])

    def level(self, clip: int, whole: np.ndarray | None = None) -> float:
        """Reference level of a clip in dB, NaN where the network needs none."""
        return self.shared.level(self.rows[clip], self.store, whole)

    def report(self, clip: int, error: DataError) -> None:
        """Name an unreadable clip, once over all workers; raise instead if strict."""
        self.shared.unreadable.report(self.rows[clip], error, self.strict)
