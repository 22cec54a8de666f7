"""Ways from one code to another."""

import torch
from torch import Tensor


def linear(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """(steps, ..., code): evenly from `first` to `last` (..., code), both included."""
    share = _shares(first, steps)
    return (1 - share) * first + share * last


def slerp(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """(steps, ..., code): evenly in angle from `first` to `last` (..., code), both included (Shoemake 1985).

    Lengths change evenly too: codes of a normal distribution in many dimensions lie near a sphere, which a straight line
    would leave. Codes in one or opposite directions have no arc between them and are joined by a straight line.
    """
    share = _shares(first, steps)
    lengths = first.norm(dim=-1, keepdim=True), last.norm(dim=-1, keepdim=True)
    ways = [code / length.clamp(min=1e-12) for code, length in zip((first, last), lengths, strict=True)]
    angle = (ways[0] * ways[1]).sum(-1, keepdim=True).clamp(-1, 1).acos()
    arc = ((1 - share) * angle).sin() * ways[0] + (share * angle).sin() * ways[1]
    arc = arc / angle.sin().clamp(min=1e-12) * ((1 - share) * lengths[0] + share * lengths[1])
    return torch.where(angle.sin() < 1e-4, linear(first, last, steps), arc)


def _shares(like: Tensor, steps: int) -> Tensor:
    if steps < 2:
        raise ValueError(f"{steps} steps from one piece to another: expected at least 2, the pieces themselves")
    return torch.linspace(0, 1, steps, device=like.device).reshape(-1, *[1] * like.dim())
