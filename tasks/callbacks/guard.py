"""Skip steps whose loss or gradient is not finite, and say which files to look at."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from datamodules.common.errors import DataError
from tasks.cli.lightning_internals import accumulates


class FiniteGuard(Callback):
    """A non-finite loss or gradient costs one optimizer step, on all ranks alike; `patience` in a row end the run.

    Gradients are dropped before the optimizer sees them (weights and its state stay), and running statistics of
    normalisation layers go back to what they were before the step, since one NaN would spoil them for good.
    With accumulation the whole window is skipped. Under a gradient scaler (16-mixed) overflowing gradients are
    its own matter and only the loss is looked at. The number of skipped steps is logged as `train/skipped_steps`
    from the first on.

    Raises DataError after `patience` skipped steps in a row, with the files of the bad batches (`batch.names`).
    """

    def __init__(self, patience: int = 3):
        if patience < 1:
            raise ValueError(f"patience must be 1 or more: {patience}.")
        self.patience = patience
        self.skipped = 0
        self.in_a_row = 0
        self._window_bad = False
        self._window: list[tuple[tuple[str, ...], list[Tensor]]] = []  # of each micro-batch: files and losses
        self._bad_names: list[str] = []
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row, "bad_names": list(self._bad_names)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]
        self._bad_names = list(state_dict["bad_names"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        live = [
            buffer
            for module in pl_module.modules()
            if getattr(module, "running_mean", None) is not None
            for buffer in module.buffers(recurse=False)
        ]
        self._statistics = [(buffer, buffer.clone()) for buffer in live]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._window_bad, self._window = False, []
            for live, kept in self._statistics:
                kept.copy_(live)
        self._window.append((tuple(getattr(batch, "names", ())), []))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._window[-1][1].append(loss.detach())

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        looked_at = [loss for _, losses in self._window for loss in losses]
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            looked_at += [parameter.grad for parameter in parameters]
        # Losses differ over ranks, gradients do not: a step that one rank skips must be skipped by all.
        if trainer.strategy.reduce_boolean_decision(bool(all_finite(looked_at)), all=True):
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
        for live, kept in self._statistics:
            live.copy_(kept)
        self.in_a_row += 1
        self._bad_names += self._suspects(trainer)
        if self.in_a_row >= self.patience:
            raise DataError(
                f"Loss or gradient was not finite in {self.in_a_row} steps in a row, last in step {batch_idx} of epoch "
                f"{trainer.current_epoch}; files in these batches: {', '.join(dict.fromkeys(self._bad_names)) or 'unnamed'}. "
                "Check them with the `prepare` verb, or lower the learning rate."
            )

    def _suspects(self, trainer: pl.Trainer) -> list[str]:
        """Files of the micro-batches with a bad loss on any rank; all of the window if every loss was finite."""
        bad = [name for names, losses in self._window if not bool(all_finite(losses)) for name in names]
        ranks: list[Any] = [(bad, [name for names, _ in self._window for name in names])]
        if trainer.world_size > 1:
            mine, ranks = ranks[0], [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, mine)
        return [name for bad, _ in ranks for name in bad] or [name for _, window in ranks for name in window]


def all_finite(tensors: list[Tensor]) -> Tensor:
    """Whether every value of every tensor is finite: a boolean scalar on their device, without waiting for it."""
    if not tensors:
        return torch.tensor(True)
    return torch.stack(torch._foreach_norm([t.float() for t in tensors], float("inf"))).isfinite().all()
