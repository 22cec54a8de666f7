"""Mixed batches: shares, no repetition before exhaustion, disjoint ranks, exact resume."""

import itertools
from collections import Counter

import pytest
import torch

from datamodules.common.errors import DataError
from datamodules.sed.data import MixedSampler

WEAK, UNLABELED = 13, 40
SHARES = (4, 8)


def batches(steps=5, seed=3, rank=0, world=1, epoch=0, start=0, shares=SHARES):
    shares = [share // world for share in shares]
    sampler = MixedSampler((WEAK, UNLABELED), shares, steps, seed, rank, world, epoch, start)
    size = sum(shares)
    items = list(sampler)
    return [items[i : i + size] for i in range(0, len(items), size)]


def test_every_batch_has_its_share_of_each_stream():
    for batch in batches():
        assert [index < WEAK for index, _ in batch] == [True] * 4 + [False] * 8


def test_an_epoch_is_a_fixed_number_of_batches():
    sampler = MixedSampler((WEAK, UNLABELED), SHARES, 250)
    assert len(sampler) == 250 * 12 == len(list(sampler))


def test_no_clip_repeats_before_all_were_used_also_across_epochs():
    drawn = [index for epoch in range(6) for batch in batches(epoch=epoch) for index, _ in batch]
    for stream in ([i for i in drawn if i < WEAK], [i - WEAK for i in drawn if i >= WEAK]):
        length = WEAK if max(stream) < WEAK else UNLABELED
        for begin in range(0, len(stream) - length, length):
            assert sorted(stream[begin : begin + length]) == list(range(length))
    # The first two passes differ in order.
    weak = [i for i in drawn if i < WEAK]
    assert weak[:WEAK] != weak[WEAK : 2 * WEAK]


def test_a_clip_drawn_again_has_another_seed():
    seeds = [seed for epoch in range(6) for batch in batches(epoch=epoch) for _, seed in batch]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batches_of_one_process(world):
    alone = batches(epoch=2)
    ranks = [batches(rank=rank, world=world, epoch=2) for rank in range(world)]
    for step, batch in enumerate(alone):
        parts = [part for rank in ranks for part in rank[step]]
        assert Counter(parts) == Counter(batch)
        for a, b in itertools.combinations([set(rank[step]) for rank in ranks], 2):
            assert not a & b


def test_resumed_in_the_middle_it_goes_on_as_if_uninterrupted():
    assert batches(epoch=1, start=3) == batches(epoch=1)[3:]
    sampler = MixedSampler((WEAK, UNLABELED), SHARES, 5, 3, epoch=1, start=3)
    sampler.set_epoch(1)
    assert len(list(sampler)) == 2 * 12
    sampler.set_epoch(2)
    assert list(sampler) == [item for batch in batches(epoch=2) for item in batch]


def test_it_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches()
    assert torch.equal(before, torch.get_rng_state())


def test_an_empty_stream_is_refused_only_where_it_is_wanted():
    with pytest.raises(DataError, match="A stream without clips"):
        MixedSampler((0, 3), (1, 1), 2)
    assert {index for index, _ in MixedSampler((0, 3), (0, 1), 3)} == {0, 1, 2}
