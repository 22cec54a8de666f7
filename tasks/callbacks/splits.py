"""Splits that a training needs at its end, asked for before its first step."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from datamodules.errors import DataError


class RequireSplits(Callback):
    """Builds the validation set and the test set before training: what is missing or empty ends the run at once.

    Args:
        test: whether the run ends with the test split
    """

    def __init__(self, test: bool = True) -> None:
        self.test = test

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask the data for both.

        Raises:
            DataError: a split cannot be scored.
        """
        if trainer.fast_dev_run:
            return
        if trainer.enable_validation:
            trainer.datamodule.require("validation")
        if self.test and trainer.limit_test_batches != 0:
            try:
                trainer.datamodule.require("test")
            except DataError as error:
                raise DataError(f"{error} The run would end with this split: --test_after_fit false leaves it out.") from error
