"""Change the optimizer at given epochs, each time going on from the best weights so far."""

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
    """From the start of `epoch` (the first is 0) train with `optimizer`, a class with its arguments."""

    epoch: int
    optimizer: OptimizerCallable


class OptimizerSwitch(Callback):
    """Trains in phases; at each switch every rank goes back to the weights of the best validation so far.

    The schedule of Won, Chun, Serra 2019 (section 4.2): Adam, then SGD with momentum at falling rates, each from the
    best weights. Running statistics and other buffers are part of them. A new phase starts with a new optimizer:
    momentum gathered at other weights is dropped. The best weights live in memory and in every checkpoint, not in a
    file of their own, so a kill or a moved folder cannot part them from the score they belong to.

    The phases replace the optimizer of `configure_optimizers`, also on resume: Lightning restores optimizer states
    after `on_fit_start`, so they meet the right class there.

    phases: in order of epochs, the first at 0; monitor: logged validation metric; mode: "max" or "min".
    Raises ValueError for phases out of order, or for modules with several optimizers or with schedulers of their own.
    """

    def __init__(self, phases: list[Phase], monitor: str = "val/auroc_macro", mode: Literal["min", "max"] = "max"):
        epochs = [phase.epoch for phase in phases]
        if not epochs or epochs[0] != 0 or any(a >= b for a, b in itertools.pairwise(epochs)):
            raise ValueError(f"The epochs of phases must start at 0 and rise: {epochs}.")
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
            raise ValueError("OptimizerSwitch needs a module with one optimizer and no scheduler: the phases are both.")
        if self.phase >= len(self.phases):
            raise ValueError(f"The checkpoint is in phase {self.phase} but only {len(self.phases)} phases are given.")
        self._install(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._catch_up(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        # Lightning leaves out `on_train_epoch_start` after some of its own checkpoints.
        self._catch_up(trainer, pl_module)

    def _catch_up(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        due = max(k for k, phase in enumerate(self.phases) if phase.epoch <= trainer.current_epoch)
        if due <= self.phase:
            return
        self.phase = due
        if self._best:
            # Rank 0's copy, since running statistics may differ over the ranks.
            self._best = trainer.strategy.broadcast(self._best)
            pl_module.load_state_dict(self._best)
            rank_zero_info(f"Epoch {trainer.current_epoch}: back to the weights of epoch {self.best_epoch}, new optimizer.")
        else:
            rank_zero_warn(f"'{self.monitor}' was never logged in validation: the new optimizer goes on from the last weights.")
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
