"""The schedule of optimizers: right phase at every epoch, best weights at every switch, exact resume in each phase."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser

from tasks.callbacks import OptimizerSwitch, Phase, newest_loadable
from tests.helpers import forkserver
from tests.helpers.equal_runs import assert_same_run
from tests.helpers.toy import Stop, Stopped, Toy, ToyData, differing, logged, train, weights

SGD = partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=1e-4)


def paper():
    """The phases of the paper, at 1e-4, 1e-3, 1e-4, 1e-5."""
    adam = partial(torch.optim.Adam, lr=1e-4)
    return [Phase(0, adam), Phase(60, partial(SGD, lr=1e-3)), Phase(80, partial(SGD, lr=1e-4)), Phase(100, partial(SGD, lr=1e-5))]


def short():
    """The same shape in six epochs, at rates that move the weights."""
    return [Phase(0, partial(torch.optim.Adam, lr=0.05)), Phase(2, partial(SGD, lr=0.05)), Phase(4, partial(SGD, lr=0.01))]


class Peaked(Toy):
    """Scores that peak at epochs 1 and 3, never just before a switch; nothing is the best twice."""

    def on_validation_epoch_end(self):
        self.log("val/auroc_macro", {1: 0.7, 3: 0.8, 90: 0.9}.get(self.trainer.current_epoch, 0.1))
        super().on_validation_epoch_end()


class Watch(pl.Callback):
    """Optimizer settings and weights at the first batch of every epoch, and weights after every validation."""

    def __init__(self):
        self.table, self.at_start, self.validated = {}, {}, {}

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 0:
            optimizer = trainer.optimizers[0]
            group = optimizer.param_groups[0]
            names = ("lr", "momentum", "weight_decay", "nesterov")
            self.table[trainer.current_epoch] = (type(optimizer).__name__, *(group.get(name) for name in names))
            self.at_start[trainer.current_epoch] = {k: v.clone() for k, v in module.state_dict().items()}

    def on_validation_end(self, trainer, module):
        self.validated[trainer.current_epoch] = {k: v.clone() for k, v in module.state_dict().items()}


def fit(folder, phases=short, stop=None, resume=False, epochs=6, watch=None, **options):
    path = newest_loadable(Path(folder) / "checkpoints") if resume else None
    switch = OptimizerSwitch(phases())
    before = [watch] if watch else []
    after = [Stop(*stop)] if stop else []
    return train(folder, Peaked, callbacks=(switch, *before, *after), max_epochs=epochs, ckpt_path=path, **options)


def test_the_papers_table(tmp_path):
    watch = Watch()
    fit(tmp_path, paper, epochs=101, watch=watch, data=ToyData(4, 2), every=0)
    second = ("SGD", 1e-3, 0.9, 1e-4, True)
    rows = {59: ("Adam", 1e-4, None, 0, None), 60: second, 79: second}
    rows |= {80: ("SGD", 1e-4, 0.9, 1e-4, True), 99: ("SGD", 1e-4, 0.9, 1e-4, True), 100: ("SGD", 1e-5, 0.9, 1e-4, True)}
    assert {epoch: watch.table[epoch] for epoch in rows} == rows
    assert watch.table[0] == rows[59]
    for epoch, best in ((60, 3), (80, 3), (100, 90)):
        assert differing(watch.at_start[epoch], watch.validated[best]) == []
        assert len(differing(watch.at_start[epoch], watch.validated[epoch - 1])) > 4


def test_a_switch_goes_back_to_the_best_weights_and_statistics(tmp_path):
    watch = Watch()
    fit(tmp_path, watch=watch)
    for epoch, best in ((2, 1), (4, 3)):
        assert differing(watch.at_start[epoch], watch.validated[best]) == []
    watch = Watch()
    fit(tmp_path / "later", lambda: [Phase(0, SGD_FAST), Phase(3, SGD_FAST)], watch=watch)
    assert differing(watch.at_start[3], watch.validated[1]) == []
    changed = differing(watch.at_start[3], watch.validated[2])
    assert "net.1.running_mean" in changed
    assert "net.0.weight" in changed
    assert "net.1.num_batches_tracked" in changed


SGD_FAST = partial(torch.optim.SGD, lr=0.1)


def test_the_best_checkpoint_holds_the_weights_of_the_switch(tmp_path):
    watch = Watch()
    fit(tmp_path, watch=watch, epochs=3, monitor="val/loss")
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["OptimizerSwitch"]
    assert (state["phase"], state["best_epoch"], state["best_score"]) == (1, 1, pytest.approx(0.7))
    assert differing(state["best_weights"], watch.validated[1]) == []


@pytest.mark.parametrize("stop", [10, 11, 21, *(pytest.param(step, marks=pytest.mark.slow) for step in (5, 13, 20, 23))])
@pytest.mark.parametrize("how", ["raise", "SIGUSR1"])
def test_resume_is_exact_in_every_phase(stop, how, tmp_path):
    """Steps 10 and 20 are the last before a switch, 11 and 21 the first after."""
    whole = fit(tmp_path / "whole")
    with pytest.raises((Stopped, SystemExit)):
        fit(tmp_path / "cut", stop=("on_train_batch_end", stop, how))
    shutil.move(tmp_path / "cut", tmp_path / "moved")
    trainer = fit(tmp_path / "moved", resume=True)
    assert differing(weights(trainer), weights(whole)) == []
    assert logged(tmp_path / "moved") == logged(tmp_path / "whole")


def test_the_best_weights_survive_a_resume(tmp_path):
    """Stopped in epoch 2: epoch 1's weights are the best, and are gone back to at the start of epoch 3."""
    phases = partial(list, [Phase(0, SGD_FAST), Phase(3, SGD_FAST)])
    whole = fit(tmp_path / "whole", phases, epochs=5)
    with pytest.raises(SystemExit):
        fit(tmp_path / "cut", phases, ("on_train_batch_end", 13, "SIGUSR1"), epochs=5)
    trainer = fit(tmp_path / "cut", phases, resume=True, epochs=5)
    assert_same_run(trainer, tmp_path / "cut", weights(whole), logged(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [61, 85])
def test_resume_in_the_papers_schedule(epoch, tmp_path):
    options = {"epochs": 102, "data": ToyData(8, 2), "every": 1}
    whole = fit(tmp_path / "whole", paper, **options)
    with pytest.raises(Stopped):
        fit(tmp_path / "cut", paper, ("on_train_batch_start", 2 * epoch + 2), **options)
    trainer = fit(tmp_path / "cut", paper, resume=True, **options)
    assert differing(weights(trainer), weights(whole)) == []
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


def test_without_a_validation_the_last_weights_go_on(tmp_path):
    watch = Watch()
    with pytest.warns(UserWarning, match="'val/auroc_macro' was never logged"):
        fit(tmp_path, watch=watch, epochs=3, limit_val_batches=0)
    assert watch.table[2][0] == "SGD"


def test_phases_must_start_at_zero_and_rise():
    for epochs in ([], [1], [0, 5, 5], [0, 9, 3]):
        with pytest.raises(ValueError, match="must start at 0 and increase"):
            OptimizerSwitch([Phase(epoch, SGD) for epoch in epochs])
    with pytest.raises(ValueError, match="mode"):
        OptimizerSwitch(short(), mode="best")


def test_a_module_with_a_scheduler_of_its_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one optimizer and no scheduler"):
        train(tmp_path, partial(Toy, schedule="step"), callbacks=(OptimizerSwitch(short()),))


def test_phases_from_yaml():
    parser = ArgumentParser()
    parser.add_class_arguments(OptimizerSwitch, "switch")
    text = """
    phases:
    - {epoch: 0, optimizer: {class_path: Adam, init_args: {lr: 1e-4}}}
    - {epoch: 60, optimizer: {class_path: torch.optim.SGD, init_args: {lr: 1e-3, momentum: 0.9, nesterov: true}}}
    """
    built = parser.instantiate_classes(parser.parse_object({"switch": __import__("yaml").safe_load(text)}))
    weight = [torch.nn.Parameter(torch.zeros(1))]
    made = [phase.optimizer(weight) for phase in built.switch.phases]
    assert [type(optimizer).__name__ for optimizer in made] == ["Adam", "SGD"]
    assert made[1].defaults["lr"] == 1e-3
    assert made[1].defaults["nesterov"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_agree_and_resume(tmp_path):
    train_two = partial(forkserver.run, "tests.helpers.toy", "--switch", "--devices", 2, "--every", 1, "--folder")
    assert train_two(tmp_path / "whole").returncode == 0
    stopped = train_two(tmp_path / "cut", "--stop", "on_train_batch_end", 12, "SIGUSR1", "--stop_rank", 1)
    assert stopped.returncode == 138
    assert train_two(tmp_path / "cut", "--resume").returncode == 0
    whole, cut = ([torch.load(tmp_path / name / f"weights{rank}.pt") for rank in (0, 1)] for name in ("whole", "cut"))
    assert differing(*whole) == []
    assert differing(*cut) == []
    assert differing(whole[0], cut[0]) == []
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")
    state = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt")["callbacks"]["OptimizerSwitch"]
    assert state["phase"] == 1
