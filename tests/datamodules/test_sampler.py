"""The order of the data: a function of seed and epoch, split over ranks, the same for any number of workers."""

import functools
import operator
import subprocess
from types import SimpleNamespace

import pytest
import torch

from datamodules.common.base import EpochSampler, EvaluationShard, SuiteDataModule, permutation, resume_position
from datamodules.common.errors import DataError
from datamodules.common.workers import mix
from tests.helpers.toy import Toy, ToyData, train


def test_mix_spreads_neighbouring_integers():
    values = [mix(seed, epoch, rank) for seed in range(20) for epoch in range(20) for rank in range(20)]
    assert len(set(values)) == len(values)
    assert mix(1, 2) != mix(2, 1)
    assert mix(0, 0) != mix(0)
    ones = sum(bin(value).count("1") for value in values) / len(values)
    assert 31 < ones < 32  # of 63 bits
    flipped = [bin(mix(k) ^ mix(k + 1)).count("1") for k in range(200)]
    assert 28 < sum(flipped) / 200 < 35


def test_the_order_of_published_runs_stays():
    assert mix(3, 1, 4) == 1757395694669422854
    assert permutation(8, 0, 0).tolist() == [2, 4, 3, 5, 1, 0, 6, 7]


def test_each_epoch_is_a_permutation_of_its_own():
    first, second = permutation(50, 1, 0), permutation(50, 1, 1)
    assert sorted(first.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert not torch.equal(first, permutation(50, 2, 0))
    assert torch.equal(first, permutation(50, 1, 0))


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_global_batches_do_not_depend_on_the_ranks(world):
    whole = list(EpochSampler(100, 6, seed=5, epoch=2))
    ranks = [list(EpochSampler(100, 6 // world, 5, rank, world, epoch=2)) for rank in range(world)]
    share = 6 // world
    batches = [[item for rank in ranks for item in rank[k * share : (k + 1) * share]] for k in range(16)]
    assert batches == [whole[6 * k : 6 * k + 6] for k in range(16)]
    assert len({len(rank) for rank in ranks}) == 1  # the tail of four items is dropped for all


def test_ranks_draw_different_items_and_seeds():
    first, second = (list(EpochSampler(40, 4, 0, rank, 2)) for rank in range(2))
    assert not {index for index, _ in first} & {index for index, _ in second}
    assert len({seed for _, seed in first + second}) == 40


def test_order_and_item_seeds_change_with_the_epoch():
    first, second = (dict(EpochSampler(40, 4, epoch=epoch)) for epoch in (0, 1))
    assert all(first[index] != second[index] for index in first)
    assert list(first) != list(second), "every epoch reads the items in one order"


def test_start_skips_whole_batches_and_set_epoch_keeps_the_resumed_place():
    whole = list(EpochSampler(40, 4, epoch=3))
    resumed = EpochSampler(40, 4, epoch=3, start=6)
    resumed.set_epoch(3)
    assert list(resumed) == whole[24:]
    assert len(resumed) == 40  # Lightning adds the six batches itself
    resumed.set_epoch(4)
    assert list(resumed) == list(EpochSampler(40, 4, epoch=4))


def test_too_few_items_for_one_batch_is_said():
    with pytest.raises(DataError, match=r"7 items but one global batch needs 8.*batch_size"):
        EpochSampler(7, 4, world=2)


def test_evaluation_shards_cover_everything_once():
    for length, world in [(5, 2), (7, 3), (3, 3), (1, 1)]:
        shards = [list(EvaluationShard(length, rank, world)) for rank in range(world)]
        assert sorted(functools.reduce(operator.iadd, shards, [])) == list(range(length))
    with pytest.raises(DataError, match="2 items cannot be shared by 3"):
        EvaluationShard(2, 0, 3)


def _trainer(started=0, processed=0, last=False, epoch=0, restarting=True, window=1):
    progress = SimpleNamespace(current=SimpleNamespace(processed=processed), is_last_batch=last)
    loop = SimpleNamespace(
        restarting=restarting,
        epoch_progress=SimpleNamespace(current=SimpleNamespace(started=started)),
        epoch_loop=SimpleNamespace(batch_progress=progress),
    )
    return SimpleNamespace(fit_loop=loop, current_epoch=epoch, accumulate_grad_batches=window)


def test_resume_position():
    assert resume_position(None) == (0, 0)
    assert resume_position(_trainer(restarting=False, epoch=4, processed=3)) == (4, 0)
    assert resume_position(_trainer()) == (0, 0)  # saved before the first batch
    assert resume_position(_trainer(started=3, processed=5)) == (2, 5)
    assert resume_position(_trainer(started=3, processed=8, last=True)) == (3, 0)
    assert resume_position(_trainer(started=3, processed=7, window=4)) == (2, 4)


class Seen(Toy):
    """Keeps which items each batch held, and their disturbed values."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch.index.tolist(), batch.x.clone()))
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_workers(workers, tmp_path):
    runs = [train(tmp_path, Seen, ToyData(num_workers=k), max_epochs=2) for k in (0, workers)]
    plain, parallel = (run.lightning_module.seen for run in runs)
    assert [items for items, _ in plain] == [items for items, _ in parallel]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(plain, parallel, strict=True))
    for epoch in (plain[:5], plain[5:]):
        assert len(set(functools.reduce(operator.iadd, (items for items, _ in epoch), []))) == 20


def test_a_worker_outlives_the_clusters_signals_but_not_its_run():
    batches = iter(ToyData(length=400, num_workers=1).train_dataloader())
    first, worker = next(batches), batches._workers[0]
    for name in ("TERM", "USR1", "INT"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    assert len([first, *batches]) == 100
    assert worker.is_alive()
    worker.terminate()
    worker.join(timeout=5)
    assert worker.exitcode == 0


class Spawned(ToyData):
    worker_start = "spawn"


@pytest.mark.slow
def test_spawned_workers_give_the_same_batches(tmp_path):
    runs = [train(tmp_path, Seen, data(num_workers=2), max_epochs=2) for data in (ToyData, Spawned)]
    forked, spawned = (run.lightning_module.seen for run in runs)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(forked, spawned, strict=True))


def _on(data, world, rank=0, replace_sampler=False, window=1):
    connector = SimpleNamespace(use_distributed_sampler=replace_sampler)
    data.trainer = _trainer(restarting=False, window=window)
    vars(data.trainer).update(overfit_batches=0.0, global_rank=rank, world_size=world, _accelerator_connector=connector)
    return data


def test_global_batch_is_split_over_the_ranks(caplog):
    assert _on(ToyData(batch_size=12), 3).rank_batch() == 4
    assert _on(ToyData(batch_size=12, batch_scope="rank"), 3).rank_batch() == 12
    assert _on(ToyData(batch_size=12), 3).rank_batch(6) == 2
    with pytest.raises(DataError, match=r"batch of 12 does not divide over 5.*batch_scope rank"):
        _on(ToyData(batch_size=12), 5).rank_batch()
    with caplog.at_level("INFO"):
        assert len(_on(ToyData(length=22, batch_size=6), 2, window=4).train_dataloader()) == 3
    assert "Effective batch: 24 items = 3 x 2 processes x 4 accumulated" in caplog.text


def test_lightning_must_not_shard_again():
    with pytest.raises(ValueError, match="use_distributed_sampler false"):
        _on(ToyData(), 2, replace_sampler=True).val_dataloader()
    assert len(_on(ToyData(), 1, replace_sampler=True).val_dataloader()) == 3


def test_evaluation_loader_is_a_shard_in_order():
    batches = list(_on(ToyData(validation=5), 2, rank=1).val_dataloader())
    assert [batch.index.tolist() for batch in batches] == [[1, 3]]


def test_overfit_batches_would_replace_the_sampler(tmp_path):
    with pytest.raises(ValueError, match="limit_train_batches instead"):
        train(tmp_path, overfit_batches=2)


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="batch_size must be positive"):
        SuiteDataModule(batch_size=0)
    with pytest.raises(ValueError, match="num_workers"):
        SuiteDataModule(num_workers=-1)
    with pytest.raises(NotImplementedError, match="SuiteDataModule has no training set"):
        SuiteDataModule().train_dataloader()
