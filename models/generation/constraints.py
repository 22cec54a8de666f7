"""What music shall be like, as differentiable costs of soft rolls: what gradient descent on an input or a code lowers.

The constraints of C-RBM (Lattner, Grachten and Widmer 2016: self-similarity, tonality, metre) and of DeepHear_C (Sun 2015: notes
that are given). A soft roll (rows, frames, pitches) holds the probability of each note; every cost is (rows,), 0 where the
music is as wanted, and a constraint times its `weight`.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

TINY = 1e-6


class Constraint(nn.Module):
    """Base of all constraints.

    weight: what its cost is multiplied by
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def cost(self, roll: Tensor) -> Tensor:
        """Cost (rows,) of soft rolls (rows, frames, pitches) before it is weighted."""
        raise NotImplementedError

    def forward(self, roll: Tensor) -> Tensor:
        """Weighted cost (rows,), in float32."""
        return self.weight * self.cost(roll.float())

    def holds(self, **tensors: Tensor | Sequence) -> None:
        """Keep tensors that follow the network to another device, but are no part of its weights."""
        for name, tensor in tensors.items():
            self.register_buffer(name, torch.as_tensor(tensor, dtype=torch.float32), persistent=False)


class Given(Constraint):
    """Cells that are known: the squared error summed over them (DeepHear_C)."""

    def __init__(self, values: Tensor, fixed: Tensor, weight: float = 1.0) -> None:
        """values, fixed: (rows, frames, pitches); what stands where nothing is fixed means nothing."""
        super().__init__(weight)
        self.holds(values=torch.where(fixed, values, torch.zeros_like(values)), fixed=fixed)

    def cost(self, roll: Tensor) -> Tensor:
        """(rows,)."""
        return ((roll - self.values).square() * self.fixed).sum((1, 2))


class Tonality(Constraint):
    """How often each pitch class sounds: the squared distance of its shares from those of a key profile."""

    def __init__(self, profile: Sequence[float], low: int = 21, weight: float = 1.0) -> None:
        """profile: (12,) shares or weights from C upwards. low: pitch of a roll's first column.

        Raises ValueError where the profile has not 12 numbers or they do not add up to anything.
        """
        super().__init__(weight)
        if len(profile) != 12 or not sum(profile) > 0:
            raise ValueError(f"a key profile has a weight for each of 12 pitch classes, got {list(profile)}")
        self.low = low
        self.holds(profile=torch.as_tensor(profile, dtype=torch.float32) / sum(profile))

    def cost(self, roll: Tensor) -> Tensor:
        """(rows,)."""
        classes = (torch.arange(roll.shape[-1], device=roll.device) + self.low) % 12
        counts = roll.new_zeros(len(roll), 12).index_add(1, classes, roll.sum(1))
        return (counts / (counts.sum(1, keepdim=True) + TINY) - self.profile).square().sum(1)


class SelfSimilarity(Constraint):
    """Which frames are alike: the mean squared distance of the rolls' self-similarity from that of a template."""

    def __init__(self, template: Tensor | Sequence, weight: float = 1.0) -> None:
        """template: (frames, pitches) a roll as long as those that are judged."""
        super().__init__(weight)
        self.holds(wanted=self_similarity(torch.as_tensor(template, dtype=torch.float32)))

    def cost(self, roll: Tensor) -> Tensor:
        """(rows,)."""
        return (self_similarity(roll) - self.wanted).square().mean((1, 2))


class Density(Constraint):
    """How many notes sound: the mean squared distance from a number for all frames, or one for each."""

    def __init__(self, notes: float | Sequence[float], weight: float = 1.0) -> None:
        """notes: of a frame, or (frames,)."""
        super().__init__(weight)
        self.holds(notes=notes)

    def cost(self, roll: Tensor) -> Tensor:
        """(rows,)."""
        return (roll.sum(-1) - self.notes).square().mean(1)


class Metre(Constraint):
    """Where in a bar notes begin: the squared distance of the onsets' shares from a profile of the bar."""

    def __init__(self, profile: Sequence[float], weight: float = 1.0) -> None:
        """profile: (frames of a bar,) shares or weights; the rolls begin with a bar. ValueError where they add up to nothing."""
        super().__init__(weight)
        if not sum(profile) > 0:
            raise ValueError(f"a profile of a bar has a weight for each of its frames, got {list(profile)}")
        self.holds(profile=torch.as_tensor(profile, dtype=torch.float32) / sum(profile))

    def cost(self, roll: Tensor) -> Tensor:
        """(rows,)."""
        before = torch.cat([torch.zeros_like(roll[:, :1]), roll[:, :-1]], 1)
        onsets = (roll - before).relu().sum(-1)
        places = torch.arange(roll.shape[1], device=roll.device) % len(self.profile)
        counts = roll.new_zeros(len(roll), len(self.profile)).index_add(1, places, onsets)
        return (counts / (counts.sum(1, keepdim=True) + TINY) - self.profile).square().sum(1)


def self_similarity(roll: Tensor) -> Tensor:
    """Cosine similarity (..., frames, frames) of every two frames of (..., frames, pitches); 0 to a silent one."""
    ways = roll / (roll.square().sum(-1, keepdim=True) + TINY).sqrt()
    return ways @ ways.transpose(-1, -2)


def total(constraints: Iterable[Constraint], roll: Tensor) -> Tensor:
    """The sum (rows,) of all constraints' weighted costs."""
    return sum((constraint(roll) for constraint in constraints), roll.new_zeros(len(roll)))
