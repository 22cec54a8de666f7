"""Signals noted by a callback, which the loop heeds where nothing is lost."""

import signal
import threading
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import Callback

from tasks.lightning_internals import keep_signal_handlers


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
