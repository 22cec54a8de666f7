"""Results of earlier weights, moved out of the way when a training changes the weights of their run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from tasks.runs import set_aside_results


class SetAsideResults(Callback):
    """Moves scores, tables and pictures of a run folder to `replaced/` before its weights change.

    A run that starts anew does so at once, with the logs of earlier sessions; one that goes on at its first batch: a
    finished run that has nothing left to train keeps them.
    """

    def __init__(self) -> None:
        self._done = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None:
            current = {logger.log_dir for logger in trainer.loggers}
            logs = [path for path in Path(trainer.default_root_dir).glob("logs/*") if str(path) not in current]
            self._set_aside(trainer, logs)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self._set_aside(trainer)

    def _set_aside(self, trainer: pl.Trainer, logs: Sequence[Path] = ()) -> None:
        if not self._done and trainer.is_global_zero and not trainer.fast_dev_run:
            set_aside_results(Path(trainer.default_root_dir), logs)
        self._done = True
