"""Stop `validate`, `test` and `predict` between batches when a signal asks, on all ranks."""

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

from tasks.callbacks.checkpoint import Checkpoint
from tasks.cli.lightning_internals import accumulates, keep_signal_handlers, leave_validation

# Signals noted by a callback, which the loop heeds where nothing is lost.


class SignalCallback(Callback):
    """Notes signals while a subclass listens; a second Ctrl-C interrupts at once.

    Lightning's own handlers are kept out.

    signals: names of the signals to heed
    """

    def __init__(self, signals: Sequence[str] = ("SIGTERM", "SIGUSR1", "SIGINT")) -> None:
        self.signals = [getattr(signal, name) for name in signals if hasattr(signal, name)]  # Windows lacks some
        self._received = 0
        self._handlers: dict[int, Any] = {}

    def listen(self, trainer: pl.Trainer) -> None:
        """Install the handlers; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        keep_signal_handlers(trainer)
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

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())


def spoken(number: int) -> str:
    """Name of a signal for the screen."""
    name = signal.Signals(number).name
    return f"Ctrl-C ({name})" if number == signal.SIGINT else name


def exit_status(trainer: pl.Trainer, number: int) -> int:
    """Status to leave with after a signal: 128 + number, but 0 for a child of Lightning's launcher.

    The launcher kills rank 0, which may still be writing, if a child that it started fails.
    """
    child = isinstance(trainer.strategy.cluster_environment, LightningEnvironment) if trainer.world_size > 1 else False
    return 0 if child and trainer.local_rank else 128 + number


def shared_batches(trainer: pl.Trainer, batches: Sequence[int | float]) -> float:
    """Number of batches that every rank has."""
    mine = torch.tensor(float(sum(batches)), device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(mine, reduce_op="min"))


class AgreedStop(SystemExit):
    """Exit that every rank takes: they may wait for each other on the way out."""


class StopEvaluation(SignalCallback):
    """Leaves with status 128 + signal before the next batch when any rank was signalled outside `fit`.

    In `validate` and `test` the ranks agree by a reduction before each batch that all of them have. In `predict`, where a file
    may take one rank a second and another an hour, a rank that is signalled leaves a marker in the run folder that the others
    look for. A signal during the last file or batch counts too, though everything is done then.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._marker: Path | None = None
        self._shared = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listen, and choose the name of the marker."""
        if stage == "fit":
            return
        self.listen(trainer)
        if stage == "predict" and trainer.world_size > 1:
            process = trainer.strategy.broadcast(os.getpid())
            self._marker = Path(trainer.default_root_dir) / f".stop-{process}"

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._shared = shared_batches(trainer, trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._shared = shared_batches(trainer, trainer.num_test_batches)

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._stop_evaluation(trainer, batch_idx, "validation")

    def on_test_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        self._stop_evaluation(trainer, batch_idx, "test")

    def on_predict_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        self._stop_prediction(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Heed a signal that came during the last file or batch, here or, in `predict`, by now elsewhere."""
        if stage == "predict":
            self._stop_prediction(trainer)
        elif stage != "fit" and self._received:
            raise AgreedStop(exit_status(trainer, self._received))
        super().teardown(trainer, pl_module, stage)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._marker is not None and trainer.is_global_zero:
            self._marker.unlink(missing_ok=True)
        super().on_exception(trainer, pl_module, exception)

    def _note(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and not self._received:
            os.write(2, b"\nStopping after this file or batch; Ctrl-C again stops at once.\n")  # a handler may not print
        super()._note(number, frame)

    def _stop_evaluation(self, trainer: pl.Trainer, batch_idx: int, split: str) -> None:
        if batch_idx < self._shared and (number := self._agreed(trainer)):
            name = spoken(number)
            rank_zero_info(f"Stopped by {name}: the {split} split was not scored, run the same command again.")
            raise AgreedStop(exit_status(trainer, number))

    def _stop_prediction(self, trainer: pl.Trainer) -> None:
        if number := self._received or self._marked():
            if self._marker is not None:
                with suppress(OSError):
                    self._marker.write_text(str(int(number)))
            name = spoken(number)
            rank_zero_info(f"Stopped by {name}: the same command goes on with the files that are not done.")
            raise AgreedStop(exit_status(trainer, number))

    def _marked(self) -> int:
        """Signal that another rank received."""
        if self._marker is None:
            return 0
        try:
            return int(self._marker.read_text() or signal.SIGTERM)
        except (OSError, ValueError):
            return 0


# Stop when the cluster asks, at the same step on every rank, with nothing lost.


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
