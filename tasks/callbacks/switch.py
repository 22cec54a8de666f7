"""Optimizer switch at fixed epochs, from the best weights so far (Won, Chun, Serra 2019, section 4.2)."""

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import OptimizerCallable
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from tasks.cli.lightning_internals import replace_optimizer


@dataclass
class Phase:
    """Phase of a training: `optimizer`, a class with its arguments, from the start of `epoch` (0 is the first)."""

    epoch: int
    optimizer: OptimizerCallable


class OptimizerSwitch(Callback):
    """Train in phases; at each switch every rank restores the weights of the best validation so far.

    The schedule of Won, Chun, Serra 2019 (section 4.2) is Adam, then SGD with momentum at decreasing learning rates, each from
    the best weights with their running statistics and other buffers. A new phase starts with a new optimizer without momentum.
    The best weights are kept in memory and in every checkpoint together with their score, not in a separate file.

    The phases replace the optimizer of `configure_optimizers`, also on resume: Lightning restores optimizer states after
    `on_fit_start`, when the optimizer has the right class.

    Args:
        phases: phases in order of epochs, the first at 0
        monitor: logged validation metric
        mode: "max" or "min"

    Raises:
        ValueError: phases out of order, or a module with several optimizers or with schedulers.
    """

    def __init__(self, phases: list[Phase], monitor: str = "val/auroc_macro", mode: Literal["min", "max"] = "max"):
        epochs = [phase.epoch for phase in phases]
        if not epochs or epochs[0] != 0 or any(a >= b for a, b in itertools.pairwise(epochs)):
            raise ValueError(f"The epochs of phases must start at 0 and increase: {epochs}.")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be min or max: {mode}.")
        self.phases, self.monitor, self.mode = phases, monitor, mode
        self.phase = 0
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self._best: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best_weights": self._best,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.phase, self.best_score = state_dict["phase"], state_dict["best_score"]
        self.best_epoch, self._best = state_dict["best_epoch"], state_dict["best_weights"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if len(trainer.optimizers) != 1 or trainer.lr_scheduler_configs:
            raise ValueError("OptimizerSwitch needs a module with one optimizer and no scheduler: its phases replace both.")
        if self.phase >= len(self.phases):
            raise ValueError(f"The checkpoint is in phase {self.phase}, but there are only {len(self.phases)} phases.")
        self._install(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._catch_up(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        # Lightning skips `on_train_epoch_start` after some of its own checkpoints.
        self._catch_up(trainer, pl_module)

    def _catch_up(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        due = max(k for k, phase in enumerate(self.phases) if phase.epoch <= trainer.current_epoch)
        if due <= self.phase:
            return
        self.phase = due
        if self._best:
            # Rank 0's copy, because running statistics may differ between ranks.
            self._best = trainer.strategy.broadcast(self._best)
            pl_module.load_state_dict(self._best)
            rank_zero_info(f"Epoch {trainer.current_epoch}: back to the weights of epoch {self.best_epoch}, new optimizer.")
        else:
            rank_zero_warn(f"'{self.monitor}' was never logged in validation: the new optimizer starts from the last weights.")
        self._install(trainer, pl_module)

    def _install(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        parameters = [parameter for parameter in pl_module.parameters() if parameter.requires_grad]
        replace_optimizer(trainer, self.phases[self.phase].optimizer(parameters))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or value is None:
            return
        score = float(value)
        better = score == score and (self.best_score is None or (score > self.best_score) == (self.mode == "max"))
        if trainer.strategy.broadcast(better and score != self.best_score):
            self.best_score, self.best_epoch = score, trainer.current_epoch
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in pl_module.state_dict().items()}
