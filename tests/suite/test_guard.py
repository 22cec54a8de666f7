"""Steps that are not finite are skipped whole, counted, and end the run after three in a row."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from datamodules.common.errors import DataError
from tasks.callbacks import FiniteGuard, newest_loadable
from tasks.callbacks.guard import all_finite
from tests.helpers.equal_runs import assert_same_run
from tests.helpers.toy import Stop, Toy, ToyData, ToyGan, differing, logged, train, weights


class BadSteps(Toy):
    """Loss or gradient goes bad in given batches (counted over the run)."""

    def __init__(self, loss=(), gradient=(), value=float("nan"), **options):
        super().__init__(**options)
        self.bad = loss, gradient, value

    def training_step(self, batch, batch_idx):
        loss, gradient, value = self.bad
        done = self.trainer.fit_loop.total_batch_idx
        result = super().training_step(batch, batch_idx)
        if done in loss:
            return result + value
        if done in gradient:
            # A finite loss with an infinite slope.
            return result + torch.sqrt(self.net[4].bias.abs().sum() * 0)
        return result


class Weights(Stop):
    """Weights, statistics and optimizer state before and after every batch."""

    def __init__(self):
        self.before, self.after = [], []

    def on_train_batch_start(self, trainer, *_):
        self.before.append({name: value.clone() for name, value in weights(trainer).items()})

    def on_train_batch_end(self, trainer, *_):
        self.after.append({name: value.clone() for name, value in weights(trainer).items()})


def student(names):
    return [name for name in names if "teacher" not in name]


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_step_changes_nothing_and_is_counted(kind, value, tmp_path):
    watch = Weights()
    trainer = train(tmp_path, partial(BadSteps, **{kind: (2, 6)}, value=value), callbacks=(watch,))
    changed = [bool(student(differing(a, b))) for a, b in zip(watch.before, watch.before[1:] + watch.after[-1:], strict=False)]
    still = [k for k, moved in enumerate(changed) if not moved]
    assert still == [2, 6], "bad steps alone must leave weights, statistics and optimizer as they were"
    assert [name for name, value in weights(trainer).items() if not value.isfinite().all()] == []
    log = logged(tmp_path)
    counts = {step: float.fromhex(count) for (step, name), count in log.items() if name == "train/skipped_steps"}
    assert counts == {step: 1 + (step >= 6) for step in range(2, 15)}


def test_nan_audio_does_not_spoil_running_statistics(tmp_path):
    trainer = train(tmp_path, data=ToyData(bad=(3,)))
    assert [name for name, value in weights(trainer).items() if not value.isfinite().all()] == []
    assert "train/skipped_steps" in {name for _, name in logged(tmp_path)}


def test_a_bad_micro_batch_costs_its_whole_window(tmp_path):
    watch = Weights()
    options = {"accumulate_grad_batches": 2, "max_epochs": 1, "data": ToyData(40)}
    train(tmp_path, partial(BadSteps, loss=(4,)), callbacks=(watch,), **options)
    moved = [
        bool([n for n in differing(a, b) if n.startswith(("net.0", "optimizer"))])
        for a, b in zip(watch.before, watch.after, strict=False)
    ]
    assert moved == [False, True, False, True, False, False, False, True, False, True]
    statistics = [differing(watch.before[4], watch.before[6]), differing(watch.before[2], watch.before[4])]
    assert ["net.1.running_mean" in names for names in statistics] == [False, True]


def test_two_optimizers_skip_together(tmp_path):
    trainer = train(tmp_path, ToyGan, data=ToyData(bad=(3,)))
    assert [name for name, value in weights(trainer).items() if not value.isfinite().all()] == []
    assert "train/skipped_steps" in {name for _, name in logged(tmp_path)}


def test_three_in_a_row_end_the_run_with_the_files(tmp_path):
    data = ToyData(bad=tuple(range(22)))
    with pytest.raises(DataError, match="3 steps in a row, last in step 2 of epoch 0") as error:
        train(tmp_path, data=data)
    assert sum(f"{index:02d}.wav" in str(error.value) for index in range(22)) == 12


def test_two_in_a_row_do_not(tmp_path):
    train(tmp_path, partial(BadSteps, loss=(1, 2, 4, 5)))


def test_only_files_of_the_bad_micro_batches_are_named(tmp_path):
    bad = partial(BadSteps, loss=(0, 2, 4))
    with pytest.raises(DataError) as error:
        train(tmp_path, bad, data=ToyData(40), accumulate_grad_batches=2)
    assert str(error.value).count(".wav") == 12


def test_the_row_survives_a_resume(tmp_path):
    bad = partial(BadSteps, loss=(1, 2, 3))
    with pytest.raises(SystemExit):
        train(tmp_path, bad, callbacks=(Stop("on_train_batch_end", 3, "SIGUSR1"),))
    with pytest.raises(DataError, match="3 steps in a row"):
        train(tmp_path, bad, ckpt_path=newest_loadable(tmp_path / "checkpoints"))


def test_resume_is_exact_around_a_skipped_step(tmp_path):
    bad = partial(BadSteps, loss=(2,))
    whole = train(tmp_path / "whole", bad)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", bad, callbacks=(Stop("on_train_batch_end", 3, "SIGUSR1"),))
    trainer = train(tmp_path / "cut", bad, ckpt_path=newest_loadable(tmp_path / "cut" / "checkpoints"))
    assert_same_run(trainer, tmp_path / "cut", weights(whole), logged(tmp_path / "whole"))


def test_a_step_that_is_bad_on_another_rank_is_skipped_here_too():
    """Else the ranks would go on with different weights; test_ddp_toy does it with two processes."""
    asked = []

    def other_rank_refuses(mine, all):
        asked.append({"mine": mine, "all": all})
        return False

    strategy = SimpleNamespace(reduce_boolean_decision=other_rank_refuses)
    trainer = SimpleNamespace(strategy=strategy, accumulate_grad_batches=1, precision_plugin=None)
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    guard = FiniteGuard()
    guard.on_train_batch_start(trainer, None, None, 0)
    guard.on_before_backward(trainer, None, torch.tensor(1.0))
    guard.on_before_optimizer_step(trainer, None, torch.optim.SGD([weight]))
    assert asked == [{"mine": True, "all": True}], "the ranks must decide together, and all must find it finite"
    assert weight.grad is None, "a rank took a step that another one skips"


def test_bad_files_of_another_rank_are_named(monkeypatch):
    def gather(found, mine):
        found[:] = [mine, (["theirs.wav"], ["theirs.wav", "fine.wav"])]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    guard = FiniteGuard()
    guard._window = [(("mine.wav",), [torch.tensor(1.0)])]
    assert guard._suspects(SimpleNamespace(world_size=2)) == ["theirs.wav"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_finite(dtype):
    good = [torch.ones(3, dtype=dtype), torch.full((2, 2), torch.finfo(dtype).max, dtype=dtype)]
    assert bool(all_finite(good))
    assert bool(all_finite([]))
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert not bool(all_finite([*good, torch.tensor([1.0, bad, 2.0], dtype=dtype)]))


def test_patience_must_mean_something():
    with pytest.raises(ValueError, match="patience"):
        FiniteGuard(patience=0)
