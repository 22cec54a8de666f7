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
    """Sampling of frame pairs.

    A non-matching pair is `near` frames apart (lowest and highest distance) with probability `near_share`, else anywhere;
    with `by_pitch` its frames differ in pitch unless TRIES attempts fail. A share `ends` of the crops contains the first or
    last sounding frame, so that the network also learns from silence.
    """

    frames: int = 1  # embeddings of a crop; 1: one patch per pair, as in the paper
    pairs: int = 1  # pairs per crop, half of them matches; if 1, every second crop is a match
    near: tuple[int, int] = (4, 40)
    near_share: float = 0.5
    by_pitch: bool = True
    ends: float = 0.15


TRIES = 8


def sounding(notes: Notes, frames: int, frame_s: float) -> np.ndarray:
    """Sounding pitches per frame: (frames, 2) uint64, one bit for each of 128 pitches."""
    active = np.zeros((frames, 2), np.uint64)
    first = np.clip(np.round(notes.onset / frame_s).astype(int), 0, frames)
    last = np.clip(np.maximum(np.round(notes.offset / frame_s).astype(int), first + 1), 0, frames)
    for start, stop, pitch in zip(first, last, notes.pitch.astype(int), strict=True):
        active[start:stop, pitch // 64] |= np.uint64(1) << np.uint64(pitch % 64)
    return active


def roll(active: np.ndarray) -> np.ndarray:
    """Unpack `sounding` (frames, 2) to a piano roll (128, frames) uint8."""
    bits = np.arange(64, dtype=np.uint64)
    return np.concatenate([(active[None, :, half] >> bits[:, None]) & np.uint64(1) for half in (0, 1)]).astype(np.uint8)


def within(active: np.ndarray, start: int, frames: int) -> np.ndarray:
    """Frames start .. start + frames of `sounding`, zero beyond the ends."""
    result = np.zeros((frames, 2), np.uint64)
    first, last = max(0, -start), min(frames, len(active) - start)
    if first < last:
        result[first:last] = active[start + first : start + last]
    return result


def other_frame(frame: int, low: int, high: int, active: np.ndarray, sampling: PairSampling, random: np.random.Generator) -> int:
    """A frame of low .. high - 1 that does not match `frame`."""
    result = frame
    for _ in range(TRIES):
        if random.random() < sampling.near_share:
            result = frame + int(random.choice((-1, 1))) * int(random.integers(sampling.near[0], sampling.near[1] + 1))
        else:
            result = int(random.integers(low, high))
        if not low <= result < high or abs(result - frame) < sampling.near[0]:
            continue
        if not sampling.by_pitch or (active[result] != active[frame]).any():
            return result
    return _farther(frame, low, high, sampling.near[0])


def _farther(frame: int, low: int, high: int, least: int) -> int:
    """Frame at distance `least` on the longer side, clipped to the crop."""
    return min(frame + least, high - 1) if high - frame > frame - low else max(frame - least, low)


class PairBatch(NamedTuple):
    """Crops of performances and scores with labelled pairs of frames; an item lacks the batch dimension."""

    performance: Tensor  # (batch, channels, bins, frames + context - 1) float32
    score: Tensor  # the same
    places: Tensor  # (batch, pairs, 2) int64: index of the embedding in performance and score
    label: Tensor  # (batch, pairs) float32: 0 match, 1 no match
    pitches: Tensor  # (batch, 128, frames + context - 1) uint8: piano roll of the performance
    names: tuple[str, ...]


def collate(items: Sequence[PairBatch]) -> PairBatch:
    """Stack crops to a batch."""
    *parts, names = zip(*items, strict=True)
    return PairBatch(*map(torch.stack, parts), sum(names, ()))


class RecordingCrops(Dataset):
    """Random crops of recordings, sampled in proportion to length times weight; indexed by (index, seed).

    Args:
        pairs: performances and renderings of their own MIDI, which have the same timing
        weights: of each pair
        store: features
        items: crops per epoch
        context: receptive field of an embedding, frames
        sampling: sampling of frame pairs
        frame_s: hop, s
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        weights: Sequence[float],
        store: FeatureStore,
        items: int,
        context: int,
        sampling: PairSampling,
        frame_s: float,
    ) -> None:
        self.pairs, self.store, self.items, self.context, self.sampling = list(pairs), store, items, context, sampling
        self.active = [self._sounding(pair, frame_s) for pair in self.pairs]
        shares = np.cumsum([len(active) * weight for active, weight in zip(self.active, weights, strict=True)])
        self.until = shares / shares[-1]

    def _sounding(self, pair: Pair, frame_s: float) -> np.ndarray:
        frames = min(len(self.store.read(pair.performance)), len(self.store.read(pair.score)))
        return sounding(_notes(str(pair.midi)), frames, frame_s)

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, at: tuple[int, int]) -> PairBatch:
        index, seed = at
        random = np.random.default_rng(seed)
        number = int(np.searchsorted(self.until, random.random(), side="right"))
        pair, active, sampling = self.pairs[number], self.active[number], self.sampling
        if sampling.frames == 1:
            left = int(random.integers(len(active)))
            label = np.array([index % 2], np.float32)
            right = other_frame(left, 0, len(active), active, sampling, random) if label[0] else left
            places = np.zeros((1, 2), np.int64)
        else:
            left = right = self._start(active, random)
            places, label = self._within(within(active, left, sampling.frames), random)
        before, frames = self.context // 2, sampling.frames + self.context - 1
        performance, score = (
            torch.from_numpy(crop(self.store.read(sound), start - before, frames))
            for sound, start in ((pair.performance, left), (pair.score, right))
        )
        pitches = torch.from_numpy(roll(within(active, left - before, frames)))
        return PairBatch(performance, score, torch.from_numpy(places), torch.from_numpy(label), pitches, (pair.name,))

    def _start(self, active: np.ndarray, random: np.random.Generator) -> int:
        """First frame of a crop: anywhere, or such that the crop contains the first or last sounding frame."""
        frames = self.sampling.frames
        if random.random() < self.sampling.ends and active.any():
            sounds = np.flatnonzero(active.any(1))
            return int(random.choice([sounds[0], sounds[-1] + 1])) - int(random.integers(1, frames))
        return int(random.integers(max(1, len(active) - frames + 1)))

    def _within(self, active: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Frame indices (pairs, 2) and labels (pairs,) of a crop; half of the pairs match."""
        lefts = random.integers(len(active), size=self.sampling.pairs)
        label = (np.arange(self.sampling.pairs) % 2).astype(np.float32)
        rights = [
            other_frame(int(left), 0, len(active), active, self.sampling, random) if apart else int(left)
            for left, apart in zip(lefts, label, strict=True)
        ]
        return np.stack([lefts, np.array(rights)], 1).astype(np.int64), label


@lru_cache(maxsize=1024)
def _notes(path: str) -> Notes:
    return read_score(path).notes
