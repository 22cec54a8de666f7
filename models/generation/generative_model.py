"""What every system answers: a loss, a likelihood where it has one, and music that keeps to a mask."""

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.generation.frame_spec import Ask, FrameBatch, FrameSpec


class GenerativeModel(nn.Module):
    """Base of all systems, built with the form of the frames.

    supports: uses that it can be asked for: free, continue, harmonise, inpaint, interpolate
    likelihood: whether `nll` is exact, a bound, an estimate, or not there (`none`)
    """

    supports: ClassVar[frozenset[str]] = frozenset({"free"})
    likelihood: ClassVar[Literal["exact", "bound", "estimate", "none"]] = "exact"

    def __init__(self, form: FrameSpec) -> None:
        super().__init__()
        self.form = form

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """What is minimised, as `loss`, and the parts it is made of."""
        nll = self.nll(batch)
        return {"loss": nll.sum() / batch.valid.sum().clamp(min=1) / self.form.columns}

    def nll(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of each frame given those before it, the first one included; 0 where padded."""
        raise NotImplementedError

    def surrogate(self, batch: FrameBatch) -> Tensor:
        """What is watched in place of `nll` (batch, frames) where there is none: reconstruction, pseudo-likelihood."""
        raise NotImplementedError

    def guess(self, batch: FrameBatch) -> Tensor | None:
        """The likeliest frames (batch, frames, columns) given the true ones before each; None where that is not known.

        A head that draws a frame cell by cell is told the frame's true cells before each, too.
        """
        return None

    @property
    def scored(self) -> list[int]:
        """Columns that `nll` is of: all, but for a system that is given some."""
        return list(range(self.form.columns))

    def idle(self) -> list[nn.Parameter]:
        """Parameters that the coming optimizer step must leave where they are."""
        return []

    def generate(self, ask: Ask) -> Tensor:
        """Frames (batch, frames, columns) as asked; every fixed cell as given. At an `end`, what follows is `end` too."""
        raise NotImplementedError

    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Look at the whole training set once before the first step, on every rank alike: a chain counts, a net may measure."""


class Adversarial(GenerativeModel):
    """Base of systems of several players, each with an optimizer of its own.

    schedule: whose turn it is, in order, within one training step; one entry per optimizer step
    """

    likelihood = "none"
    schedule: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

    def players(self) -> dict[str, nn.Module]:
        """The modules that learn, by name."""
        raise NotImplementedError

    def turn(self, player: str, batch: FrameBatch) -> dict[str, Tensor]:
        """What `player` minimises in its turn, as `loss`, and the parts; fresh noise each time, from torch's own generator."""
        raise NotImplementedError


def kept(ask: Ask, frames: Tensor) -> Tensor:
    """Frames with the fixed cells as they were given."""
    return torch.where(ask.fixed, ask.values, frames)
