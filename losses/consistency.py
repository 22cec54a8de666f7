"""Mean-teacher consistency (Tarvainen and Valpola 2017): the student's probabilities against the teacher's."""

import torch
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
