"""Stop `validate`, `test` and `predict` between batches when a signal asks, on all ranks."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from tasks.callbacks.signals import SignalCallback, exit_status, shared_batches, spoken


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
