"""The training set: crops of two sounds of the same notes, and pairs of frames in them that match or do not."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.alignment.features import FeatureStore, crop
from datamodules.alignment.pairs import Pair
from datamodules.alignment.sampling import Sampling, other_place, roll, sounding, within
from datamodules.alignment.score import Notes, read_score


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


class Crops(Dataset):
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
        how: Sampling,
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
