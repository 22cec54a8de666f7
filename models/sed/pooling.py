"""From the probabilities of a clip's frames to those of the clip: pooling functions after Wang, Li and Metze 2019.

Each is called with the number of features and of classes, and then with frame probabilities (batch, frames, classes),
features (batch, frames, width) and mask (batch, frames) bool, padding being False; it gives (batch, classes) float32.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision

TINY = 1e-30  # a class that is never there has a sum of weights of 0


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over frames of values (batch, frames, classes), finite in value and gradient where all weights are 0."""
    return (values * (weights / weights.sum(1, keepdim=True).clamp(min=TINY))).sum(1)


class Pooling(nn.Module):
    """A pooling function; those without weights of their own need not know how many features and classes there are."""

    def __init__(self, width: int = 0, n_classes: int = 0) -> None:
        super().__init__()

    def forward(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """(batch, classes) float32, whatever the precision around."""
        with full_precision(probabilities):
            return self.pooled(probabilities.float(), features.float(), mask[..., None])

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """As `forward`, all float32, mask (batch, frames, 1)."""
        raise NotImplementedError


class LinearSoftmax(Pooling):
    """Sum of squares over sum: each frame counts as much as it is sure (equation 1 of Boes and Van hamme 2021)."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        return weighted_mean(probabilities, torch.where(mask, probabilities, 0.0))


class ExponentialSoftmax(Pooling):
    """Each frame counts as much as exp of its probability."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        return weighted_mean(probabilities, torch.where(mask, probabilities.exp(), 0.0))


class Mean(Pooling):
    """All frames count alike."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        return weighted_mean(probabilities, mask.float().expand_as(probabilities))


class Max(Pooling):
    """The surest frame alone counts."""

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        return probabilities.masked_fill(~mask, -1.0).amax(1).clamp(min=0.0)


class Attention(Pooling):
    """Each frame counts as a second dense layer says, whose softmax runs over the frames of a clip, for each class alone.

    legacy: softmax over the classes, then divided by the sum over frames, as the DESED baselines do: one class's share
    depends on how much the others want a frame.
    """

    def __init__(self, width: int, n_classes: int, legacy: bool = False) -> None:
        super().__init__()
        self.linear, self.legacy = nn.Linear(width, n_classes), legacy

    def pooled(self, probabilities: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        logits = F.linear(features, self.linear.weight.float(), self.linear.bias.float())
        if self.legacy:
            weights = logits.softmax(2).clamp(min=1e-7)
        else:
            # Of the frames inside alone: padding with a large logit must not push all others to 0.
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


# Which frames of a padded batch are a clip's own, and batch norm over those alone.


class Inside(NamedTuple):
    """The frames of a batch that are no padding."""

    mask: Tensor  # (batch, frames) bool
    rows: Tensor  # (frames inside,) int64, their places among all batch * frames

    @classmethod
    def of(cls, valid: Tensor, frames: int, device: torch.device) -> "Inside":
        """From the frames of each clip (batch,) on the CPU, so that no device has to be waited for."""
        mask = torch.arange(frames) < valid[:, None]
        rows = mask.flatten().nonzero()[:, 0]
        return cls(mask.to(device, non_blocking=True), rows.to(device, non_blocking=True))


def silenced(x: Tensor, inside: Inside | None) -> Tensor:
    """(batch, channels, frames, ...) with 0 in padded frames, as a convolution pads the end of a clip."""
    if inside is None:
        return x
    mask = inside.mask[:, None].to(x.dtype)
    return x * (mask if x.dim() == 3 else mask[..., None])


def normed(norm: nn.Module, x: Tensor, inside: Inside | None) -> Tensor:
    """Batch norm of (batch, channels, frames, ...) whose statistics, in training, are those of the frames inside.

    They are gathered, so that any norm over the batch will do, one synchronised over processes too. 0 elsewhere.
    """
    if inside is None or not norm.training:
        return norm(x)
    gathered = _Gathered.apply(x, inside.rows)
    out = norm(gathered) if x.dim() == 3 else norm(gathered.unsqueeze(2)).squeeze(2)
    return _Scattered.apply(out, inside.rows, x.shape[0], x.shape[2])


def gather(x: Tensor, rows: Tensor) -> Tensor:
    """(batch, channels, frames, ...) -> (frames inside, channels, ...), without a copy where x lies as channels_last."""
    return x.movedim(1, -1).flatten(0, 1).index_select(0, rows).movedim(-1, 1)


def scatter(gathered: Tensor, rows: Tensor, batch: int, frames: int) -> Tensor:
    """(frames inside, channels, ...) -> (batch, channels, frames, ...), 0 elsewhere."""
    values = gathered.movedim(1, -1)
    flat = values.new_zeros((batch * frames, *values.shape[1:])).index_copy_(0, rows, values)
    return flat.unflatten(0, (batch, frames)).movedim(-1, 1)


class _Gathered(torch.autograd.Function):
    """Each of the two is the other's gradient; torch adds where it could copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = x.shape[0], x.shape[2]
        return gather(x, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return scatter(grad, *ctx.saved_tensors, *ctx.size), None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gathered: Tensor, rows: Tensor, batch: int, frames: int) -> Tensor:
        ctx.save_for_backward(rows)
        return scatter(gathered, rows, batch, frames)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return gather(grad, *ctx.saved_tensors), None, None, None
