"""Mean teacher (Tarvainen and Valpola 2017): exponential moving average of a student's weights -> teacher."""

import copy
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn


class MeanTeacher(Callback):
    """Update `module.<teacher>` as the exponential moving average of `module.<student>`, which an optimizer trains.

    The module owns both, so that checkpoints contain both and load without a Trainer. It builds the teacher in its constructor
    with `teacher_of(self.net)`, runs it under `torch.no_grad`, passes only the student's parameters to the optimizer, and
    returns this callback from `configure_callbacks`. There is one update per optimizer step (accumulation window), and none
    for a step that `FiniteGuard` skipped.

    Args:
        decay: weight of the previous average
        warmup: use the smaller weight 1 - 1 / (steps + 1), the plain mean of all weights including the initial ones, as long as
            it is below `decay`
        buffers: running statistics of the teacher: "own": from its own training passes, as in all published baselines; "ema":
            moving average of the student's; "copy": the student's. Other buffers are copied at the start of a run
        mode: "train": the teacher uses dropout and batch statistics; "eval": neither
        student: attribute of the student
        teacher: attribute of the teacher

    Raises:
        ValueError: decay outside [0, 1), unknown option, or "own" statistics in mode "eval", which never updates them.
    """

    def __init__(
        self,
        decay: float = 0.999,
        warmup: bool = True,
        buffers: Literal["own", "ema", "copy"] = "own",
        mode: Literal["train", "eval"] = "train",
        student: str = "net",
        teacher: str = "teacher",
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, expected 0 or more and less than 1")
        if buffers not in ("own", "ema", "copy") or mode not in ("train", "eval"):
            raise ValueError(f"buffers {buffers!r}, mode {mode!r}: expected own, ema or copy, train or eval")
        if (buffers, mode) == ("own", "eval"):
            raise ValueError("a teacher in mode eval never updates its own statistics: set buffers to ema or copy")
        self.decay, self.warmup, self.buffers, self.mode = decay, warmup, buffers, mode
        self.student, self.teacher = student, teacher
        self.steps = 0  # number of updates
        self._seen = 0  # the Trainer's step count at the last batch

    def teacher_of(self, net: nn.Module) -> nn.Module:
        """Copy the student without gradients and, unless `buffers` is "own", without updates of running statistics."""
        teacher = copy.deepcopy(net).requires_grad_(False)
        for module in teacher.modules():
            if self.buffers != "own" and getattr(module, "running_mean", None) is not None:
                module.momentum = 0.0
        return teacher

    def weight(self, steps: int) -> float:
        """Weight of the previous average in the update after optimizer step `steps`, counted from 1."""
        return min(1.0 - 1.0 / (steps + 1), self.decay) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, student: nn.Module, teacher: nn.Module) -> None:
        """Update weights and statistics of the teacher after one optimizer step."""
        self.steps += 1
        share = 1.0 - self.weight(self.steps)
        torch._foreach_lerp_(list(teacher.parameters()), [p.detach() for p in student.parameters()], share)
        if self.buffers == "own":
            return
        averaged, copied = [], []
        for target, source in statistics(teacher, student):
            mean = self.buffers == "ema" and target.is_floating_point()
            (averaged if mean else copied).append((target, source))
        if averaged:
            torch._foreach_lerp_(*map(list, zip(*averaged, strict=True)), share)
        for target, source in copied:
            target.copy_(source)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the student, with weights loaded in `setup`, to the teacher of a fresh run, before the first checkpoint."""
        if trainer.ckpt_path is None:
            self.steps = 0
            self._teacher(pl_module).load_state_dict(pl_module.get_submodule(self.student).state_dict())

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self._teacher(pl_module).train(self.mode == "train")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        student = pl_module.get_submodule(self.student)
        # FiniteGuard removes the gradients of a skipped step; with manual optimization gradients may be removed at any time.
        if not pl_module.automatic_optimization or any(parameter.grad is not None for parameter in student.parameters()):
            self.update(student, self._teacher(pl_module))

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]

    def _teacher(self, pl_module: pl.LightningModule) -> nn.Module:
        return pl_module.get_submodule(self.teacher)


def statistics(*nets: nn.Module) -> list[tuple[Tensor, ...]]:
    """Corresponding running statistics of networks with equal structure."""
    pairs = []
    for modules in zip(*(net.modules() for net in nets), strict=True):
        if getattr(modules[0], "running_mean", None) is not None:
            pairs += zip(*(module.buffers(recurse=False) for module in modules), strict=True)
    return pairs
