"""Items and batches of sound event data: audio, clip tags, frame activity and embeddings of clips."""

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
from datamodules.common.workers import read_or_replace
from datamodules.sed.embeddings import EmbeddingCache
from datamodules.sed.events import Events


class ClipList(NamedTuple):
    """List of a data set: clips of one folder with their labels."""

    folder: str  # of the audio, relative to the root
    names: tuple[str, ...]  # (clips,)
    tags: np.ndarray | None = None  # (clips, classes) bool: occurring classes; None: unlabelled
    events: Events | None = None  # None: without strong labels
    remarks: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()  # rows of its table


class SoundBatch(NamedTuple):
    """Zero-padded batch of clips with their labels and embeddings."""

    audio: Tensor  # (batch, samples) int16
    length: Tensor  # (batch,) int64, samples of each clip
    tags: Tensor  # (batch, classes) float32 in {0, 1}
    tagged: Tensor  # (batch,) bool: clips with known tags
    activity: Tensor  # (batch, frames, classes) float32 in {0, 1}
    timed: Tensor  # (batch,) bool: clips with known activity
    embeddings: dict[str, Tensor]  # (batch, frames, dim) float32 by stream, on the network's frames
    clip: Tensor  # (batch,) int64, position among the readable clips of its list
    names: tuple[str, ...]  # (batch,)


class EventItem(NamedTuple):
    """Item of the data sets: a clip or an excerpt of it."""

    audio: np.ndarray  # (samples,) int16
    tags: np.ndarray | None  # (classes,)
    activity: np.ndarray | None  # (frames, classes)
    embeddings: dict[str, np.ndarray]  # (frames, dim), of any float
    clip: int
    name: str


class EventClips:
    """Readable clips of one list.

    Args:
        clips: audio
        position: (clips,) position of each in the list
        listed: list
        caches: embeddings by stream
        root: folder that the clips' paths are relative to
        grid: output frames of the network
        align: resamples embeddings to frames
        classes: number of classes
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
        """Length of a clip in samples; 0 for an unreadable one, which is logged."""
        try:
            return self.clips.length(clip)
        except DataError as error:
            self.clips.report(clip, error)
            return 0

    def item(self, clip: int, longest: float = np.inf, seed: int = 0) -> EventItem:
        """A clip, or an excerpt of `longest` s at a random position. Raises DataError if unreadable."""
        audio = self.clips.whole(clip)
        frames = self.grid.count(len(audio))
        step, first = self.grid.pool * self.grid.hop, 0
        kept = min(len(audio), int(min(longest, len(audio)) * self.grid.sample_rate))
        if kept < len(audio):
            first = int(np.random.default_rng(seed).integers((len(audio) - kept) // step + 1))
        excerpt = slice(first, first + self.grid.count(kept))
        return EventItem(
            audio[first * step : first * step + kept],
            None if self.listed.tags is None else self.listed.tags[self.position[clip]],
            None if self.listed.events is None else self._activity(clip, frames)[excerpt],
            {stream: values[excerpt] for stream, values in self._embeddings(clip, len(audio)).items()},
            clip,
            self.clips.name(clip),
        )

    def readable(self, clip: int, longest: float = np.inf, seed: int = 0) -> EventItem | None:
        """Like `item`; None for an unreadable clip, which is logged."""
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
        embeddings = {stream: cache.read(path) for stream, cache in self.caches.items()}
        return {stream: self.align(values, times, centres) for stream, (values, times) in embeddings.items()}


class WholeClips(Dataset):
    """Whole clips of a list; None for an unreadable one."""

    def __init__(self, clips: EventClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: int) -> EventItem | None:
        return self.clips.readable(clip)


class StreamClips(Dataset):
    """Concatenated clips of several lists, indexed by (index, seed); an unreadable clip is replaced by another of its list.

    Args:
        streams: lists
        longest: length of the excerpts, s
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
        return read_or_replace(lambda clip: stream.readable(clip, self.longest, seed), first, len(stream), seed)


def collate(items: Sequence[EventItem | None], grid: FrameGrid, classes: int, dims: Mapping[str, int]) -> SoundBatch:
    """Zero-padded batch of the items that are not None; unknown labels are zeros."""
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
