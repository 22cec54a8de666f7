"""Every step draws from (seed, epoch, batch, rank) and from nothing else."""

import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from tasks.callbacks import StepSeed
from tasks.callbacks.checkpoint import reseed
from tests.helpers.toy import Toy, ToyData, ToyTrap, train


def drawn():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_all_three_generators_are_seeded():
    reseed(1, 2)
    first = drawn()
    torch.rand(100)
    reseed(1, 2)
    assert drawn() == first
    reseed(2, 1)
    assert all(a != b for a, b in zip(drawn(), first, strict=True))


def step(epoch=0, rank=0, batch=0, seed=3):
    callback = StepSeed(seed)
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, global_step=0)
    callback.on_train_batch_start(trainer, None, None, batch)
    return drawn()


def test_epoch_batch_rank_and_seed_all_matter():
    assert step() == step()
    others = [step(epoch=1), step(rank=1), step(batch=1), step(seed=4)]
    assert len({step(), *others}) == 5, "one of epoch, rank, batch and seed changes nothing"


def test_evaluation_draws_are_its_own():
    callback = StepSeed(3)
    for hook in (callback.on_validation_batch_start, callback.on_test_batch_start, callback.on_predict_batch_start):
        first, second = (hook(SimpleNamespace(global_rank=0), None, None, 0) or drawn() for _ in range(2))
        assert first == second, "an evaluation that draws would score one checkpoint twice in two ways"
        assert first != step()


def test_micro_batches_of_a_window_draw_differently(tmp_path):
    module = train(tmp_path, ToyTrap, accumulate_grad_batches=5, max_epochs=2).lightning_module
    assert len(module.masks) == 10
    assert len(set(module.masks)) > 6


def test_the_seed_is_the_datas_else_the_runs(tmp_path, monkeypatch):
    callback = StepSeed()
    callback.setup(SimpleNamespace(datamodule=ToyData(seed=11)), None, "fit")
    assert callback.seed == 11
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    callback = StepSeed()
    callback.setup(SimpleNamespace(datamodule=None), None, "fit")
    assert callback.seed == 5


class Noisy(Toy):
    """Validation that draws random numbers, as no validation should."""

    def __init__(self, draws=0):
        super().__init__()
        self.draws, self.losses = draws, []

    def validation_step(self, batch, batch_idx):
        nn.functional.dropout(torch.ones(1 + self.draws))
        super().validation_step(batch, batch_idx)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


def test_validation_does_not_disturb_training(tmp_path):
    runs = [train(tmp_path, partial(Noisy, draws=k), val_check_interval=2).lightning_module.losses for k in (0, 7)]
    assert runs[0] == runs[1]
