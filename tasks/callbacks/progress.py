"""Progress of `fit`, `validate`, `test` and `predict`: bars in a terminal, else one line per epoch or split."""

import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from datamodules.common.progress import EVERY_S, Lines

EPOCH_EVERY_S = 600.0
"""Seconds between two lines of one epoch."""


def progress_callback() -> ProgressBar:
    """Bars if standard error is a terminal, else lines."""
    return ProgressBars() if sys.stderr.isatty() else LogLines()


class ProgressBars(TQDMProgressBar):
    """Lightning's progress bars on standard error, closed before a report prints its table."""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.test_progress_bar.close()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.val_progress_bar.close()

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.predict_progress_bar.close()

    def init_sanity_tqdm(self) -> Tqdm:
        return self._bar(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Tqdm:
        return self._bar(self.train_description, smoothing=0)

    def init_validation_tqdm(self) -> Tqdm:
        alone = self.trainer.state.fn == "validate"  # otherwise below the bar of the training
        return self._bar(self.validation_description, leave=alone, position=2 * self.process_position + (not alone))

    def init_test_tqdm(self) -> Tqdm:
        return self._bar(self.test_description)

    def init_predict_tqdm(self) -> Tqdm:
        return self._bar(self.predict_description, smoothing=0)

    def _bar(self, description: str, leave: bool = True, position: int | None = None, **options: Any) -> Tqdm:
        return Tqdm(
            desc=description,
            leave=leave,
            position=2 * self.process_position if position is None else position,
            disable=self.is_disabled,
            dynamic_ncols=True,
            file=sys.stderr,
            bar_format=self.BAR_FORMAT,
            **options,
        )


class LogLines(ProgressBar):
    """One line per epoch with the values of progress bar and validation; one line per evaluated split."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._lines: Lines | None = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "..."
        self._begin(f"epoch {trainer.current_epoch + 1} of {last}", self.total_train_batches, EPOCH_EVERY_S)

    def on_train_batch_end(self, *_: Any) -> None:
        self._count()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = self.get_metrics(trainer, pl_module) | _monitored(trainer)
        metrics.pop("v_num", None)
        self._end(", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float)))

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._begin("validation split", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *_: Any) -> None:
        if self.trainer.state.fn == "validate":
            self._count()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._end()

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin("test split", sum(trainer.num_test_batches))

    def on_test_batch_end(self, *_: Any) -> None:
        self._count()

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end()

    def on_predict_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin("predict", sum(trainer.num_predict_batches), unit="file")

    def on_predict_batch_end(self, *_: Any) -> None:
        self._count()

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end()

    def _begin(self, description: str, total: float, every_s: float = EVERY_S, unit: str = "batch") -> None:
        count = int(total) if total != float("inf") else None
        self._lines = Lines(None, description, count, unit, disable=not self._enabled, every_s=every_s)

    def _count(self) -> None:
        if self._lines is not None:
            self._lines.update()

    def _end(self, postfix: str = "") -> None:
        if self._lines is not None:
            self._lines.set_postfix_str(postfix)
            self._lines.close()
            self._lines = None


def _monitored(trainer: pl.Trainer) -> dict[str, float]:
    """Value of the validation metric that selects the best checkpoint, if it was logged."""
    name = getattr(trainer.checkpoint_callback, "monitor", None)
    value = trainer.callback_metrics.get(name) if name else None
    return {} if value is None else {name: float(value)}
