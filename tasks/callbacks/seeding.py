"""Random numbers of the model that a resumed run draws again exactly."""

import os
import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from datamodules.base import mix

_TRAIN, _EVALUATE = 1, 2


def reseed(*values: int) -> None:
    """Seed Python's, NumPy's and torch's generators (CUDA's too) from integers."""
    seed = mix(*values)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class StepSeed(Callback):
    """Seeds every step from (seed, epoch, batch, rank).

    No generator state has to be kept: step 1000 of a resumed run draws what step 1000 always draws. Ranks draw
    differently, where Lightning's one seed would give all of them the same dropout masks. Micro-batches of an
    accumulation window have batch numbers of their own. Randomness belongs into `training_step` or the items of
    the data set: hooks that move a batch to its device run before this one.

    seed: default the datamodule's, else the one given to `seed_everything`.
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.seed is None:
            self.seed = getattr(trainer.datamodule, "seed", int(os.environ.get("PL_GLOBAL_SEED", "0")))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        reseed(self.seed, _TRAIN, trainer.current_epoch, batch_idx, trainer.global_rank)

    def _evaluate(self, trainer: pl.Trainer, _module: Any, _batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        reseed(self.seed, _EVALUATE, dataloader_idx, batch_idx, trainer.global_rank)

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _evaluate
