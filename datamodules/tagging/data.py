"""Tagging data module: index of clips and tags -> random chunks for training, all chunks of a clip for evaluation."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.audio.clips import Clips
from datamodules.audio.packed import ClipLevel, PackedDataModule, report
from datamodules.audio.windows import Window, cover, crop, cut, won16
from datamodules.common.errors import DataError
from datamodules.common.input_spec import TaggingSpec
from datamodules.common.splits import SPLITS, Split
from datamodules.common.workers import read_or_replace


class Chunks(NamedTuple):
    """Item of the data sets: chunks of one clip."""

    audio: np.ndarray  # (chunks, samples) int16
    labels: np.ndarray  # (tags,) uint8
    clip: int
    weight: np.ndarray  # (chunks,)
    level: float
    start: np.ndarray  # (chunks,) s
    name: str


class ClipCrops(Dataset):
    """One random chunk per clip, a function of (index, seed); an unreadable clip is replaced by another."""

    def __init__(self, clips: Clips, window: Window) -> None:
        self.clips, self.window = clips, window

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: tuple[int, int]) -> Chunks:
        index, seed = item
        return read_or_replace(lambda clip: self._try(clip, seed), index, len(self), seed)

    def _try(self, clip: int, seed: int) -> Chunks | None:
        try:
            return self._crop(clip, np.random.default_rng(seed))
        except DataError as error:
            self.clips.report(clip, error)
            return None

    def _crop(self, clip: int, generator: np.random.Generator) -> Chunks:
        claim = self.clips.claim(clip)
        start, audio, end = self._read(clip, claim, generator)
        if end < min(start - self.window.lead + self.window.samples, claim):
            # The clip is shorter than its header declares: draw again from the decoded length.
            start, audio, _ = self._read(clip, self.clips.length(clip), generator)
        return _item(self.clips, clip, audio[None], np.ones(1), np.array([start]) / self.window.sample_rate, None)

    def _read(self, clip: int, samples: int, generator: np.random.Generator) -> tuple[int, np.ndarray, int]:
        """Start of the chunk, chunk, and end of the audio read, in samples of the clip."""
        start = crop(self.window, samples, generator)
        begin = max(0, start - self.window.lead)
        audio = self.clips.read(clip, begin, start - self.window.lead + self.window.samples - begin)
        return start, cut(audio, self.window, start, begin), begin + len(audio)


class ClipChunks(Dataset):
    """All chunks of a clip by a policy; None for an unreadable clip."""

    def __init__(self, clips: Clips, window: Window, policy: Callable) -> None:
        self.clips, self.window, self.policy = clips, window, policy

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: int) -> Chunks | None:
        try:
            whole = self.clips.whole(clip)
            starts, weights = self.policy(self.window, len(whole))
            chunks = np.stack([cut(whole, self.window, int(start)) for start in starts])
            return _item(self.clips, clip, chunks, weights, starts / self.window.sample_rate, whole)
        except DataError as error:
            self.clips.report(clip, error)
            return None


def _item(clips: Clips, clip: int, audio: np.ndarray, weight: np.ndarray, start: np.ndarray, whole: np.ndarray | None) -> Chunks:
    return Chunks(audio, clips.labels[clip], clip, weight, clips.level(clip, whole), start, clips.name(clip))


POLICIES = {"won16": won16, "cover": cover}


class TaggingBatch(NamedTuple):
    """Chunks of one or more clips, with the tags of their clip."""

    audio: Tensor  # (chunks, samples) int16
    labels: Tensor  # (chunks, tags) float32 in {0, 1}
    clip: Tensor  # (chunks,) int64, position of the clip in its split
    weight: Tensor  # (chunks,) float32, sums to 1 over a clip
    level: Tensor  # (chunks,) float32 dB, reference of the whole clip; NaN if the network needs none
    start: Tensor  # (chunks,) float32 s
    names: tuple[str, ...]  # (chunks,) path relative to the root


class Index(NamedTuple):
    """Clips, tags and splits of a data set."""

    audio: Path  # folder that the paths are relative to
    tags: list[str]
    paths: np.ndarray  # (clips,) str
    labels: np.ndarray  # (clips, tags) uint8
    split: np.ndarray  # (clips,) int8, position in SPLITS; -1: listed, but not in the chosen subset


class TaggingDataModule(PackedDataModule):
    """Base of the tagging data sets: subclasses read their files into an Index.

    Args:
        policy: chunks of a clip in evaluation: `won16` as the authors, `cover` the whole clip
    """

    spec_class = TaggingSpec

    task = "tagging"
    name = "tagging"
    layout = "a data set's folder"

    def __init__(self, root: str | None = None, policy: Literal["won16", "cover"] = "won16", **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.policy = policy

    def read_index(self, root: Path) -> Index:
        """Read the tables of the data set. Raises DataError if they are missing or invalid."""
        raise NotImplementedError(f"{type(self).__name__} lists no clips: choose a data set as --data.")

    @cached_property
    def index(self) -> Index:
        """Clips, tags and splits. Raises DataError for a wrong root."""
        return self.read_index(self.find_root())

    @property
    def tags(self) -> list[str]:
        """Names of the tags, in the order of the labels."""
        return self.index.tags

    def listing(self) -> tuple[Path, np.ndarray]:
        """Audio folder and paths of the index, of all splits."""
        return self.index.audio, self.index.paths

    def row_splits(self) -> list[str]:
        """Split of each listed clip, empty outside the subset."""
        return [SPLITS[split] if split >= 0 else "" for split in self.index.split.tolist()]

    def rate(self) -> int:
        """Sampling rate of the window, Hz."""
        return self.window.sample_rate

    @property
    def window(self) -> Window:
        """Chunk that the network reads. Raises ValueError before `connect`."""
        return self.spec.window

    def clip_level(self) -> ClipLevel | None:
        """The network's reference level of a clip."""
        return self.spec.clip_level

    def clips(self, split: Split) -> Clips:
        """Readable clips of a split. Raises DataError if there are none."""
        present = self.files.present
        rows = np.flatnonzero((self.index.split[present] == SPLITS.index(split)) & self.readable())
        if not len(rows):
            raise DataError(
                f"{self.name} ({self.subset}) has no readable clip of the {split} split in {self.index.audio}: expected "
                f"{self.layout}. {self.advice()}"
            )
        chosen = present[rows]
        return Clips(self.index.paths[chosen], self.index.labels[chosen], rows, *self.store, self.strict)

    def train_set(self) -> ClipCrops:
        """One random chunk per training clip."""
        return ClipCrops(self.clips("train"), self.window)

    def validation_set(self) -> ClipChunks:
        """All chunks of every validation clip."""
        return ClipChunks(self.clips("validation"), self.window, POLICIES[self.policy])

    def test_set(self) -> ClipChunks:
        """All chunks of every test clip."""
        return ClipChunks(self.clips("test"), self.window, POLICIES[self.policy])

    def collate(self, items: Sequence[Chunks | None]) -> TaggingBatch:
        """Batch of the items that are not None; without chunks if all are None."""
        read = [item for item in items if item is not None]
        if not read:
            return self._no_chunks()
        counts = [len(item.audio) for item in read]
        return TaggingBatch(
            audio=torch.from_numpy(np.concatenate([item.audio for item in read])),
            labels=torch.from_numpy(np.repeat(np.stack([item.labels for item in read]), counts, axis=0)).float(),
            clip=torch.from_numpy(np.repeat([item.clip for item in read], counts)),
            weight=torch.from_numpy(np.concatenate([item.weight for item in read])).float(),
            level=torch.from_numpy(np.repeat([item.level for item in read], counts)).float(),
            start=torch.from_numpy(np.concatenate([item.start for item in read])).float(),
            names=tuple(item.name for item, count in zip(read, counts, strict=True) for _ in range(count)),
        )

    def _no_chunks(self) -> TaggingBatch:
        none = torch.zeros(0)
        audio = torch.zeros(0, self.window.samples, dtype=torch.int16)
        return TaggingBatch(audio, torch.zeros(0, len(self.tags)), none.long(), none, none, none, ())

    def prepare(self, report_dir: Path) -> dict:
        """Build the pack (unless `pack: never`) and report present, missing and unreadable files in report.json."""
        pack = None if self.pack == "never" else self.build_pack()
        return report(self, pack, report_dir)
