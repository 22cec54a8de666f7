"""Mean teacher (Tarvainen and Valpola 2017): a second network whose weights are the moving average of the first one's."""

import copy
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn


class MeanTeacher(Callback):
    """Keeps `module.<teacher>` the exponential moving average of `module.<student>`, which an optimizer trains.

    The module owns both, so that checkpoints hold both and load without a Trainer: it builds the teacher in its
    constructor by `teacher_of(self.net)`, asks it under `torch.no_grad`, gives the optimizer the student's parameters
    alone, and returns this callback from `configure_callbacks`.

    Each optimizer step is followed by one update, so an accumulation window counts once; a step that was skipped because
    something was not finite is followed by none. All ranks have one student and so one teacher; a resumed run goes on bit
    for bit.

    decay: weight of the average so far. warmup: as long as that is less, the weight is 1 - 1 / (steps + 1), which makes
    the teacher the plain mean of all weights so far, the initial ones included.
    buffers: where the teacher's running statistics come from: "own": its own passes in training, as in all published
    baselines; "ema": the moving average of the student's; "copy": the student's. Its other buffers are the student's
    from the start of a run.
    mode: "train": the teacher's dropout is on and its norms use the batch; "eval": neither.
    Raises ValueError for a decay outside [0, 1), an unknown option, or "own" with "eval", which never fills them.
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
            raise ValueError("a teacher in mode eval never sees statistics of its own: set buffers to ema or copy")
        self.decay, self.warmup, self.buffers, self.mode = decay, warmup, buffers, mode
        self.student, self.teacher = student, teacher
        self.steps = 0  # optimizer steps that the teacher has followed
        self._seen = 0  # the Trainer's count when it last looked

    def teacher_of(self, net: nn.Module) -> nn.Module:
        """A copy of the student that no gradient reaches, nor, unless `buffers` is "own", statistics of its own passes."""
        teacher = copy.deepcopy(net).requires_grad_(False)
        for module in teacher.modules():
            if self.buffers != "own" and getattr(module, "running_mean", None) is not None:
                module.momentum = 0.0  # weight of the newest batch
        return teacher

    def weight(self, steps: int) -> float:
        """Of the average so far, in the update after that many optimizer steps, the first being 1."""
        return min(1.0 - 1.0 / (steps + 1), self.decay) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, student: nn.Module, teacher: nn.Module) -> None:
        """One step of the average."""
        self.steps += 1
        share = 1.0 - self.weight(self.steps)
        torch._foreach_lerp_(list(teacher.parameters()), [p.detach() for p in student.parameters()], share)
        if self.buffers == "own":
            return
        averaged, copied = [], []
        for ours, theirs in statistics(teacher, student):
            mean = self.buffers == "ema" and ours.is_floating_point()
            (averaged if mean else copied).append((ours, theirs))
        if averaged:
            torch._foreach_lerp_(*map(list, zip(*averaged, strict=True)), share)
        for ours, theirs in copied:
            ours.copy_(theirs)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A fresh run's teacher starts as the student does, whatever `setup` has loaded into that; before any checkpoint."""
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
        # FiniteGuard drops the gradients of a step that must not be made; modules that step by hand may do so at any time.
        if not pl_module.automatic_optimization or any(parameter.grad is not None for parameter in student.parameters()):
            self.update(student, self._teacher(pl_module))

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]

    def _teacher(self, pl_module: pl.LightningModule) -> nn.Module:
        return pl_module.get_submodule(self.teacher)


def statistics(*nets: nn.Module) -> list[tuple[Tensor, ...]]:
    """The running statistics of nets built alike, buffer by buffer."""
    pairs = []
    for modules in zip(*(net.modules() for net in nets), strict=True):
        if getattr(modules[0], "running_mean", None) is not None:
            pairs += zip(*(module.buffers(recurse=False) for module in modules), strict=True)
    return pairs
