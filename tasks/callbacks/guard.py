"""Guard against non-finite losses and gradients: skipped optimizer steps, and an error that names the files."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from datamodules.common.errors import DataError
from tasks.cli.lightning_internals import accumulates


class FiniteGuard(Callback):
    """Skip optimizer steps with a non-finite loss or gradient on all ranks; stop the run after `patience` in a row.

    Gradients are set to None before the optimizer step, so that weights and optimizer state do not change, and running
    statistics of normalisation layers are restored, because a single NaN would remain in them. With accumulation the whole
    window is skipped. With a gradient scaler (16-mixed), which handles overflowing gradients itself, only the loss is checked.
    The number of skipped steps is logged as `train/skipped_steps` once there are any.

    Args:
        patience: number of consecutive skipped steps that stops the run

    Raises:
        DataError: `patience` steps in a row were skipped; with the files of their batches (`batch.names`).
    """

    def __init__(self, patience: int = 3):
        if patience < 1:
            raise ValueError(f"patience must be 1 or more: {patience}.")
        self.patience = patience
        self.skipped = 0
        self.in_a_row = 0
        self._window_bad = False
        self._window: list[tuple[tuple[str, ...], list[Tensor]]] = []  # files and losses of each micro-batch
        self._bad_names: list[str] = []
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row, "bad_names": list(self._bad_names)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]
        self._bad_names = list(state_dict["bad_names"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        buffers = [
            buffer
            for module in pl_module.modules()
            if getattr(module, "running_mean", None) is not None
            for buffer in module.buffers(recurse=False)
        ]
        self._statistics = [(buffer, buffer.clone()) for buffer in buffers]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._window_bad, self._window = False, []
            for buffer, backup in self._statistics:
                backup.copy_(buffer)
        self._window.append((tuple(getattr(batch, "names", ())), []))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._window[-1][1].append(loss.detach())

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        checked = [loss for _, losses in self._window for loss in losses]
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            checked += [parameter.grad for parameter in parameters]
        # Losses differ between ranks: a step that one rank skips must be skipped by all.
        if trainer.strategy.reduce_boolean_decision(bool(all_finite(checked)), all=True):
            return
        self._window_bad = True
        optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if accumulates(trainer):
            return
        self.skipped += self._window_bad
        if self.skipped:
            pl_module.log("train/skipped_steps", float(self.skipped))
        if not self._window_bad:
            self.in_a_row, self._bad_names = 0, []
            return
        for buffer, backup in self._statistics:
            buffer.copy_(backup)
        self.in_a_row += 1
        self._bad_names += self._suspects(trainer)
        if self.in_a_row >= self.patience:
            raise DataError(
                f"Loss or gradient was not finite in {self.in_a_row} steps in a row, last in step {batch_idx} of epoch "
                f"{trainer.current_epoch}; files in these batches: {', '.join(dict.fromkeys(self._bad_names)) or 'unnamed'}. "
                "Check them with `prepare`, or lower the learning rate."
            )

    def _suspects(self, trainer: pl.Trainer) -> list[str]:
        """Files of the micro-batches with a non-finite loss on any rank; all of the window if every loss was finite."""
        bad = [name for names, losses in self._window if not bool(all_finite(losses)) for name in names]
        ranks: list[Any] = [(bad, [name for names, _ in self._window for name in names])]
        if trainer.world_size > 1:
            mine, ranks = ranks[0], [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, mine)
        return [name for bad, _ in ranks for name in bad] or [name for _, window in ranks for name in window]


def all_finite(tensors: list[Tensor]) -> Tensor:
    """Boolean scalar on the tensors' device, without synchronisation: True if all values are finite."""
    if not tensors:
        return torch.tensor(True)
    return torch.stack(torch._foreach_norm([t.float() for t in tensors], float("inf"))).isfinite().all()
