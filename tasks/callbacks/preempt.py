"""Stop when the cluster asks, at the same step on every rank, with nothing lost."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

from tasks.callbacks.checkpoint import Checkpoint
from tasks.callbacks.signals import SignalCallback, exit_status, shared_batches, spoken
from tasks.lightning_internals import accumulates, leave_validation


class Preempt(SignalCallback):
    """Saves `last.ckpt` and leaves with status 128 + signal when any rank was signalled during `fit`.

    The handler only notes the signal. Ranks agree at the start of a training batch where no accumulation window is
    open, and at validation batches that all ranks have (a validation so stopped is repeated whole on resume).
    Requeueing belongs into the batch script: `SLURMEnvironment(auto_requeue=...)` has no effect.
    A second Ctrl-C stops at once.

    signals: names of the signals to heed; every_n_batches: how often the ranks agree (one small all-reduce).
    """

    def __init__(self, signals: Sequence[str] = ("SIGTERM", "SIGUSR1", "SIGINT"), every_n_batches: int = 1):
        if every_n_batches < 1:
            raise ValueError(f"every_n_batches must be 1 or more: {every_n_batches}.")
        super().__init__(signals)
        self.every_n_batches = every_n_batches
        self._shared_batches = 0.0  # validation batches that every rank has
        self._seen_batches = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.listen(trainer)

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
        self._shared_batches, self._seen_batches = shared_batches(trainer, batches), 0

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._seen_batches += 1
        if trainer.state.fn != TrainerFn.FITTING or self._seen_batches > self._shared_batches:
            return
        if accumulates(trainer) and not trainer.sanity_checking:
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
        rank_zero_info(f"Stopped by {spoken(number)}: go on with --ckpt_path last.")
        # What was not written is said by the checkpoint's own hook for exceptions, after a last attempt.
        if _checkpoint_of(trainer) is None:
            rank_zero_warn("No Checkpoint callback: what was trained since the start is lost.")
        leave_validation(trainer)
        raise SystemExit(exit_status(trainer, number))


def _checkpoint_of(trainer: pl.Trainer) -> Checkpoint | None:
    return next((callback for callback in trainer.callbacks if isinstance(callback, Checkpoint)), None)
