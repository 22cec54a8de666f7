"""Items and batches of stems: random chunks for training, segments of tracks for validation, whole tracks for test.

Samples stay int16 and interleaved as on disk; gain, channel swap, transposition and mixing are done on the device, by
`waveforms()` of the batch.
"""

import itertools
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from datamodules.common.errors import DataError
from datamodules.common.left_out import UnreadableFlags
from datamodules.common.workers import first_readable, mix
from datamodules.separation.tracks import Track, fill, sample_type

# Ring buffer in shared memory: a new buffer of 68 MB costs more page faults than its samples cost to read, and a loader
# process copies it once more. Here a process fills a free buffer and sends its number; the main process maps the same memory.

EACH = 4
"""Buffers per process: two in the queue, one being filled, one in use. If all are in use a new one is allocated."""

_numbers = itertools.count()
_rings: "weakref.WeakValueDictionary[int, RingBuffer]" = weakref.WeakValueDictionary()


class FilledBuffer:
    """Handle of a filled buffer; unpickling it in the main process gives the tensor."""

    def __init__(self, ring: int, slot: int, shape: tuple[int, ...]) -> None:
        self.ring, self.slot, self.shape = ring, slot, shape

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _receive, (self.ring, self.slot, self.shape)


class RingBuffer:
    """Reusable batch buffers, created in the main process and inherited by or sent to its loader processes.

    Args:
        shape: of a whole batch
        dtype: of its samples
        workers: loader processes; 0: the main process fills the buffers
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, workers: int = 0) -> None:
        self.shape, self.dtype, self.workers, self.number = tuple(shape), np.dtype(dtype), workers, next(_numbers)
        count = EACH * max(workers, 1)
        # numpy requests huge pages, torch does not: filling takes a third of the time.
        self._buffers = [torch.from_numpy(np.empty(self.shape, self.dtype)) for _ in range(count)]
        self._taken = torch.zeros(count, dtype=torch.uint8)
        self._owner = os.getpid()
        self._share()
        _rings[self.number] = self

    def _share(self) -> None:
        for tensor in (*self._buffers, self._taken) if self.workers else ():
            tensor.share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the same ring in a loader process, or a separate ring for a copy in the original process."""
        self.__dict__.update(state)
        if os.getpid() == self._owner:
            self.number, self._taken = next(_numbers), torch.zeros_like(self._taken)
            self._share()
        _rings.setdefault(self.number, self)

    def fill(self, shape: tuple[int, ...], write: Callable[[np.ndarray], Any]) -> tuple[Any, "Tensor | FilledBuffer"]:
        """Call `write` on an array of this shape, part of a free buffer, or new if none is free or large enough.

        Returns:
            Result of `write`, and the array as a tensor or, in a loader process, as a handle.
        """
        fits = shape[1:] == self.shape[1:] and shape[0] <= self.shape[0]
        slot = self._free() if fits else None
        if slot is None:
            array = np.empty(shape, self.dtype)
            return write(array), torch.from_numpy(array)
        self._taken[slot] = 1
        try:
            result = write(self._buffers[slot].numpy()[: shape[0]])
        except BaseException:
            self._taken[slot] = 0
            raise
        return result, FilledBuffer(self.number, slot, shape) if get_worker_info() else self.tensor(slot, shape)

    def tensor(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """Tensor of a filled buffer in the main process; the buffer is free again when its last view is deleted."""
        # The storage of from_numpy refers to this array until its last view is deleted.
        array = self._buffers[slot].numpy()[: shape[0]]
        weakref.finalize(array, _release, self._taken, slot).atexit = False
        return torch.from_numpy(array)

    def _free(self) -> int | None:
        """Free buffer of this process; processes do not share buffers, so that no lock is needed."""
        info = get_worker_info()
        if info and not self._taken.is_shared():
            return None
        slots = range(info.id, len(self._buffers), info.num_workers) if info else range(len(self._buffers))
        return next((slot for slot in slots if not self._taken[slot]), None)


def _release(taken: Tensor, slot: int) -> None:
    taken[slot] = 0


def _receive(number: int, slot: int, shape: tuple[int, ...]) -> Tensor:
    return _rings[number].tensor(slot, shape)


SHORTEST_S = 1.0
"""A shorter last segment of a track is joined to the one before, s."""


class StemBatch(NamedTuple):
    """Training chunks or validation segments as stored; `waveforms()` converts them to the network's input."""

    stems: Tensor  # (batch, sources, samples, channels) int16 or float32
    mixture: Tensor  # (batch, samples, channels), the data set's own; no samples if it is the sum of the stems
    gain: Tensor  # (batch, sources) float32
    swap: Tensor  # (batch, sources) bool: channels in reverse order
    names: tuple[str, ...]  # (batch,) of the tracks of the sources
    start: Tensor  # (batch,) float32 s, of the first source

    def waveforms(self) -> tuple[Tensor, Tensor]:
        """Sources (batch, sources, channels, samples) and mixture (batch, channels, samples), float32, on the same device."""
        last = self.stems.shape[-1] - 1
        pairs = ((self.stems[..., last - channel], self.stems[..., channel]) for channel in range(last + 1))
        planes = [torch.where(self.swap[..., None], mirrored, plain).float() for mirrored, plain in pairs]
        sources = torch.stack(planes, -2).mul_((self.gain * _unit(self.stems))[..., None, None])
        return sources, _planar(self.mixture) if self.mixture.shape[1] else sources.sum(1)


class TrackBatch(NamedTuple):
    """Whole test track."""

    name: str
    index: int  # position in its split
    stems: Tensor  # (sources, samples, channels) int16 or float32
    mixture: Tensor  # (samples, channels); no samples if it is the sum of the stems
    error: str | None  # reason why there is no audio

    def waveforms(self) -> tuple[Tensor, Tensor]:
        """Sources (sources, channels, samples) and mixture (channels, samples), float32."""
        sources = _planar(self.stems)
        return sources, _planar(self.mixture) if self.mixture.shape[0] else sources.sum(0)


def _planar(sound: Tensor) -> Tensor:
    """(..., samples, channels) int16 or float32 -> (..., channels, samples) float32 in [-1, 1).

    Channel by channel, which is three times as fast on a CPU as one transposition.
    """
    return torch.stack([plane.float() for plane in sound.unbind(-1)], -2).mul_(_unit(sound))


def _unit(sound: Tensor) -> float:
    """Scale of the samples."""
    return 2**-15 if sound.dtype == torch.int16 else 1.0


class Chunk(NamedTuple):
    """Item of a StemBatch."""

    stems: np.ndarray
    mixture: np.ndarray
    gain: np.ndarray
    swap: np.ndarray
    name: str
    start: float


class Stems(Dataset):
    """Tracks of one split, with sources (sources, samples, channels); unreadable tracks are logged once."""

    def __init__(self, tracks: Sequence[Track], sources: Sequence[str], channels: int, mixture: bool, strict: bool) -> None:
        self.tracks, self.sources, self.channels, self.mixture, self.strict = list(tracks), sources, channels, mixture, strict
        self.rate = self.tracks[0].wavs[0].rate
        self.dtype = sample_type(tracks)
        self.unreadable = UnreadableFlags(len(self.tracks))

    def __len__(self) -> int:
        return len(self.tracks)

    def read(self, index: int, start: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Read sources and mixture of a track from frame `start`; no mixture if it is the sum of the stems."""
        track = self.tracks[index]
        stems = np.empty((len(self.sources), samples, self.channels), self.dtype)
        for out, source in zip(stems, self.sources, strict=True):
            fill(out, track.stems[source], start)
        mixture = np.empty((samples if self.mixture and track.mixture else 0, self.channels), self.dtype)
        if len(mixture):
            fill(mixture, track.mixture, start)
        return stems, mixture

    def mixed(self, index: int, start: int, samples: int) -> Tensor:
        """Mixture of a track from frame `start`, (channels, samples) float32: its own or the sum of the stems."""
        track = self.tracks[index]
        total, part = np.zeros((2, samples, self.channels), np.float32)
        for wav in [track.mixture] if self.mixture and track.mixture else [track.stems[name] for name in self.sources]:
            fill(part, wav, start)
            total += part
        return torch.from_numpy(total).T.contiguous()

    def report(self, index: int, error: DataError) -> None:
        """Log an unreadable track, once over all workers; raise the error if strict."""
        self.unreadable.report(index, error, self.strict)


class RandomStems(Stems):
    """Random chunks, a function of (index, seed): each source from a random track and position, or all from one track.

    Each source has a random gain within `gain` and reversed channels with probability `swap`. Shorter tracks are zero-padded;
    a chunk with an unreadable file is drawn again. ring: items per batch, for reused buffers; None: a new buffer per batch.
    """

    def __init__(
        self,
        *args,
        samples: int,
        per_track: int,
        random_tracks: bool,
        gain: tuple[float, float],
        swap: float,
        ring: int | None = None,
        workers: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(*args, mixture=False, **kwargs)
        shape = (ring or 0, len(self.sources), samples, self.channels)
        self.ring = None if ring is None else RingBuffer(shape, self.dtype, workers)
        self.samples, self.per_track, self.random_tracks = samples, per_track, random_tracks
        self.gain, self.swap = gain, swap
        self.frames = np.array([track.frames for track in self.tracks])

    def __len__(self) -> int:
        return len(self.tracks) * self.per_track

    def __getitem__(self, item: tuple[int, int]) -> Chunk:
        return self._draw(item, np.empty((len(self.sources), self.samples, self.channels), self.dtype))

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> StemBatch:
        """Read items directly into the memory of a batch: copying would take longer than reading."""
        shape = (len(items), len(self.sources), self.samples, self.channels)

        def read(stems: np.ndarray) -> list[Chunk]:
            return [self._draw(item, out) for item, out in zip(items, stems, strict=True)]

        if self.ring is None:
            array = np.empty(shape, self.dtype)
            chunks, stems = read(array), torch.from_numpy(array)
        else:
            chunks, stems = self.ring.fill(shape, read)
        return _batch(chunks, stems, np.empty((len(items), 0, self.channels), self.dtype))

    def _draw(self, item: tuple[int, int], out: np.ndarray) -> Chunk:
        """Fill `out` (sources, samples, channels); a chunk with an unreadable file is drawn again."""
        return first_readable(lambda attempt: self._try(*item, attempt, out), "chunks")

    def _try(self, index: int, seed: int, attempt: int, out: np.ndarray) -> Chunk | None:
        random = np.random.default_rng(mix(seed, attempt) if attempt else seed)
        tracks, starts = self._places(int(random.integers(len(self.tracks))) if attempt else index // self.per_track, random)
        gain, swap = random.uniform(*self.gain, len(tracks)), random.random(len(tracks)) < self.swap
        if not self._read(out, tracks, starts):
            return None
        names = dict.fromkeys(self.tracks[track].name for track in tracks)
        return Chunk(out, out[0, :0], gain.astype(np.float32), swap, " + ".join(names), starts[0] / self.rate)

    def _places(self, track: int, random: np.random.Generator) -> tuple[list[int], list[int]]:
        """Track and first frame of each source."""
        count = len(self.sources)
        tracks = random.integers(len(self.tracks), size=count) if self.random_tracks else np.full(count, track)
        last = np.maximum(self.frames[tracks] - self.samples, 0)
        starts = random.integers(last + 1) if self.random_tracks else np.full(count, random.integers(last[0] + 1))
        return tracks.tolist(), starts.tolist()

    def _read(self, stems: np.ndarray, tracks: list[int], starts: list[int]) -> bool:
        for out, source, track, start in zip(stems, self.sources, tracks, starts, strict=True):
            try:
                fill(out, self.tracks[track].stems[source], start)
            except DataError as error:
                self.report(track, error)
                return False
        return True


class TrackSegments(Stems):
    """Consecutive segments of `seconds` of all tracks; None for an unreadable one."""

    def __init__(self, *args, seconds: float, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.segments = [
            (i, *segment) for i, track in enumerate(self.tracks) for segment in segments(track.frames, self.rate, seconds)
        ]

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> Chunk | None:
        track, start, samples = self.segments[index]
        try:
            stems, mixture = self.read(track, start, samples)
        except DataError as error:
            self.report(track, error)
            return None
        count = len(self.sources)
        plain = np.ones(count, np.float32), np.zeros(count, bool)
        return Chunk(stems, mixture, *plain, self.tracks[track].name, start / self.rate)


class WholeTracks(Stems):
    """Whole tracks; an unreadable one has no audio and an error."""

    def __getitem__(self, index: int) -> TrackBatch:
        track = self.tracks[index]
        try:
            stems, mixture = self.read(index, 0, track.frames)
            error = None
        except DataError as caught:
            self.report(index, caught)
            stems, error = np.zeros((len(self.sources), 0, self.channels), self.dtype), str(caught)
            mixture = stems[0]
        return TrackBatch(track.name, index, torch.from_numpy(stems), torch.from_numpy(mixture), error)


def segments(frames: int, rate: int, seconds: float) -> list[tuple[int, int]]:
    """(start, length) in frames of consecutive segments of a track; a rest below SHORTEST_S is joined to the last one.

    A track below SHORTEST_S is one zero-padded segment of that length.
    """
    step = round(seconds * rate)
    starts = list(range(0, frames, step))
    if len(starts) > 1 and frames - starts[-1] < SHORTEST_S * rate:
        starts.pop()
    frames = max(frames, round(SHORTEST_S * rate))
    return [(start, stop - start) for start, stop in zip(starts, [*starts[1:], frames], strict=True)]


def collate(items: Sequence[Chunk | None], sources: int, channels: int) -> StemBatch:
    """Batch of the items that are not None, of one length; empty if all are None."""
    read = [item for item in items if item is not None]
    if not read:
        stems, mixture = torch.zeros(0, sources, 0, channels), torch.zeros(0, 0, channels)
        return StemBatch(stems, mixture, torch.zeros(0, sources), torch.zeros(0, sources, dtype=torch.bool), (), torch.zeros(0))
    stems = torch.from_numpy(np.stack([item.stems for item in read]))
    return _batch(read, stems, np.stack([item.mixture for item in read]))


def _batch(items: Sequence[Chunk], stems: Tensor | FilledBuffer, mixture: np.ndarray) -> StemBatch:
    return StemBatch(
        stems=stems,
        mixture=torch.from_numpy(mixture),
        gain=torch.from_numpy(np.stack([item.gain for item in items])),
        swap=torch.from_numpy(np.stack([item.swap for item in items])),
        names=tuple(item.name for item in items),
        start=torch.tensor([item.start for item in items], dtype=torch.float32),
    )
