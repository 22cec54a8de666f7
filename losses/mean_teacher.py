"""Mean-teacher losses (Tarvainen and Valpola 2017): consistency of student and teacher, masked binary cross entropy."""

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_consistency(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of clip probabilities (batch, classes): float32 scalar, without gradient to the teacher."""
    return (student.float() - teacher.detach().float()).square().mean()


def frame_consistency(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of frame probabilities (batch, frames, classes) where mask (batch, frames) is True.

    Float32 scalar without gradient to the teacher; valid frames have equal weights. 0 without valid frames.
    """
    error = torch.where(mask[..., None], student.float() - teacher.detach().float(), 0.0)
    return error.square().sum() / (mask.sum() * student.shape[-1]).clamp(min=1)


def clip_bce(probabilities: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
    """Binary cross entropy over labelled items: probabilities, labels (batch, classes) in [0, 1]; labelled (batch,) bool.

    Float32 scalar, finite in value and gradient at probabilities of 0 and 1; 0 with gradient 0 without labelled items.
    Labels of other items are ignored.
    """
    return _masked(probabilities, labels, labelled[:, None])


def frame_bce(probabilities: Tensor, labels: Tensor, labelled: Tensor, mask: Tensor) -> Tensor:
    """`clip_bce` over frames (batch, frames, classes); mask (batch, frames) bool, False behind the end of a clip."""
    return _masked(probabilities, labels, (labelled[:, None] & mask)[..., None])


def _masked(probabilities: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    with torch.autocast(probabilities.device.type, enabled=False):  # not supported under autocast on some devices
        counted = counted.expand_as(probabilities)
        # Ignored entries are replaced before the logarithm: 0 * infinity would be NaN, in the gradient too.
        probabilities = torch.where(counted, probabilities.float(), 0.5)
        labels = torch.where(counted, labels.float(), 0.5)
        total = F.binary_cross_entropy(probabilities, labels, weight=counted.float(), reduction="sum")
        return total / counted.sum().clamp(min=1)
