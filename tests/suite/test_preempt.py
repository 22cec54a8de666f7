"""A signal stops the run at a step boundary with everything saved (exactness: test_resume, test_ddp_toy)."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from tasks.callbacks import Preempt, newest_loadable
from tests.helpers.toy import Stop, Stopped, Toy, logged, train


@pytest.fixture(autouse=True)
def foreground():
    """A shell that starts tests in the background has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def saved(folder):
    path = newest_loadable(folder / "checkpoints")
    return path and torch.load(path)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"]


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGUSR1", 138), ("SIGINT", 130)])
def test_status_and_checkpoint(name, status, tmp_path):
    with pytest.raises(SystemExit) as left:
        train(tmp_path, callbacks=(Stop("on_train_batch_end", 3, name),), every=0)
    assert left.value.code == status
    assert saved(tmp_path) == 3
    assert max(step for step, _ in logged(tmp_path)) == 2  # the third step is logged before the run leaves


def test_an_open_window_is_finished_first(tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=(Stop("on_train_batch_end", 1, "SIGTERM"),), every=0, accumulate_grad_batches=2)
    assert saved(tmp_path) == 2


def test_validation_in_an_open_window_is_not_left(tmp_path):
    options = {"accumulate_grad_batches": 2, "val_check_interval": 3, "every": 0}
    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=(Stop("on_validation_batch_end", 1, "SIGTERM"),), **options)
    assert saved(tmp_path) == 4


def test_agreement_may_be_rarer(tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=(Stop("on_train_batch_end", 1, "SIGTERM"),), every=0, preempt=Preempt(every_n_batches=4))
    assert saved(tmp_path) == 4


def test_in_validation_the_run_leaves_at_once_with_the_step_saved(tmp_path):
    with pytest.raises(SystemExit) as left:
        train(tmp_path, callbacks=(Stop("on_validation_batch_end", 1, "SIGTERM"),), every=0)
    assert left.value.code == 143
    assert saved(tmp_path) == 5
    assert not [name for _, name in logged(tmp_path) if name == "val/loss"]


def test_in_the_sanity_check_there_is_nothing_to_save(tmp_path):
    with pytest.raises(SystemExit) as left:
        train(tmp_path, callbacks=(Stop("on_sanity_check_start", 1, "SIGTERM"),), num_sanity_val_steps=2)
    assert left.value.code == 143
    assert saved(tmp_path) is None


def test_a_signal_after_the_last_step_still_counts(tmp_path):
    """Else `test` would begin, and be killed."""
    with pytest.raises(SystemExit):
        train(tmp_path, callbacks=(Stop("on_train_epoch_end", 3, "SIGTERM"),))
    assert saved(tmp_path) == 15


def test_handlers_are_given_back(tmp_path):
    names = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]
    before = [signal.getsignal(name) for name in names]
    train(tmp_path, max_epochs=1)
    assert [signal.getsignal(name) for name in names] == before
    with pytest.raises(Stopped):
        train(tmp_path, callbacks=(Stop("on_train_batch_end", 1),))
    assert [signal.getsignal(name) for name in names] == before


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    class Twice(Stop):
        def _call(self, trainer, *_):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as left:  # Lightning turns KeyboardInterrupt into this
        train(tmp_path, callbacks=(Twice("on_train_batch_end", 1),), every=0)
    assert left.value.code == 1
    assert saved(tmp_path) == 0


def test_ctrl_c_stays_ignored_in_the_background(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    train(tmp_path, callbacks=(Stop("on_train_batch_end", 1, "SIGINT"),), max_epochs=1)


def test_lightnings_own_handlers_stay_out(tmp_path):
    """They broadcast inside the handler, and under SLURM save there: both can hang."""
    seen = []

    class Look(Stop):
        def _call(self, trainer, *_):
            seen.append(signal.getsignal(signal.SIGTERM))

    train(tmp_path, callbacks=(Look("on_train_batch_end", 1),), max_epochs=1)
    assert all(getattr(handler, "__func__", None) is Preempt._record for handler in seen)


def test_outside_the_main_thread_nothing_is_handled(tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.append(train(tmp_path, max_epochs=1)))
    thread.start()
    thread.join()
    assert done


def ranks(others: int | float):
    """A trainer of two ranks, the other of which holds this number; counts what the two ask each other."""
    asked = []

    def reduce(mine, reduce_op):
        asked.append(reduce_op)
        return torch.tensor({"max": max, "min": min}[reduce_op](float(mine), others))

    strategy = SimpleNamespace(reduce=reduce, root_device=torch.device("cpu"))
    loop = SimpleNamespace(_should_accumulate=lambda: False)
    state = SimpleNamespace(fn=TrainerFn.FITTING)
    trainer = SimpleNamespace(world_size=2, strategy=strategy, fit_loop=loop, state=state, sanity_checking=False)
    return trainer, asked


def test_a_signal_to_another_rank_stops_this_one():
    """Else one rank would leave and the other wait for it for ever; test_ddp_toy does it with two processes."""
    trainer, asked = ranks(signal.SIGTERM)
    assert Preempt()._agreed(trainer) == signal.SIGTERM
    assert asked == ["max"]


def test_ranks_ask_each_other_only_in_validation_batches_that_both_have():
    trainer, asked = ranks(2)
    trainer.num_val_batches = [3]  # the other rank has two
    preempt = Preempt()
    preempt.on_validation_start(trainer, None)
    asked.clear()
    trainer.strategy.reduce = lambda mine, reduce_op: asked.append(reduce_op) or torch.tensor(0)
    for _ in range(3):
        preempt.on_validation_batch_end(trainer, None)
    assert len(asked) == 2, "in a batch that the other rank does not have this one waits for ever"


def test_without_a_checkpoint_callback_the_loss_is_said(tmp_path):
    import pytorch_lightning as pl

    from tests.helpers.toy import ToyData

    callbacks = [Preempt(), Stop("on_train_batch_end", 1, "SIGTERM")]
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=callbacks, enable_progress_bar=False
    )
    with pytest.raises(SystemExit), pytest.warns(UserWarning, match="No Checkpoint callback"):
        trainer.fit(Toy(), datamodule=ToyData())


def test_arguments_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="every_n_batches"):
        Preempt(every_n_batches=0)
