"""Differentiable constraints on piano rolls in [0, 1], used as costs in gradient-based generation.

Constraints of C-RBM (Lattner, Grachten and Widmer 2016: self-similarity, tonality, metre) and of DeepHear_C (Sun 2015: fixed
notes). Soft rolls (rows, frames, pitches) of note probabilities -> costs (rows,), 0 if the constraint is met.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

TINY = 1e-6


class Constraint(nn.Module):
    """Base class of constraints.

    weight: factor of the cost
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def cost(self, roll: Tensor) -> Tensor:
        """Unweighted cost (rows,) of soft rolls (rows, frames, pitches)."""
        raise NotImplementedError

    def forward(self, roll: Tensor) -> Tensor:
        """Weighted cost (rows,), in float32."""
        return self.weight * self.cost(roll.float())

    def register(self, **tensors: Tensor | Sequence) -> None:
        """Register tensors as buffers outside the state dict."""
        for name, tensor in tensors.items():
            self.register_buffer(name, torch.as_tensor(tensor, dtype=torch.float32), persistent=False)


class FixedCells(Constraint):
    """Squared error summed over fixed cells (DeepHear_C)."""

    def __init__(self, values: Tensor, fixed: Tensor, weight: float = 1.0) -> None:
        """values, fixed: (rows, frames, pitches); values of other cells are ignored."""
        super().__init__(weight)
        self.register(values=torch.where(fixed, values, torch.zeros_like(values)), fixed=fixed)

    def cost(self, roll: Tensor) -> Tensor:
        return ((roll - self.values).square() * self.fixed).sum((1, 2))


class Tonality(Constraint):
    """Squared distance of the pitch-class distribution from a key profile."""

    def __init__(self, profile: Sequence[float], low: int = 21, weight: float = 1.0) -> None:
        """profile: (12,) shares or weights from C upwards. low: pitch of a roll's first column.

        Raises ValueError unless the profile has 12 numbers with a positive sum.
        """
        super().__init__(weight)
        if len(profile) != 12 or not sum(profile) > 0:
            raise ValueError(f"a key profile has a weight for each of 12 pitch classes, got {list(profile)}")
        self.low = low
        self.register(profile=torch.as_tensor(profile, dtype=torch.float32) / sum(profile))

    def cost(self, roll: Tensor) -> Tensor:
        classes = (torch.arange(roll.shape[-1], device=roll.device) + self.low) % 12
        counts = roll.new_zeros(len(roll), 12).index_add(1, classes, roll.sum(1))
        return (counts / (counts.sum(1, keepdim=True) + TINY) - self.profile).square().sum(1)


class SelfSimilarity(Constraint):
    """Mean squared distance of the self-similarity matrix from that of a template."""

    def __init__(self, template: Tensor | Sequence, weight: float = 1.0) -> None:
        """template: roll (frames, pitches) of the same length as the input."""
        super().__init__(weight)
        self.register(similarity=self_similarity(torch.as_tensor(template, dtype=torch.float32)))

    def cost(self, roll: Tensor) -> Tensor:
        return (self_similarity(roll) - self.similarity).square().mean((1, 2))


class Density(Constraint):
    """Mean squared distance of the number of sounding notes from a target."""

    def __init__(self, notes: float | Sequence[float], weight: float = 1.0) -> None:
        """notes: notes per frame, one number or (frames,)."""
        super().__init__(weight)
        self.register(notes=notes)

    def cost(self, roll: Tensor) -> Tensor:
        return (roll.sum(-1) - self.notes).square().mean(1)


class Metre(Constraint):
    """Squared distance of the distribution of onsets in the bar from a profile."""

    def __init__(self, profile: Sequence[float], weight: float = 1.0) -> None:
        """profile: (frames of a bar,) shares or weights; rolls begin with a bar. ValueError unless the sum is positive."""
        super().__init__(weight)
        if not sum(profile) > 0:
            raise ValueError(f"a profile of a bar has a weight for each of its frames, got {list(profile)}")
        self.register(profile=torch.as_tensor(profile, dtype=torch.float32) / sum(profile))

    def cost(self, roll: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(roll[:, :1]), roll[:, :-1]], 1)
        onsets = (roll - before).relu().sum(-1)
        places = torch.arange(roll.shape[1], device=roll.device) % len(self.profile)
        counts = roll.new_zeros(len(roll), len(self.profile)).index_add(1, places, onsets)
        return (counts / (counts.sum(1, keepdim=True) + TINY) - self.profile).square().sum(1)


def self_similarity(roll: Tensor) -> Tensor:
    """Cosine similarity matrix (..., frames, frames) of frames (..., frames, pitches); 0 for silent frames."""
    directions = roll / (roll.square().sum(-1, keepdim=True) + TINY).sqrt()
    return directions @ directions.transpose(-1, -2)


def total(constraints: Iterable[Constraint], roll: Tensor) -> Tensor:
    """Sum (rows,) of the weighted costs of all constraints."""
    return sum((constraint(roll) for constraint in constraints), roll.new_zeros(len(roll)))
