"""The program that `export` freezes: frames and what is known of them -> nats of every frame."""

import torch
from torch import Tensor, nn

from datamodules.errors import DataError
from models.generation.family import Family
from models.generation.form import Frames

FRAMES = 64
"""Frames of an exported program's input."""


class FrameNats(nn.Module):
    """Nats (1, frames) of frames (1, frames, columns) under conditions (1, frames, conditions), or what stands for them."""

    def __init__(self, net: Family) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor, conditions: Tensor) -> Tensor:
        """As `Family.nll` of one piece without padding."""
        valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        batch = Frames(frames, conditions, valid)
        return self.net.surrogate(batch) if self.net.likelihood == "none" else self.net.nll(batch)

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """The program, example inputs, no free dimension, further inputs. Raises DataError where nothing can be frozen."""
        if self.net.likelihood in ("bound", "estimate") or not any(True for _ in self.net.parameters()):
            raise DataError(
                f"{type(self.net).__name__} cannot be exported as a program: its numbers are drawn or counted, not computed by a "
                "network. Its checkpoint holds all there is."
            )
        return self, self._inputs(0), None, [self._inputs(1)]

    def _inputs(self, seed: int) -> tuple[Tensor, Tensor]:
        random, form = torch.Generator().manual_seed(seed), self.net.form
        columns = [torch.randint(size, (1, FRAMES), generator=random) for size in form.sizes]
        frames = torch.stack(columns, -1)
        conditions = torch.randint(2, (1, FRAMES, form.conditions), generator=random).float()
        return frames if form.kind == "categories" else frames.float(), conditions
