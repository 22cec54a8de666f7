"""Stop when the cluster asks, at the same step on every rank, with nothing lost."""

import signal
import threading
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

from tasks.callbacks.checkpoint import Checkpoint


class Preempt(Callback):
    """Saves `last.ckpt` and leaves with status 128 + signal when any rank was signalled during `fit`.

    The handler only notes the signal. Ranks agree at the start of a training batch where no accumulation window is
    open, and at validation batches that all ranks have (a validation so stopped is repeated whole on resume).
    Lightning's own handlers are kept out: they broadcast, or save, inside the signal handler, which can hang. So
    requeueing belongs into the batch script, and `SLURMEnvironment(auto_requeue=...)` has no effect.
    A second Ctrl-C stops at once.

    signals: names of the signals to heed; every_n_batches: how often the ranks agree (one small all-reduce).
    """

    def __init__(self, signals: Sequence[str] = ("SIGTERM", "SIGUSR1", "SIGINT"), every_n_batches: int = 1):
        if every_n_batches < 1:
            raise ValueError(f"every_n_batches must be 1 or more: {every_n_batches}.")
        self.signals = [getattr(signal, name) for name in signals if hasattr(signal, name)]  # Windows lacks some
        self.every_n_batches = every_n_batches
        self._received = 0
        self._handlers: dict[int, Any] = {}
        self._shared_batches = 0  # validation batches that every rank has
        self._seen_batches = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit" or threading.current_thread() is not threading.main_thread():
            return
        trainer._signal_connector.register_signal_handlers = lambda: None
        self._received = 0
        for number in self.signals:
            if number == signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN:
                continue  # in the background of a shell Ctrl-C is meant for someone else
            self._handlers.setdefault(number, signal.signal(number, self._note))

    def _note(self, number: int, _frame: Any) -> None:
        if number == signal.SIGINT:
            signal.signal(number, self._handlers.get(number, signal.default_int_handler))
        self._received = self._received or number

    def _agreed(self, trainer: pl.Trainer) -> int:
        """Signal number that some rank received, 0 for none; the same on every rank."""
        if trainer.world_size == 1:
            return self._received
        number = torch.tensor(self._received, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(number, reduce_op="max"))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches or batch_idx // trainer.accumulate_grad_batches % self.every_n_batches:
            return
        if number := self._agreed(trainer):
            checkpoint = _checkpoint_of(trainer)
            # The end of the epoch before has already been saved.
            if checkpoint and batch_idx:
                checkpoint.save_between_steps(trainer, batch_idx)
            self._leave(trainer, number)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        mine = torch.tensor(float(sum(batches)), device=trainer.strategy.root_device)
        self._shared_batches, self._seen_batches = float(trainer.strategy.reduce(mine, reduce_op="min")), 0

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._seen_batches += 1
        if trainer.state.fn != TrainerFn.FITTING or self._seen_batches > self._shared_batches:
            return
        if trainer.fit_loop._should_accumulate() and not trainer.sanity_checking:
            return  # the window's gradient would be lost
        if self._seen_batches % self.every_n_batches == 0 and (number := self._agreed(trainer)):
            checkpoint = _checkpoint_of(trainer)
            if checkpoint and not trainer.sanity_checking:
                checkpoint.save_last(trainer, "validation")
            self._leave(trainer, number)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if number := self._agreed(trainer):
            self._leave(trainer, number)

    def _leave(self, trainer: pl.Trainer, number: int) -> None:
        rank_zero_info(f"Stopped by {signal.Signals(number).name}: go on with --ckpt_path last.")
        # What was not written is said by the checkpoint's own hook for exceptions, after a last attempt.
        if _checkpoint_of(trainer) is None:
            rank_zero_warn("No Checkpoint callback: what was trained since the start is lost.")
        trainer.training = True  # else Lightning, stopped in a validation, leaves the training loader's workers behind
        # Lightning's launcher kills rank 0, which may still be closing its loggers, if a child it started fails.
        child = isinstance(trainer.strategy.cluster_environment, LightningEnvironment) if trainer.world_size > 1 else False
        raise SystemExit(0 if child and trainer.local_rank else 128 + number)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())


def _checkpoint_of(trainer: pl.Trainer) -> Checkpoint | None:
    return next((callback for callback in trainer.callbacks if isinstance(callback, Checkpoint)), None)
