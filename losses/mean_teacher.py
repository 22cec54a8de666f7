"""Mean-teacher consistency (Tarvainen and Valpola 2017): the student's probabilities against the teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_consistency(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of clip probabilities (batch, classes): a float32 scalar, no gradient into the teacher."""
    return (student.float() - teacher.detach().float()).square().mean()


def frame_consistency(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of frame probabilities (batch, frames, classes) where mask (batch, frames) is True.

    A float32 scalar, no gradient into the teacher; every valid frame of the batch counts the same. 0 without any.
    """
    error = torch.where(mask[..., None], student.float() - teacher.detach().float(), 0.0)
    return error.square().sum() / (mask.sum() * student.shape[-1]).clamp(min=1)


# Binary cross entropy of probabilities over those items of a mixed batch that have the labels in question.


def clip_bce(probabilities: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
    """Mean over classes and labelled items: probabilities, labels (batch, classes) in [0, 1]; labelled (batch,) bool.

    A float32 scalar, finite in value and gradient at probabilities of 0 and 1. Without any labelled item 0, with a
    gradient of 0 for every probability. Labels of other items may be anything.
    """
    return _masked(probabilities, labels, labelled[:, None])


def frame_bce(probabilities: Tensor, labels: Tensor, labelled: Tensor, mask: Tensor) -> Tensor:
    """As `clip_bce` over frames: (batch, frames, classes); mask (batch, frames) bool, False where a clip is over."""
    return _masked(probabilities, labels, (labelled[:, None] & mask)[..., None])


def _masked(probabilities: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    with torch.autocast(probabilities.device.type, enabled=False):  # which refuses this loss on some devices
        counted = counted.expand_as(probabilities)
        # What does not count is taken out before the logarithm: 0 * infinity would be NaN, in the gradient too.
        probabilities = torch.where(counted, probabilities.float(), 0.5)
        labels = torch.where(counted, labels.float(), 0.5)
        total = F.binary_cross_entropy(probabilities, labels, weight=counted.float(), reduction="sum")
        return total / counted.sum().clamp(min=1)
