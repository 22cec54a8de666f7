"""Tagging data: random crops to train on, all chunks of a clip to evaluate, from any data set with an index of tags."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules import coverage
from datamodules.chunks import Chunks, ClipChunks, Crops
from datamodules.clips import Clips, FileAudio, Shared, Store
from datamodules.errors import DataError
from datamodules.pack import UNREADABLE, Pack, level_key, pack_folder
from datamodules.packing import build
from datamodules.rooted import RootedData
from datamodules.splits import SPLITS, Split
from datamodules.windows import Window, cover, won16

log = logging.getLogger(__name__)

POLICIES = {"won16": won16, "cover": cover}


class TaggingBatch(NamedTuple):
    """Chunks of one or more clips, with the tags of their clip."""

    audio: Tensor  # (chunks, samples) int16
    labels: Tensor  # (chunks, tags) float32 in {0, 1}
    clip: Tensor  # (chunks,) int64, position of the clip in its split
    weight: Tensor  # (chunks,) float32, sums to 1 over a clip
    level: Tensor  # (chunks,) float32 dB, reference of the whole clip; NaN where the network needs none
    start: Tensor  # (chunks,) float32 s
    names: tuple[str, ...]  # (chunks,) path relative to the root


class Index(NamedTuple):
    """What a data set's own files list."""

    audio: Path  # folder that the paths are relative to
    tags: list[str]
    paths: np.ndarray  # (clips,) str
    labels: np.ndarray  # (clips, tags) uint8
    split: np.ndarray  # (clips,) int8, position in SPLITS; -1: listed, but not in the chosen subset


class Files(NamedTuple):
    """Rows of the index by what lies on disk."""

    present: np.ndarray
    missing: np.ndarray
    empty: np.ndarray


class TaggingData(RootedData):
    """Any tagging data set: subclasses read its files into an Index.

    Args:
        pack: read from the pack that `prepare` builds: `auto` if it is there, `require` it, `build` it when first
            needed, or `never`: decode the files themselves
        policy: chunks of a clip in evaluation: `won16` as the authors, `cover` the whole clip
        eval_batch_size: clips per evaluation batch on each rank

    `window` and `clip_level` are handed over before the loaders are made: what a chunk is, and the network's
    reference level (1,) dB of a whole clip (1, samples), None where it needs none.
    """

    task = "tagging"
    name = "tagging"
    layout = "a data set's folder"
    window: Window | None = None
    clip_level: Callable[[Tensor], Tensor] | None = None

    def __init__(
        self,
        root: str | None = None,
        pack: Literal["auto", "require", "build", "never"] = "auto",
        policy: Literal["won16", "cover"] = "won16",
        eval_batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        if eval_batch_size < 1:
            raise ValueError(f"eval_batch_size must be positive: {eval_batch_size}.")
        self.pack, self.policy, self.eval_batch_size = pack, policy, eval_batch_size

    def read_index(self, root: Path) -> Index:
        """Every clip that the data set's own files list. Raises DataError where they are absent or not as expected."""
        raise NotImplementedError(f"{type(self).__name__} lists no clips: choose a data set as --data.")

    @cached_property
    def index(self) -> Index:
        """What is listed. Raises DataError for a wrong root."""
        return self.read_index(self.find_root())

    @property
    def tags(self) -> list[str]:
        """Names of the tags, in the order of the labels."""
        return self.index.tags

    @cached_property
    def files(self) -> Files:
        """Which listed files are there. Raises DataError where none is, or, if strict, where one is not."""
        audio, paths = self.index.audio, self.index.paths
        sizes = coverage.sizes(audio, paths)
        found = Files(np.flatnonzero(sizes > 0), np.flatnonzero(sizes < 0), np.flatnonzero(sizes == 0))
        if not len(found.present):
            first = f" (the first would be {audio / str(paths[0])})" if len(paths) else ""
            raise DataError(
                f"None of the {len(paths)} listed audio files is in {audio}{first}: --data.root must name {self.layout}. "
                f"{self.advice()}"
            )
        lacking = np.flatnonzero(sizes <= 0)
        if len(lacking):
            said = f"{audio / str(paths[lacking[0]])} is {'missing' if sizes[lacking[0]] < 0 else 'empty'}"
            if self.strict:
                raise DataError(f"{said}: copy it again, or go on without such files by --data.strict false.")
            log.warning("%s; %d of %d listed files are missing or empty and left out.", said, len(lacking), len(paths))
        return found

    @cached_property
    def store(self) -> tuple[Store, Shared]:
        """Audio of the rows in `files.present`, from a pack or from the files, and what the processes share of them."""
        paths, rate = self.index.paths[self.files.present], self.chunk().sample_rate
        pack = self._find_pack()
        if pack is None:
            return FileAudio(self.index.audio, paths, rate), Shared(len(paths), self.clip_level)
        if self.strict and (flaws := pack.flaws()):
            raise DataError(flaws[0].message)
        table = None if self.clip_level is None else pack.levels(level_key(self.clip_level, rate))
        return pack, Shared(len(paths), self.clip_level, table)

    def _find_pack(self) -> Pack | None:
        if self.pack == "never":
            return None
        if self.pack == "build":
            return self.build_pack()
        if Pack.exists(folder := self.pack_folder()):
            return Pack(folder)
        if self.pack == "require":
            raise DataError(f"There is no pack of these files in {folder}: build it with `prepare`. {self.advice()}")
        return None

    def build_pack(self) -> Pack:
        """Build the pack of all present files, whatever their split, or open it if it is there."""
        rate, paths = self.chunk().sample_rate, self._present_bytes()
        return build(self.pack_folder(), self.index.audio, paths, rate, self.clip_level, strict=self.strict)

    def pack_folder(self) -> Path:
        """Where the pack of the present files lies or would lie: the name changes with them."""
        return pack_folder(self.cache_dir, self.name, self.index.audio, self._present_bytes(), self.chunk().sample_rate)

    def _present_bytes(self) -> np.ndarray:
        paths = self.index.paths[self.files.present]
        return np.char.encode(paths, "utf-8", "surrogateescape")

    def chunk(self) -> Window:
        """The window handed over. Raises ValueError where none was."""
        if self.window is None:
            raise ValueError("Tell the data what a chunk is first: data.window = Window(sample_rate, samples, hop, lead).")
        return self.window

    def clips(self, split: Split) -> Clips:
        """The readable clips of a split. Raises DataError where there are none."""
        store, shared = self.store
        present = self.files.present
        usable = store.status != UNREADABLE if isinstance(store, Pack) else np.ones(len(present), bool)
        rows = np.flatnonzero((self.index.split[present] == SPLITS.index(split)) & usable)
        if not len(rows):
            raise DataError(
                f"{self.name} ({self.subset}) has no readable clip of the {split} split in {self.index.audio}: expected "
                f"{self.layout}. {self.advice()}"
            )
        chosen = present[rows]
        return Clips(self.index.paths[chosen], self.index.labels[chosen], rows, store, shared, self.strict)

    def train_set(self) -> Crops:
        """One random chunk of every training clip."""
        return Crops(self.clips("train"), self.chunk())

    def validation_set(self) -> ClipChunks:
        """All chunks of every validation clip."""
        return ClipChunks(self.clips("validation"), self.chunk(), POLICIES[self.policy])

    def test_set(self) -> ClipChunks:
        """All chunks of every test clip."""
        return ClipChunks(self.clips("test"), self.chunk(), POLICIES[self.policy])

    def collate(self, items: Sequence[Chunks | None]) -> TaggingBatch:
        """Items as one batch, those that could not be read left out; no chunks at all if that is every one."""
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
        audio = torch.zeros(0, self.chunk().samples, dtype=torch.int16)
        return TaggingBatch(audio, torch.zeros(0, len(self.tags)), none.long(), none, none, none, ())

    def prepare(self, report_dir: Path) -> dict:
        """Say what is present, missing and unreadable, and build the pack (unless `pack: never`); writes report.json."""
        self.chunk()
        pack = None if self.pack == "never" else self.build_pack()
        return coverage.report(self, pack, report_dir)
