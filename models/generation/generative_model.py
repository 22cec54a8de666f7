"""Base classes of generative models: frames -> loss and likelihood, sampling request -> frames."""

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest


class GenerativeModel(nn.Module):
    """Base class of generative models, constructed with the specification of the frames.

    supports: supported uses: free, continue, harmonise, inpaint, interpolate
    likelihood: kind of `nll`: exact, a bound, an estimate, or not available (`none`)
    """

    supports: ClassVar[frozenset[str]] = frozenset({"free"})
    likelihood: ClassVar[Literal["exact", "bound", "estimate", "none"]] = "exact"

    def __init__(self, form: FrameSpec) -> None:
        super().__init__()
        self.form = form

    def loss(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Training loss as `loss`, and its terms."""
        nll = self.nll(batch)
        return {"loss": nll.sum() / batch.valid.sum().clamp(min=1) / self.form.columns}

    def nll(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of each frame given the previous ones; 0 if padded."""
        raise NotImplementedError

    def surrogate(self, batch: FrameBatch) -> Tensor:
        """Substitute (batch, frames) for `nll` in models without likelihood: reconstruction, pseudo-likelihood."""
        raise NotImplementedError

    def guess(self, batch: FrameBatch) -> Tensor | None:
        """Most likely frames (batch, frames, columns) given the true previous ones; None if not available.

        Heads that draw a frame cell by cell also get the true previous cells of the frame.
        """
        return None

    @property
    def scored(self) -> list[int]:
        """Columns covered by `nll`: all, except in models with input columns."""
        return list(range(self.form.columns))

    def idle(self) -> list[nn.Parameter]:
        """Parameters that the next optimizer step must not change."""
        return []

    def generate(self, request: SamplingRequest) -> Tensor:
        """Generated frames (batch, frames, columns) with the fixed cells of the request; after an `end` all frames are `end`."""
        raise NotImplementedError

    def prepare(self, batches: Iterable[FrameBatch]) -> None:
        """Take statistics of the whole training set before the first step, on every rank: counts, initial biases."""


class Adversarial(GenerativeModel):
    """Base class of adversarial models: networks with separate optimizers and alternating updates.

    schedule: names of the networks updated within one training step, one per optimizer step
    """

    likelihood = "none"
    schedule: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

    def networks(self) -> dict[str, nn.Module]:
        """Trained networks by name, such as generator and discriminator."""
        raise NotImplementedError

    def network_loss(self, name: str, batch: FrameBatch) -> dict[str, Tensor]:
        """Loss of one network as `loss`, and its terms; noise is drawn by torch's global generator."""
        raise NotImplementedError


def kept(request: SamplingRequest, frames: Tensor) -> Tensor:
    """Frames with the fixed cells of the request."""
    return torch.where(request.fixed, request.values, frames)
