"""`last.ckpt` to go on from, `best.ckpt` to use, and what Lightning leaves out of a resume."""

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
    """Saves only where a resumed run can go on bit for bit.

    `last.ckpt` is written after every validation, at the end of epochs without one, and every
    `every_n_train_steps` optimizer steps (windows, with accumulation) in between. Lightning's own mid-epoch
    checkpoints are written before the module's `on_train_batch_end` and before the step is logged, lose the
    validation that is due right after them, and a whole epoch's hooks when they fall on its last step: these are
    written at the start of the next batch instead, and leave validation steps and last steps to the hooks that
    follow them. `best.ckpt` is written before the `last.ckpt` that knows of it, so that a kill between the two is
    made good when the validation is repeated.

    A checkpoint that the disk does not take is kept in memory and written at the next validation, or at the end: the
    best score moves once the weights that reached it are on disk. A training that ends with weights that were not
    written raises DataError on every rank.

    dirpath: folder (default `checkpoints` in the Trainer's root folder); the state holds no absolute path.
    monitor: logged validation metric that picks `best.ckpt`, None for none; mode: "max" or "min".
    Raises ValueError for a mode or interval that means nothing.
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
        self.best_score: float | None = None  # of best.ckpt, as it lies on disk
        self._unwritten_score: float | None = None  # of a better one that the disk did not take
        self._saved_at: int | None = None  # batches done when `last.ckpt` was due
        self._saved_step: int | None = None  # optimizer steps in the `last.ckpt` on disk
        self._moment: str | None = None
        self.metrics: dict[str, Tensor] = {}  # as last saved: a finished run that is resumed has no others
        self._stepped: int | None = None  # optimizer steps (windows) as the loggers count them, during a save
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
        """A fresh run begins with a checkpoint (a full disk shows now); a resumed one gets its metrics back."""
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
        """With manual optimization Lightning's DDP never shares running statistics: use rank 0's, as saved."""
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
        """Write what is left in memory.

        Raises:
            DataError: the last or the best checkpoint is not on disk; on every rank.
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
        """What was not written to disk and why, on rank 0; None where all was."""
        if (storage := self._storage(trainer)) is None:
            return None
        since = "" if self._saved_step is None else f" since step {self._saved_step}"
        for name, what in ((LAST, f"nothing was saved{since}"), (BEST, "the best weights were not saved")):
            if reason := storage.reason(self._path(name)):
                return f"{what}: {reason}; make room for {self._path(name)}, then go on with --ckpt_path last"
        return None

    def save_between_steps(self, trainer: pl.Trainer, batch_idx: int) -> None:
        """Write `last.ckpt` in `on_train_batch_start`, unless a window is open or nothing happened since the last."""
        done = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        if batch_idx % trainer.accumulate_grad_batches == 0 and self._saved_at != done:
            self.save_last(trainer, "step")

    def save_last(self, trainer: pl.Trainer, moment: str | None = None) -> None:
        """Write `last.ckpt` (all ranks call it); moment: see `lightning_internals.settle`."""
        self._saved_at = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        if self._save(trainer, LAST, moment):
            self._saved_step = trainer.global_step

    def _save_best(self, trainer: pl.Trainer, score: float) -> None:
        before, self.best_score = self.best_score, score  # the file holds its own score
        written = self._save(trainer, BEST)
        self._unwritten_score = None if written else score
        if not written:
            self.best_score = before

    def _retry_best(self, trainer: pl.Trainer) -> bool:
        """Write better weights that are left in memory; whether there were any and they are on disk now."""
        if self._unwritten_score is None or self._retry(trainer, BEST) is not None:
            return False
        self.best_score, self._unwritten_score = self._unwritten_score, None
        return True

    def _correct_last(self, trainer: pl.Trainer) -> None:
        """Let `last.ckpt`, saved before the best weights were, know of them."""
        storage, path = self._storage(trainer), self._path(LAST)
        left = storage.unwritten.get(path)
        if left is None and not Path(path).is_file():
            return
        content = torch.load(io.BytesIO(left.content) if left else path, map_location="cpu", weights_only=True)
        content["callbacks"][self.state_key]["best_score"] = self.best_score
        storage.save_checkpoint(content, path)

    def _save(self, trainer: pl.Trainer, name: str, moment: str | None = None) -> bool:
        """Write a checkpoint (all ranks call it); whether it is on disk, the same on every rank."""
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
                f"{self._path(name)} could not be written ({reason}): training goes on, the older checkpoint stays, and this "
                "one is tried again."
            )
        return reason is None

    def _retry(self, trainer: pl.Trainer, name: str) -> str | None:
        """Write a checkpoint that is left in memory; the reason why it is not on disk yet, the same on every rank."""
        if (storage := self._storage(trainer)) and trainer.is_global_zero:
            storage.retry(self._path(name))
        return self._agreed_reason(trainer, name)

    def _agreed_reason(self, trainer: pl.Trainer, name: str) -> str | None:
        storage = self._storage(trainer)
        return trainer.strategy.broadcast(storage.reason(self._path(name))) if storage else None

    def _storage(self, trainer: pl.Trainer) -> DurableIO | None:
        """Our own storage; None where the user brought another, which raises its errors itself."""
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
    """Move another run's checkpoints out of the way of a fresh one: `newest_loadable` must not find them."""
    for path in sorted(folder.glob("*.ckpt")):
        (folder / "replaced").mkdir(exist_ok=True)
        path.replace(folder / "replaced" / path.name)


def adopt(source: Path, folder: Path) -> None:
    """Make the checkpoint a run resumes from its `last.ckpt`, setting another (perhaps broken) one aside."""
    last = folder / LAST
    if last.exists() and source.exists() and last.samefile(source):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if last.exists():
        last.replace(folder / f"{LAST}.replaced")
    temporary = folder / f".{os.getpid()}.{LAST}.tmp"
    shutil.copyfile(source, temporary)
    temporary.replace(last)


# Random numbers of the model that a resumed run draws again exactly.

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
