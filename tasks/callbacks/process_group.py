"""Part from the other ranks before the interpreter ends."""

import atexit

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback


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
