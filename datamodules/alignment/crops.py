"""Training set: crops of two sounds of the same notes, with pairs of matching and other frames."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.alignment.features import FeatureStore, crop
from datamodules.alignment.listing import Pair
from datamodules.alignment.reading import read_score
from datamodules.alignment.score import Notes


class PairSampling(NamedTuple):
    """How pairs of frames are drawn.

    A pair that does not match lies `near` frames apart (lowest and highest distance) with probability `near_share`, else
    anywhere; with `by_pitch` only where other pitches sound, as far as a few tries find such a place. A share `ends` of the
    crops lies across the beginning or the end: else silence, which DTW meets there, would be like anything.
    """

    frames: int = 1  # embeddings of a crop on each side; 1: a patch for each pair, as in the paper
    pairs: int = 1  # drawn from each crop, half of them matches; with one pair a crop every second crop is one
    near: tuple[int, int] = (4, 40)
    near_share: float = 0.5
    by_pitch: bool = True
    ends: float = 0.15


TRIES = 8


def sounding(notes: Notes, frames: int, frame_s: float) -> np.ndarray:
    """Pitches that sound in each frame, (frames, 2) uint64 with a bit for each of 128."""
    active = np.zeros((frames, 2), np.uint64)
    first = np.clip(np.round(notes.onset / frame_s).astype(int), 0, frames)
    last = np.clip(np.maximum(np.round(notes.offset / frame_s).astype(int), first + 1), 0, frames)
    for start, stop, pitch in zip(first, last, notes.pitch.astype(int), strict=True):
        active[start:stop, pitch // 64] |= np.uint64(1) << np.uint64(pitch % 64)
    return active


def roll(active: np.ndarray) -> np.ndarray:
    """The same as (128, frames) uint8 of 0 and 1."""
    bits = np.arange(64, dtype=np.uint64)
    return np.concatenate([(active[None, :, half] >> bits[:, None]) & np.uint64(1) for half in (0, 1)]).astype(np.uint8)


def within(active: np.ndarray, start: int, frames: int) -> np.ndarray:
    """What sounds in frames start .. start + frames, nothing beyond the ends."""
    result = np.zeros((frames, 2), np.uint64)
    first, last = max(0, -start), min(frames, len(active) - start)
    if first < last:
        result[first:last] = active[start + first : start + last]
    return result


def other_place(place: int, low: int, high: int, active: np.ndarray, how: PairSampling, random: np.random.Generator) -> int:
    """A frame of low .. high - 1 that does not match `place`."""
    result = place
    for _ in range(TRIES):
        if random.random() < how.near_share:
            result = place + int(random.choice((-1, 1))) * int(random.integers(how.near[0], how.near[1] + 1))
        else:
            result = int(random.integers(low, high))
        if not low <= result < high or abs(result - place) < how.near[0]:
            continue
        if not how.by_pitch or (active[result] != active[place]).any():
            return result
    return _farther(place, low, high, how.near[0])


def _farther(place: int, low: int, high: int, least: int) -> int:
    """The frame least frames away, on the side that has more of them: in a very short crop the end of it."""
    return min(place + least, high - 1) if high - place > place - low else max(place - least, low)


class PairBatch(NamedTuple):
    """Crops of performances and scores, and labelled pairs of frames in them; an item of a batch is one without `batch`."""

    performance: Tensor  # (batch, channels, bins, frames + context - 1) float32
    score: Tensor  # the same
    places: Tensor  # (batch, pairs, 2) int64: embedding of the performance's crop, of the score's
    label: Tensor  # (batch, pairs) float32: 0 they match, 1 they do not
    pitches: Tensor  # (batch, 128, frames + context - 1) uint8: what sounds in the performance's crop
    names: tuple[str, ...]


def collate(items: Sequence[PairBatch]) -> PairBatch:
    """Crops as one batch."""
    *parts, names = zip(*items, strict=True)
    return PairBatch(*map(torch.stack, parts), sum(names, ()))


class RecordingCrops(Dataset):
    """Random crops of recordings, each drawn as often as it is long times its weight; indexed by (index, seed).

    Args:
        pairs: a performance and a rendering of its own MIDI each, in the same time
        weights: of each pair
        store: their features
        items: how many crops an epoch has
        context: frames that an embedding sees
        how: which pairs of frames are drawn
        frame_s: from frame to frame, s
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        weights: Sequence[float],
        store: FeatureStore,
        items: int,
        context: int,
        how: PairSampling,
        frame_s: float,
    ) -> None:
        self.pairs, self.store, self.items, self.context, self.how = list(pairs), store, items, context, how
        self.active = [self._sounding(pair, frame_s) for pair in self.pairs]
        shares = np.cumsum([len(active) * weight for active, weight in zip(self.active, weights, strict=True)])
        self.until = shares / shares[-1]

    def _sounding(self, pair: Pair, frame_s: float) -> np.ndarray:
        """What sounds in each frame that both have."""
        frames = min(len(self.store.read(pair.performance)), len(self.store.read(pair.score)))
        return sounding(_notes(str(pair.midi)), frames, frame_s)

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, at: tuple[int, int]) -> PairBatch:
        index, seed = at
        random = np.random.default_rng(seed)
        which = int(np.searchsorted(self.until, random.random(), side="right"))
        pair, active, how = self.pairs[which], self.active[which], self.how
        if how.frames == 1:
            left = int(random.integers(len(active)))
            label = np.array([index % 2], np.float32)
            right = other_place(left, 0, len(active), active, how, random) if label[0] else left
            places = np.zeros((1, 2), np.int64)
        else:
            left = right = self._start(active, random)
            places, label = self._within(within(active, left, how.frames), random)
        before, frames = self.context // 2, how.frames + self.context - 1
        performance, score = (
            torch.from_numpy(crop(self.store.read(sound), start - before, frames))
            for sound, start in ((pair.performance, left), (pair.score, right))
        )
        pitches = torch.from_numpy(roll(within(active, left - before, frames)))
        return PairBatch(performance, score, torch.from_numpy(places), torch.from_numpy(label), pitches, (pair.name,))

    def _start(self, active: np.ndarray, random: np.random.Generator) -> int:
        """First frame of a crop: anywhere, or across the beginning or the end of what sounds."""
        frames = self.how.frames
        if random.random() < self.how.ends and active.any():
            sounds = np.flatnonzero(active.any(1))
            return int(random.choice([sounds[0], sounds[-1] + 1])) - int(random.integers(1, frames))
        return int(random.integers(max(1, len(active) - frames + 1)))

    def _within(self, active: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Places and labels of a crop's pairs: half of them match, half do not."""
        lefts = random.integers(len(active), size=self.how.pairs)
        label = (np.arange(self.how.pairs) % 2).astype(np.float32)
        rights = [
            other_place(int(left), 0, len(active), active, self.how, random) if apart else int(left)
            for left, apart in zip(lefts, label, strict=True)
        ]
        return np.stack([lefts, np.array(rights)], 1).astype(np.int64), label


@lru_cache(maxsize=1024)
def _notes(path: str) -> Notes:
    return read_score(path).notes
