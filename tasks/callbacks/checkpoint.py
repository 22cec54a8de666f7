"""Checkpoints for exact resume: `last.ckpt` to continue from, `best.ckpt` for evaluation, and seeding of every step."""

import io
import os
import random
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from datamodules.common.errors import DataError
from datamodules.common.workers import mix
from tasks.callbacks.storage import BEST, LAST, DurableIO
from tasks.cli import lightning_internals


class Checkpoint(LightningCheckpoint):
    """Checkpoint callback whose files resume bit for bit.

    `last.ckpt` is written after every validation, at the end of epochs without one, and every `every_n_train_steps` optimizer
    steps (accumulation windows) in between. Lightning's own mid-epoch checkpoints are written before the module's
    `on_train_batch_end` and before the step is logged; they lose a validation due right after them, and a whole epoch's hooks
    on its last step. These are written at the start of the next batch instead, except before a validation and after the last
    step, where later hooks save. `best.ckpt` is written before the `last.ckpt` that contains its score, so that after a kill
    between the two the repeated validation restores both.

    A checkpoint that cannot be written is kept in memory and retried at the next validation and at the end; the best score
    changes after its weights are on disk. A training that ends with unwritten weights raises DataError on every rank.

    Args:
        dirpath: folder (default `checkpoints` in the Trainer's root folder); not part of the state
        monitor: logged validation metric that selects `best.ckpt`; None: no `best.ckpt`
        mode: "max" or "min"
        every_n_train_steps: steps between checkpoints within an epoch; 0: none

    Raises:
        ValueError: invalid mode or interval.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "max",
        every_n_train_steps: int = 500,
    ):
        if mode not in ("min", "max") or every_n_train_steps < 0:
            raise ValueError(f"mode must be min or max, every_n_train_steps 0 or more: {mode}, {every_n_train_steps}.")
        self.dirpath, self.monitor, self.mode, self.every_n_train_steps = dirpath, monitor, mode, every_n_train_steps
        self.best_score: float | None = None  # of best.ckpt on disk
        self._unwritten_score: float | None = None  # of a better checkpoint that could not be written
        self._saved_at: int | None = None  # number of batches at the last save
        self._saved_step: int | None = None  # optimizer steps in the `last.ckpt` on disk
        self._moment: str | None = None
        self.metrics: dict[str, Tensor] = {}  # of the last save, for a finished run that is resumed
        self._stepped: int | None = None  # optimizer steps counted for the loggers, during a save
        self._steps_to_restore: int | None = None

    @property
    def best_model_path(self) -> str:
        """Path of `best.ckpt`, empty before the first."""
        return "" if self.best_score is None or self.dirpath is None else str(Path(self.dirpath) / BEST)

    @property
    def last_model_path(self) -> str:
        """Path of `last.ckpt`, empty before the first."""
        return "" if self._saved_step is None or self.dirpath is None else str(Path(self.dirpath) / LAST)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.dirpath is None:
            self.dirpath = trainer.strategy.broadcast(str(Path(trainer.default_root_dir) / "checkpoints"))
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            lightning_internals.replace_checkpoint_io(trainer, DurableIO())
        if storage := self._storage(trainer):
            storage.read_mapped(stage != "fit")

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "metrics": self.metrics, "stepped": self._stepped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.metrics = state_dict["best_score"], state_dict["metrics"]
        self._steps_to_restore = state_dict["stepped"]

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            lightning_internals.rewind(checkpoint["loops"]["fit_loop"], trainer.accumulate_grad_batches)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        lightning_internals.settle(checkpoint["loops"]["fit_loop"], self._moment)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a checkpoint of a fresh run, which also reveals a full disk; restore the metrics of a resumed one."""
        if trainer.fast_dev_run:
            return
        if trainer.ckpt_path is None:
            if trainer.is_global_zero:
                set_aside(Path(self.dirpath))
            self.save_last(trainer)
            return
        if trainer.is_global_zero:
            adopt(Path(trainer.ckpt_path), Path(self.dirpath))
        self._saved_at = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        self._saved_step = trainer.global_step
        if self.best_score is not None and not Path(self.best_model_path).is_file():
            rank_zero_warn(f"{self.best_model_path} is missing: the next validation starts a new best.")
            self.best_score = None
        lightning_internals.restore_metrics(trainer, self.metrics)
        if trainer.fit_loop.restarted_on_epoch_end or trainer.fit_loop.resumed_on_epoch_end:
            # Saved in `on_train_epoch_end`, after which Lightning would have stepped plateau schedulers.
            trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self._steps_to_restore is not None:
            lightning_internals.set_logged_steps(trainer, self._steps_to_restore)
            self._steps_to_restore = None
        if batch_idx and self.every_n_train_steps and lightning_internals.logged_steps(trainer) % self.every_n_train_steps == 0:
            self.save_between_steps(trainer, batch_idx)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Broadcast running statistics of rank 0, which Lightning's DDP does not do with manual optimization."""
        if trainer.world_size > 1 and not pl_module.automatic_optimization:
            for buffer in pl_module.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        score = trainer.callback_metrics.get(self.monitor) if self.monitor else None
        if self.monitor and score is None:
            rank_zero_warn(f"'{self.monitor}' was not logged in validation: no best.ckpt is written.")
        if score is not None and trainer.strategy.broadcast(self._improves(float(score))):
            self._save_best(trainer, float(score))
        else:
            self._retry_best(trainer)
        if not lightning_internals.accumulates(trainer):
            self.save_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        lightning_internals.end_restart(trainer)
        whole = lightning_internals.is_epoch_whole(trainer)
        if self._saved_at != trainer.fit_loop.epoch_loop.batch_progress.total.processed:
            self.save_last(trainer, "epoch" if whole else "cut epoch")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Retry unwritten checkpoints.

        Raises:
            DataError: the last or the best checkpoint is not on disk; raised on every rank.
        """
        if trainer.fast_dev_run:
            return
        if self._retry_best(trainer) and trainer.is_global_zero:
            self._correct_last(trainer)
        if self._retry(trainer, LAST) is None:
            self._saved_step = trainer.global_step
        if sentence := trainer.strategy.broadcast(self.complaint(trainer)):
            raise DataError(sentence)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, DataError) or not (storage := self._storage(trainer)):
            return
        for name in (BEST, LAST):
            storage.retry(self._path(name))
        if sentence := self.complaint(trainer):
            rank_zero_warn(sentence)

    def complaint(self, trainer: pl.Trainer) -> str | None:
        """Message about an unwritten checkpoint on rank 0; None if all are on disk."""
        if (storage := self._storage(trainer)) is None:
            return None
        since = "" if self._saved_step is None else f" since step {self._saved_step}"
        for name, loss in ((LAST, f"nothing was saved{since}"), (BEST, "the best weights were not saved")):
            if reason := storage.reason(self._path(name)):
                return f"{loss}: {reason}; make room for {self._path(name)}, then continue with --ckpt_path last"
        return None

    def save_between_steps(self, trainer: pl.Trainer, batch_idx: int) -> None:
        """Write `last.ckpt` in `on_train_batch_start`, unless a window is open or no batch followed the last save."""
        done = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        if batch_idx % trainer.accumulate_grad_batches == 0 and self._saved_at != done:
            self.save_last(trainer, "step")

    def save_last(self, trainer: pl.Trainer, moment: str | None = None) -> None:
        """Write `last.ckpt`; called on all ranks.

        Args:
            trainer: Trainer
            moment: see `lightning_internals.settle`
        """
        self._saved_at = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        if self._save(trainer, LAST, moment):
            self._saved_step = trainer.global_step

    def _save_best(self, trainer: pl.Trainer, score: float) -> None:
        previous, self.best_score = self.best_score, score  # the file contains its own score
        written = self._save(trainer, BEST)
        self._unwritten_score = None if written else score
        if not written:
            self.best_score = previous

    def _retry_best(self, trainer: pl.Trainer) -> bool:
        """Retry unwritten best weights; True if there were any and they are now on disk."""
        if self._unwritten_score is None or self._retry(trainer, BEST) is not None:
            return False
        self.best_score, self._unwritten_score = self._unwritten_score, None
        return True

    def _correct_last(self, trainer: pl.Trainer) -> None:
        """Update the best score in `last.ckpt` after the best weights were written."""
        storage, path = self._storage(trainer), self._path(LAST)
        pending = storage.unwritten.get(path)
        if pending is None and not Path(path).is_file():
            return
        content = torch.load(io.BytesIO(pending.content) if pending else path, map_location="cpu", weights_only=True)
        content["callbacks"][self.state_key]["best_score"] = self.best_score
        storage.save_checkpoint(content, path)

    def _save(self, trainer: pl.Trainer, name: str, moment: str | None = None) -> bool:
        """Write a checkpoint on all ranks; True, on every rank, if it is on disk."""
        if trainer.fast_dev_run:
            return True
        self.metrics = {name: torch.as_tensor(value).cpu() for name, value in trainer.callback_metrics.items()}
        self._stepped = lightning_internals.logged_steps(trainer) + (
            trainer.validating and not lightning_internals.accumulates(trainer)
        )
        self._moment = moment
        try:
            trainer.save_checkpoint(self._path(name), weights_only=False)
        finally:
            self._moment = self._stepped = None
        reason = self._agreed_reason(trainer, name)
        if reason:
            rank_zero_warn(
                f"{self._path(name)} could not be written ({reason}): training continues, the older checkpoint is kept, and "
                "writing is tried again."
            )
        return reason is None

    def _retry(self, trainer: pl.Trainer, name: str) -> str | None:
        """Retry an unwritten checkpoint; returns the reason of a failure on every rank, else None."""
        if (storage := self._storage(trainer)) and trainer.is_global_zero:
            storage.retry(self._path(name))
        return self._agreed_reason(trainer, name)

    def _agreed_reason(self, trainer: pl.Trainer, name: str) -> str | None:
        storage = self._storage(trainer)
        return trainer.strategy.broadcast(storage.reason(self._path(name))) if storage else None

    def _storage(self, trainer: pl.Trainer) -> DurableIO | None:
        """The suite's storage; None for a user's own, which raises its errors itself."""
        storage = trainer.strategy.checkpoint_io
        return storage if isinstance(storage, DurableIO) else None

    def _path(self, name: str) -> str:
        return str(Path(self.dirpath) / name)

    def _improves(self, score: float) -> bool:
        if score != score:
            return False
        best = self.best_score if self._unwritten_score is None else self._unwritten_score
        return best is None or (score > best if self.mode == "max" else score < best)


def set_aside(folder: Path) -> None:
    """Move another run's checkpoints to `replaced/`, where `newest_loadable` does not search."""
    for path in sorted(folder.glob("*.ckpt")):
        (folder / "replaced").mkdir(exist_ok=True)
        path.replace(folder / "replaced" / path.name)


def adopt(source: Path, folder: Path) -> None:
    """Copy the checkpoint that a run resumes from to its `last.ckpt`; another (perhaps damaged) one is renamed."""
    last = folder / LAST
    if last.exists() and source.exists() and last.samefile(source):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if last.exists():
        last.replace(folder / f"{LAST}.replaced")
    temporary = folder / f".{os.getpid()}.{LAST}.tmp"
    shutil.copyfile(source, temporary)
    temporary.replace(last)


# Seeding

_TRAIN, _EVALUATE = 1, 2


def reseed(*values: int) -> None:
    """Seed the generators of Python, NumPy and torch (including CUDA) from integers."""
    seed = mix(*values)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Without an accelerator torch.manual_seed would store the call stack for each, which takes 2 ms a step.
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(seed)


class StepSeed(Callback):
    """Seed every step from (seed, epoch, batch, rank), so that a resumed run draws the same numbers without stored state.

    Ranks draw different numbers, whereas Lightning's single seed would give all of them the same dropout masks. Micro-batches
    of an accumulation window have different batch numbers. Random operations belong into `training_step` or the items of the
    data set, because hooks that move a batch to its device run before this one.

    Args:
        seed: default: the datamodule's, else that of `seed_everything`
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
