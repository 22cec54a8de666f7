"""Batches mixed from several streams, a fixed share of each: no stream repeats an item before all its items were used.

Where a stream stands follows from the number of batches behind it, so that nothing is stored and a resumed run goes on exactly.
"""

from collections.abc import Iterator, Sequence

import torch

from datamodules.base import EpochSampler, mix, permutation
from datamodules.errors import DataError


class Stream:
    """An endless sequence of a set's indices: one shuffled pass after another.

    length: items; seed: of the order. Position p is item `order(p // length)[p % length]`.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self._cycle, self._order = -1, torch.zeros(0, dtype=torch.long)

    def __getitem__(self, position: int) -> int:
        cycle, place = divmod(position, self.length)
        if cycle != self._cycle:
            self._cycle, self._order = cycle, permutation(self.length, self.seed, cycle)
        return int(self._order[place])


class MixedSampler(EpochSampler):
    """Yields (index, item seed) for one rank, each batch with its share of every stream, streams in order.

    Indices count through the streams one after another: those of the second begin where the first ends. An epoch is
    `steps` batches, wherever the streams then stand; the next goes on from there. Ranks take disjoint parts of each
    stream's share.

    lengths: items of each stream; shares: its items per rank and batch. For the others see `EpochSampler`.
    Raises DataError for a stream without items of which a share is wanted.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        shares: Sequence[int],
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
        start: int = 0,
    ) -> None:
        if any(share and not length for length, share in zip(lengths, shares, strict=True)):
            raise DataError(f"A stream without clips cannot fill its share of each batch: clips {lengths}, shares {shares}.")
        self.lengths, self.shares = tuple(lengths), tuple(shares)
        super().__init__(steps * sum(shares) * world, sum(shares), seed, rank, world, epoch, start)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = [sum(self.lengths[:k]) for k in range(len(self.lengths))]
        streams = [Stream(length, mix(self.seed, k)) for k, length in enumerate(self.lengths)]
        for step in range(self.epoch * self.steps + self.start, (self.epoch + 1) * self.steps):
            for k, (stream, share) in enumerate(zip(streams, self.shares, strict=True)):
                begin = (step * self.world + self.rank) * share
                for position in range(begin, begin + share):
                    yield first[k] + stream[position], mix(self.seed, k, position)
