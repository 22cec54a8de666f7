"""Signal handling: SIGTERM, SIGUSR1 or Ctrl-C -> all ranks stop between batches, a training after saving `last.ckpt`."""

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


class SignalCallback(Callback):
    """Base class that records signals in place of Lightning's handlers; a second Ctrl-C interrupts at once.

    Args:
        signals: names of the signals
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
                continue  # a background job of a shell ignores Ctrl-C
            self._handlers.setdefault(number, signal.signal(number, self._record))

    def _record(self, number: int, _frame: Any) -> None:
        if number == signal.SIGINT:
            signal.signal(number, self._handlers.get(number, signal.default_int_handler))
        self._received = self._received or number

    def _agreed(self, trainer: pl.Trainer) -> int:
        """Number of a signal that any rank received, 0 for none; equal on every rank."""
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


def signal_name(number: int) -> str:
    """Name of a signal for messages."""
    name = signal.Signals(number).name
    return f"Ctrl-C ({name})" if number == signal.SIGINT else name


def exit_status(trainer: pl.Trainer, number: int) -> int:
    """Exit status after a signal: 128 + number, but 0 for a child of Lightning's launcher.

    If one of its children fails, the launcher kills rank 0, which may still be writing.
    """
    child = isinstance(trainer.strategy.cluster_environment, LightningEnvironment) if trainer.world_size > 1 else False
    return 0 if child and trainer.local_rank else 128 + number


def shared_batches(trainer: pl.Trainer, batches: Sequence[int | float]) -> float:
    """Number of batches that every rank has."""
    count = torch.tensor(float(sum(batches)), device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(count, reduce_op="min"))


class AgreedStop(SystemExit):
    """Exit of every rank, so that the ranks may wait for each other."""


class StopEvaluation(SignalCallback):
    """Exit `validate`, `test` or `predict` with status 128 + signal before the next batch after a signal on any rank.

    In `validate` and `test` the ranks agree by a reduction before each batch that all of them have. In `predict`, where files
    may take seconds on one rank and hours on another, a rank with a signal writes a marker file into the run folder, which the
    others read. A signal during the last file or batch counts too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._marker: Path | None = None
        self._shared = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Install the handlers and choose the name of the marker file."""
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
        """Exit after a signal during the last file or batch, in `predict` on any rank."""
        if stage == "predict":
            self._stop_prediction(trainer)
        elif stage != "fit" and self._received:
            raise AgreedStop(exit_status(trainer, self._received))
        super().teardown(trainer, pl_module, stage)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._marker is not None and trainer.is_global_zero:
            self._marker.unlink(missing_ok=True)
        super().on_exception(trainer, pl_module, exception)

    def _record(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and not self._received:
            os.write(2, b"\nStopping after this file or batch; Ctrl-C again stops at once.\n")  # print is unsafe in a handler
        super()._record(number, frame)

    def _stop_evaluation(self, trainer: pl.Trainer, batch_idx: int, split: str) -> None:
        if batch_idx < self._shared and (number := self._agreed(trainer)):
            name = signal_name(number)
            rank_zero_info(f"Stopped by {name}: the {split} split was not evaluated; run the same command again.")
            raise AgreedStop(exit_status(trainer, number))

    def _stop_prediction(self, trainer: pl.Trainer) -> None:
        if number := self._received or self._marked():
            if self._marker is not None:
                with suppress(OSError):
                    self._marker.write_text(str(int(number)))
            rank_zero_info(f"Stopped by {signal_name(number)}: the same command continues with the remaining files.")
            raise AgreedStop(exit_status(trainer, number))

    def _marked(self) -> int:
        """Signal in the marker file of another rank, 0 for none."""
        if self._marker is None:
            return 0
        try:
            return int(self._marker.read_text() or signal.SIGTERM)
        except (OSError, ValueError):
            return 0


class Preempt(SignalCallback):
    """Save `last.ckpt` and exit with status 128 + signal after a signal on any rank during `fit`.

    The ranks agree at the start of a training batch without an open accumulation window, and at validation batches that all
    ranks have (a stopped validation is repeated on resume). Requeueing is left to the batch script:
    `SLURMEnvironment(auto_requeue=...)` has no effect. A second Ctrl-C stops at once.

    Args:
        signals: names of the signals
        every_n_batches: interval of the agreement (one small all-reduce)

    Raises:
        ValueError: `every_n_batches` below 1.
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
            # At the first batch the end of the previous epoch has already been saved.
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
        rank_zero_info(f"Stopped by {signal_name(number)}: continue with --ckpt_path last.")
        # Checkpoint.on_exception retries and reports an unwritten checkpoint.
        if _checkpoint_of(trainer) is None:
            rank_zero_warn("No Checkpoint callback: all progress of this training is lost.")
        leave_validation(trainer)
        raise SystemExit(exit_status(trainer, number))


def _checkpoint_of(trainer: pl.Trainer) -> Checkpoint | None:
    return next((callback for callback in trainer.callbacks if isinstance(callback, Checkpoint)), None)
