"""Show where each process stands when a run has stalled."""

import atexit
import faulthandler
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback


class Watchdog(Callback):
    """Writes the stacks of all threads of this rank to `stacks/rank<k>.txt` when no batch ended for `minutes`.

    A C thread does it, so it works while Python waits in a collective operation. The run goes on; a file that
    stays empty is removed at the end.

    folder: default the Trainer's root folder. Raises ValueError for a time that is not positive.
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
            # Between the two another rank, which has just ended its fit, may take the empty folder away.
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
                with suppress(OSError):  # files of other ranks are in it, or one of them was faster
                    path.parent.rmdir()

    teardown = on_exception = _disarm


# Part from the other ranks before the interpreter ends.


class DestroyProcessGroup(Callback):
    """Ends the threads of gloo when this process leaves, however it leaves; Lightning does so for NCCL alone.

    A thread of gloo may be the last to hold a tensor of the last collective operation, and needs Python's lock to free
    it. Asking for that while the interpreter is being torn down ends the process by SIGABRT ("terminate called without
    an active exception"), a run that had succeeded among them. Nobody is waited for: a rank that leaves alone, or by an
    error, hangs no other.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.world_size > 1:
            atexit.unregister(destroy)  # of the `fit` before this `test`
            atexit.register(destroy)


def destroy() -> None:
    """Part from the other ranks, if there are any."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
