"""Evaluation sets: a whole recording and its whole score an item, with the times that belong together."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.alignment.features import FeatureStore
from datamodules.alignment.pairs import Pair


class WholeBatch(NamedTuple):
    """One recording and its score."""

    performance: Tensor  # (channels, bins, frames) float32
    score: Tensor  # (channels, bins, frames) float32
    truth: Tensor  # (events, 2) float64: s in the score, s in the performance
    index: int  # place in the split
    name: str
    piece: str

    @property
    def names(self) -> tuple[str, ...]:
        """As every batch has it."""
        return (self.name,)


class WholePairs(Dataset):
    """Every pair of a split."""

    def __init__(self, pairs: Sequence[Pair], store: FeatureStore) -> None:
        self.pairs, self.store = list(pairs), store

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> WholeBatch:
        pair = self.pairs[index]
        performance, score = (
            torch.from_numpy(np.ascontiguousarray(self.store.read(sound).transpose(1, 2, 0)))
            for sound in (pair.performance, pair.score)
        )
        return WholeBatch(performance, score, torch.from_numpy(pair.truth()), index, pair.name, pair.piece)
