"""Watchdog for stalled runs (stacks of all threads -> file), and a clean end of the process group."""

import atexit
import faulthandler
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback


class Watchdog(Callback):
    """Write the stacks of all threads of this rank to `stacks/rank<k>.txt` if no batch ends for `minutes`.

    A C thread writes them, also while Python waits in a collective operation. The run continues; an empty file is removed at
    the end.

    Args:
        folder: default: the Trainer's root folder
        minutes: time without a batch, min

    Raises:
        ValueError: `minutes` is not positive.
    """

    def __init__(self, folder: str | Path | None = None, minutes: float = 15.0):
        if minutes <= 0:
            raise ValueError(f"minutes must be positive: {minutes}.")
        self.folder, self.minutes = folder, minutes
        self._file: TextIO | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        path = Path(self.folder or trainer.default_root_dir) / "stacks" / f"rank{trainer.global_rank}.txt"
        while self._file is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Another rank that has just ended its fit may remove the empty folder in between.
            with suppress(FileNotFoundError):
                self._file = path.open("a")
        self._arm()

    def _arm(self, *_: Any, **__: Any) -> None:
        if self._file is not None:
            faulthandler.dump_traceback_later(self.minutes * 60, repeat=True, file=self._file)

    on_train_batch_end = on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _arm
    on_train_epoch_end = on_validation_end = on_train_start = _arm

    def _disarm(self, *_: Any, **__: Any) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._file is not None:
            path = Path(self._file.name)
            self._file.close()
            self._file = None
            if path.is_file() and path.stat().st_size == 0:
                path.unlink()
                with suppress(OSError):  # not empty, or already removed by another rank
                    path.parent.rmdir()

    teardown = on_exception = _disarm


class DestroyProcessGroup(Callback):
    """Destroy the process group at exit; Lightning does so for NCCL only.

    A thread of gloo may hold the last reference to a tensor of a collective operation, and needs Python's lock to free it.
    While the interpreter shuts down that ends the process by SIGABRT ("terminate called without an active exception"), also
    after a successful run. Destroying waits for no other rank.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.world_size > 1:
            atexit.unregister(destroy)  # registered by the preceding `fit`
            atexit.register(destroy)


def destroy() -> None:
    """Destroy the process group, if there is one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
