"""Pooling functions (Wang, Li and Metze 2019): frame probabilities -> clip probabilities; masked batch normalization.

Constructed with the number of features and of classes, called with frame probabilities (batch, frames, classes), features
(batch, frames, width) and mask (batch, frames) bool, False for padding; returns (batch, classes) float32.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision

TINY = 1e-30  # the sum of weights of an absent class can be 0


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over frames of values (batch, frames, classes); value and gradient are finite if all weights are 0."""
    return (values * (weights / weights.sum(1, keepdim=True).clamp(min=TINY))).sum(1)


class Pooling(nn.Module):
    """Base class of pooling functions; those without parameters ignore the number of features and classes."""

    def __init__(self, width: int = 0, n_classes: int = 0) -> None:
        super().__init__()

    def forward(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Clip probabilities (batch, classes) float32 under any autocast."""
        with full_precision(probabilities):
            return self.pooled(probabilities.float(), features.float(), mask[..., None])

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """`forward` in float32, mask (batch, frames, 1)."""
        raise NotImplementedError


class LinearSoftmax(Pooling):
    """Frames weighted by their probability: sum of squares over sum (Boes and Van hamme 2021, equation 1)."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Frame probabilities (batch, frames, classes) -> clip probabilities (batch, classes), weighted by themselves."""
        return weighted_mean(probabilities, torch.where(mask, probabilities, 0.0))


class ExponentialSoftmax(Pooling):
    """Frames weighted by exp of their probability."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Frame probabilities (batch, frames, classes) -> clip probabilities (batch, classes), weighted by softmax."""
        return weighted_mean(probabilities, torch.where(mask, probabilities.exp(), 0.0))


class Mean(Pooling):
    """Mean over frames."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Frame probabilities (batch, frames, classes) -> mean (batch, classes)."""
        return weighted_mean(probabilities, mask.float().expand_as(probabilities))


class Max(Pooling):
    """Maximum over frames."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Frame probabilities (batch, frames, classes) -> maximum (batch, classes)."""
        return probabilities.masked_fill(~mask, -1.0).amax(1).clamp(min=0.0)


class Attention(Pooling):
    """Frames weighted by a second linear layer with a softmax over the frames of a clip, per class.

    legacy: softmax over the classes, then division by the sum over frames, as in the DESED baselines: weights of a class
    depend on the other classes.
    """

    def __init__(self, width: int, n_classes: int, legacy: bool = False) -> None:
        super().__init__()
        self.linear, self.legacy = nn.Linear(width, n_classes), legacy

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        logits = F.linear(features, self.linear.weight.float(), self.linear.bias.float())
        if self.legacy:
            weights = logits.softmax(2).clamp(min=1e-7)
        else:
            # Over valid frames only: padding with a large logit must not push all others to 0.
            weights = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(1)
        return weighted_mean(probabilities, torch.where(mask, weights, 0.0))


class LegacyAttention(Attention):
    """`Attention` with `legacy`."""

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__(width, n_classes, legacy=True)


POOLINGS: dict[str, type[Pooling]] = {
    "linear": LinearSoftmax,
    "attention": Attention,
    "attention_legacy": LegacyAttention,
    "max": Max,
    "mean": Mean,
    "exponential": ExponentialSoftmax,
}


# Masks for padded batches, and masked batch normalization


class Inside(NamedTuple):
    """Valid frames of a padded batch."""

    mask: Tensor  # (batch, frames) bool
    rows: Tensor  # (valid frames,) int64, indices into batch * frames

    @classmethod
    def from_lengths(cls, valid: Tensor, frames: int, device: torch.device) -> "Inside":
        """Mask from the frames of each clip (batch,) on the CPU, without synchronisation."""
        mask = torch.arange(frames) < valid[:, None]
        rows = mask.flatten().nonzero()[:, 0]
        return cls(mask.to(device, non_blocking=True), rows.to(device, non_blocking=True))


def silenced(x: Tensor, inside: Inside | None) -> Tensor:
    """(batch, channels, frames, ...) with padded frames set to 0, like the zero padding of a convolution."""
    if inside is None:
        return x
    mask = inside.mask[:, None].to(x.dtype)
    return x * (mask if x.dim() == 3 else mask[..., None])


def normed(norm: nn.Module, x: Tensor, inside: Inside | None) -> Tensor:
    """Batch norm of (batch, channels, frames, ...) with training statistics over valid frames only, 0 elsewhere.

    Valid frames are gathered first, so that any batch norm works, also one synchronised over processes.
    """
    if inside is None or not norm.training:
        return norm(x)
    gathered = gather(x, inside.rows)
    out = norm(gathered) if x.dim() == 3 else norm(gathered.unsqueeze(2)).squeeze(2)
    return scatter(out, inside.rows, x.shape[0], x.shape[2])


def gather(x: Tensor, rows: Tensor) -> Tensor:
    """(batch, channels, frames, ...) -> (valid frames, channels, ...), without a copy for channels_last."""
    return x.movedim(1, -1).flatten(0, 1).index_select(0, rows).movedim(-1, 1)


def scatter(gathered: Tensor, rows: Tensor, batch: int, frames: int) -> Tensor:
    """(valid frames, channels, ...) -> (batch, channels, frames, ...), 0 elsewhere."""
    values = gathered.movedim(1, -1)
    flat = values.new_zeros((batch * frames, *values.shape[1:])).index_copy_(0, rows, values)
    return flat.unflatten(0, (batch, frames)).movedim(-1, 1)
