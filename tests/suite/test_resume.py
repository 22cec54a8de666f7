"""A run that was stopped and resumed ends as the one that was not: every weight, statistic and logged value."""

import contextlib
from functools import partial

import pytest
import torch
from pytorch_lightning.callbacks import OnExceptionCheckpoint

from tasks.callbacks import newest_loadable
from tests.helpers import forkserver
from tests.helpers.equal_runs import assert_same_run
from tests.helpers.toy import Stop, Stopped, Toy, ToyData, ToyGan, differing, logged, train, weights

# Five steps an epoch, three epochs, checkpoints every two steps.
VARIANTS = {
    "plain": {},
    "gan": {"module": ToyGan},
    "accumulation": {"accumulate_grad_batches": 2, "module": partial(Toy, schedule="step")},
    "validation within epochs": {"val_check_interval": 2},
    "validation across epochs": {"val_check_interval": 3, "check_val_every_n_epoch": None},
    "validation in an open window": {"val_check_interval": 3, "accumulate_grad_batches": 2},
    "plateau": {"module": partial(Toy, schedule="plateau")},
    "plateau, validation every other epoch": {"module": partial(Toy, schedule="plateau"), "check_val_every_n_epoch": 2},
    "no validation": {"limit_val_batches": 0},
    "limited by steps": {"max_steps": 8, "max_epochs": -1},
    "bf16": {"precision": "bf16-mixed"},
}
STOPS = {
    "first step": ("on_train_batch_end", 1, "raise"),
    "before the first step": ("on_train_batch_start", 1, "SIGUSR1"),
    "mid-epoch": ("on_train_batch_start", 4, "raise"),
    "mid-epoch, preempted": ("on_train_batch_end", 3, "SIGUSR1"),
    "last step of an epoch": ("on_train_batch_end", 5, "raise"),
    "last step, preempted": ("on_train_batch_start", 5, "SIGTERM"),
    "in validation": ("on_validation_batch_end", 2, "raise"),
    "in validation, preempted": ("on_validation_batch_end", 2, "SIGTERM"),
    "after validation": ("on_validation_end", 1, "raise"),
    "end of an epoch": ("on_train_epoch_end", 2, "raise"),
    "start of an epoch": ("on_train_epoch_start", 2, "raise"),
    "second epoch": ("on_train_batch_end", 8, "SIGUSR1"),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Weights and log of a variant's whole run, each trained once."""
    runs = {}

    def run(variant):
        if variant not in runs:
            folder = tmp_path_factory.mktemp("whole")
            runs[variant] = weights(train(folder, **VARIANTS[variant])), logged(folder)
        return runs[variant]

    return run


def stop_and_resume(folder, stop, data=ToyData, **options):
    """Train until stopped (None if that never happens), then to the end from the newest checkpoint."""
    with contextlib.suppress(Stopped, SystemExit):
        train(folder, data=data(), callbacks=(Stop(*stop),), **options)
        return None
    return train(folder, data=data(), ckpt_path=newest_loadable(folder / "checkpoints"), **options)


QUICK = ("first step", "mid-epoch, preempted", "last step of an epoch", "in validation, preempted")


@pytest.mark.parametrize("stop", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STOPS])
@pytest.mark.parametrize("variant", VARIANTS)
def test_resume_is_bit_exact(variant, stop, uninterrupted, tmp_path):
    trainer = stop_and_resume(tmp_path, STOPS[stop], **VARIANTS[variant])
    if trainer is None:
        pytest.skip("this variant never gets there")
    assert_same_run(trainer, tmp_path, *uninterrupted(variant))


@pytest.mark.parametrize("stop", ["mid-epoch", "last step of an epoch", "in validation, preempted"])
def test_resume_is_exact_with_workers(stop, uninterrupted, tmp_path):
    trainer = stop_and_resume(tmp_path, STOPS[stop], partial(ToyData, num_workers=2))
    assert_same_run(trainer, tmp_path, *uninterrupted("plain"))


def test_two_stops_are_as_exact_as_one(uninterrupted, tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=(Stop("on_train_batch_end", 3, "SIGUSR1"),))
    for nth in (1, 4):  # counted anew in each session
        resumed = newest_loadable(tmp_path / "checkpoints")
        with pytest.raises(Stopped):
            train(tmp_path, callbacks=(Stop("on_train_batch_start", nth),), ckpt_path=resumed)
    trainer = train(tmp_path, ckpt_path=newest_loadable(tmp_path / "checkpoints"))
    assert_same_run(trainer, tmp_path, *uninterrupted("plain"))


def test_more_epochs_go_on_exactly(uninterrupted, tmp_path):
    train(tmp_path, max_epochs=2)
    trainer = train(tmp_path, ckpt_path=newest_loadable(tmp_path / "checkpoints"))
    assert_same_run(trainer, tmp_path, *uninterrupted("plain"))


def test_more_steps_go_on_exactly(tmp_path):
    """`max_steps` cuts an epoch short, which Lightning counts as whole."""
    options = {"max_epochs": -1, "limit_val_batches": 0}
    whole = train(tmp_path / "whole", max_steps=13, **options)
    train(tmp_path / "cut", max_steps=8, **options)
    path = newest_loadable(tmp_path / "cut" / "checkpoints")
    trainer = train(tmp_path / "cut", max_steps=13, ckpt_path=path, **options)
    assert_same_run(trainer, tmp_path / "cut", weights(whole), logged(tmp_path / "whole"))


@pytest.mark.parametrize("stop", [("on_train_epoch_start", 4, "raise"), ("on_train_batch_end", 12, "SIGUSR1")])
def test_plateau_is_stepped_after_epochs_without_validation(stop, tmp_path):
    """At the end of the third epoch, by the second's score: neither the step nor the score is Lightning's to restore."""
    options = {"module": partial(Toy, schedule="plateau"), "check_val_every_n_epoch": 2, "max_epochs": 5}
    whole = train(tmp_path / "whole", **options)
    trainer = stop_and_resume(tmp_path / "cut", stop, **options)
    assert len({whole.optimizers[0].param_groups[0]["lr"], 0.05, 0.025}) == 3
    assert differing(weights(trainer), weights(whole)) == []


def test_window_cut_by_an_exception_is_done_again(tmp_path):
    """Lightning's own on-exception checkpoint, saved with half of a window's gradient lost."""
    options = {"accumulate_grad_batches": 4, "module": partial(Toy, norm=False), "every": 0}
    extra = OnExceptionCheckpoint(str(tmp_path / "cut"), "exception")
    with pytest.raises(Stopped):
        train(tmp_path / "cut", callbacks=(Stop("on_train_batch_start", 7), extra), data=ToyData(40), **options)
    whole = train(tmp_path / "whole", data=ToyData(40), **options)
    trainer = train(tmp_path / "cut", data=ToyData(40), ckpt_path=str(tmp_path / "cut" / "exception.ckpt"), **options)
    # The averaged weights took part in the lost batches; what the optimizer made did not.
    assert [name for name in differing(weights(trainer), weights(whole)) if "teacher" not in name] == []


def test_a_kill_in_an_open_window_goes_back_to_its_start(tmp_path):
    """Nothing is saved there, however often it is asked for: what the module does after each batch would be done twice."""
    options = {"accumulate_grad_batches": 2, "every": 1}
    whole = train(tmp_path / "whole", **options)
    trainer = stop_and_resume(tmp_path / "cut", ("on_train_batch_end", 4, "raise"), **options)
    assert_same_run(trainer, tmp_path / "cut", weights(whole), logged(tmp_path / "whole"))


def test_the_last_checkpoint_of_a_run_without_validation_is_its_end(tmp_path):
    trainer = train(tmp_path, limit_val_batches=0, every=0)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert differing(last["state_dict"], dict(trainer.lightning_module.state_dict())) == [], "the last steps are not saved"


def test_steps_of_two_optimizers_are_counted_once_for_checkpoints(tmp_path):
    """Lightning's global step is 2, 4, 6 ... here: a checkpoint every 2 steps must come after 2 batches."""
    saved = []

    class Watch(Stop):
        def _call(self, trainer, *_):
            path = tmp_path / "checkpoints" / "last.ckpt"
            saved.append(torch.load(path)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"])

    trainer = train(tmp_path, ToyGan, callbacks=(Watch("on_train_batch_start", 1),), every=2, max_epochs=1)
    assert saved == [0, 0, 0, 2, 2]
    assert trainer.global_step == 10


def test_kill_9_loses_nothing(uninterrupted, tmp_path):
    killed = forkserver.run("tests.helpers.toy", "--folder", tmp_path, "--stop", "on_train_batch_end", 9, "SIGKILL")
    assert killed.returncode == -9
    trainer = train(tmp_path, ckpt_path=newest_loadable(tmp_path / "checkpoints"))
    assert_same_run(trainer, tmp_path, *uninterrupted("plain"))
