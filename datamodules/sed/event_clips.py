"""Clips of a sound event data set as a loader's items: their sound, what is known of them, and their embeddings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.audio.clips import Clips
from datamodules.audio.windows import FrameGrid
from datamodules.common.errors import DataError
from datamodules.common.input_spec import Align
from datamodules.common.left_out import LeftOut
from datamodules.common.workers import or_another
from datamodules.sed.embeddings import EmbeddingCache
from datamodules.sed.events import Events


class ClipList(NamedTuple):
    """One list of a data set: clips of one folder, and what is known of them."""

    folder: str  # of the audio, relative to the root
    names: tuple[str, ...]  # (clips,)
    tags: np.ndarray | None = None  # (clips, classes) bool, which classes occur; None: not known
    events: Events | None = None  # None: not known when they sound
    remarks: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()  # rows of its table


class SoundBatch(NamedTuple):
    """Clips of any length, followed by zeros, with what is known of each."""

    audio: Tensor  # (batch, samples) int16
    length: Tensor  # (batch,) int64, samples of each clip
    tags: Tensor  # (batch, classes) float32 in {0, 1}: which classes occur
    tagged: Tensor  # (batch,) bool: whether that is known
    activity: Tensor  # (batch, frames, classes) float32 in {0, 1}: when they sound
    timed: Tensor  # (batch,) bool: whether that is known
    embeddings: dict[str, Tensor]  # (batch, frames, dim) float32 by stream, on the network's frames
    clip: Tensor  # (batch,) int64, position among the readable clips of its list
    names: tuple[str, ...]  # (batch,)


class EventItem(NamedTuple):
    """One clip, or a piece of it, on its way into a batch."""

    audio: np.ndarray  # (samples,) int16
    tags: np.ndarray | None  # (classes,)
    activity: np.ndarray | None  # (frames, classes)
    embeddings: dict[str, np.ndarray]  # (frames, dim), of any float
    clip: int
    name: str


class EventClips:
    """The readable clips of one list.

    Args:
        clips: their audio
        position: (clips,) place of each in the list
        listed: the list
        caches: embeddings by stream
        root: folder that the clips' paths are relative to
        grid: frames of the network
        align: puts embeddings on frames
        classes: how many there are
    """

    def __init__(
        self,
        clips: Clips,
        position: np.ndarray,
        listed: ClipList,
        caches: Mapping[str, EmbeddingCache],
        root: Path,
        grid: FrameGrid,
        align: Align | None,
        classes: int,
    ) -> None:
        self.clips, self.position, self.listed, self.caches, self.root = clips, position, listed, caches, root
        self.grid, self.align, self.classes = grid, align, classes

    def __len__(self) -> int:
        return len(self.clips)

    def samples(self, clip: int) -> int:
        """Length of a clip; 0 for one that cannot be read, which is said."""
        try:
            return self.clips.length(clip)
        except DataError as error:
            self.clips.report(clip, error)
            return 0

    def item(self, clip: int, longest: float = np.inf, seed: int = 0) -> EventItem:
        """A clip, or of one that lasts over `longest` s a piece drawn by the seed. Raises DataError if unreadable."""
        audio = self.clips.whole(clip)
        frames = self.grid.count(len(audio))
        step, first = self.grid.pool * self.grid.hop, 0
        kept = min(len(audio), int(min(longest, len(audio)) * self.grid.sample_rate))
        if kept < len(audio):
            first = int(np.random.default_rng(seed).integers((len(audio) - kept) // step + 1))
        piece = slice(first, first + self.grid.count(kept))
        return EventItem(
            audio[first * step : first * step + kept],
            None if self.listed.tags is None else self.listed.tags[self.position[clip]],
            None if self.listed.events is None else self._activity(clip, frames)[piece],
            {stream: values[piece] for stream, values in self._embeddings(clip, len(audio)).items()},
            clip,
            self.clips.name(clip),
        )

    def readable(self, clip: int, longest: float = np.inf, seed: int = 0) -> EventItem | None:
        """As `item`; None for a clip that cannot be read, which is named."""
        try:
            return self.item(clip, longest, seed)
        except DataError as error:
            self.clips.report(clip, error)
            return None

    def _activity(self, clip: int, frames: int) -> np.ndarray:
        events, mine = self.listed.events, self.listed.events.clip == self.position[clip]
        return self.grid.activity(events.label[mine], events.onset[mine], events.offset[mine], frames, self.classes)

    def _embeddings(self, clip: int, samples: int) -> dict[str, np.ndarray]:
        centres, path = self.grid.centres(samples), self.root / str(self.clips.paths[clip])
        found = {stream: cache.read(path) for stream, cache in self.caches.items()}
        return {stream: self.align(one.values, one.times, centres) for stream, one in found.items()}


class WholeClips(Dataset):
    """Every clip of a list, as a whole; None for one that cannot be read."""

    def __init__(self, clips: EventClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: int) -> EventItem | None:
        return self.clips.readable(clip)


class StreamClips(Dataset):
    """The clips of several lists one after another, indexed by (index, seed); an unreadable one is replaced by another.

    longest: s of a clip that are used.
    """

    def __init__(self, streams: Sequence[EventClips], longest: float) -> None:
        self.streams, self.longest = list(streams), longest
        self.lengths = [len(stream) for stream in self.streams]
        self.ends = np.cumsum(self.lengths)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, item: tuple[int, int]) -> EventItem:
        index, seed = item
        k = int(np.searchsorted(self.ends, index, side="right"))
        stream, first = self.streams[k], index - (int(self.ends[k]) - self.lengths[k])
        return or_another(lambda clip: stream.readable(clip, self.longest, seed), first, len(stream), seed)


def collate(items: Sequence[EventItem | None], grid: FrameGrid, classes: int, dims: Mapping[str, int]) -> SoundBatch:
    """Clips as one batch, those that could not be read left out; zeros follow shorter ones and stand for what is unknown."""
    read = [item for item in items if item is not None]
    samples = max((len(item.audio) for item in read), default=0)
    frames = grid.count(samples) if read else 0
    audio = torch.zeros(len(read), samples, dtype=torch.int16)
    tags, activity = torch.zeros(len(read), classes), torch.zeros(len(read), frames, classes)
    embeddings = {stream: torch.zeros(len(read), frames, dim) for stream, dim in dims.items()}
    for row, item in enumerate(read):
        audio[row, : len(item.audio)] = torch.from_numpy(item.audio)
        if item.tags is not None:
            tags[row] = torch.from_numpy(item.tags).float()
        if item.activity is not None:
            activity[row, : len(item.activity)] = torch.from_numpy(item.activity).float()
        for stream, values in item.embeddings.items():
            embeddings[stream][row, : len(values)] = torch.from_numpy(values)
    return SoundBatch(
        audio,
        torch.tensor([len(item.audio) for item in read], dtype=torch.long),
        tags,
        torch.tensor([item.tags is not None for item in read], dtype=torch.bool),
        activity,
        torch.tensor([item.activity is not None for item in read], dtype=torch.bool),
        embeddings,
        torch.tensor([item.clip for item in read], dtype=torch.long),
        tuple(item.name for item in read),
    )
