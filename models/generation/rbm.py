"""Restricted Boltzmann machines over zeros and ones, each row with biases of its own if need be."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.generation.sampling import Sampling, flip


class Boltzmann(NamedTuple):
    """Energy -b v - c h - v W h of visible and hidden units (Smolensky 1986; Hinton 2002). Wants float32.

    weight: (visible, hidden)
    visible, hidden: biases b (..., visible) and c (..., hidden), for all rows or one for each
    """

    weight: Tensor
    visible: Tensor
    hidden: Tensor

    def up(self, v: Tensor) -> Tensor:
        """Logits (..., hidden) of the hidden units given visible ones."""
        return v @ self.weight + self.hidden

    def down(self, h: Tensor) -> Tensor:
        """Logits (..., visible) of the visible units given hidden ones."""
        return h @ self.weight.T + self.visible

    def free_energy(self, v: Tensor) -> Tensor:
        """Minus the logarithm (...,) of the unnormalised probability of visible units (..., visible)."""
        return -(v * self.visible).sum(-1) - F.softplus(self.up(v)).sum(-1)

    def log_partition(self) -> Tensor:
        """The exact logarithm (...,) of the sum over all states of up to 20 visible or hidden units, the fewer of them.

        Raises ValueError where both are more.
        """
        few = min(self.weight.shape)
        if few > 20:
            raise ValueError(f"{few} units have too many states to sum over, expected 20 or fewer; `ais` estimates it")
        this, other, weight = self.hidden, self.visible, self.weight
        if few < self.weight.shape[1]:
            this, other, weight = self.visible, self.hidden, self.weight.T
        total = this.new_full(torch.broadcast_shapes(this.shape[:-1], other.shape[:-1]), -torch.inf)
        for states in torch.arange(2**few, device=this.device).split(4096):
            bits = (states.unsqueeze(1) >> torch.arange(few, device=this.device) & 1).to(this.dtype)
            energies = this @ bits.T + F.softplus(other.unsqueeze(-2) + bits @ weight.T).sum(-1)
            total = torch.logaddexp(total, energies.logsumexp(-1))
        return total


def contrast(machine: Boltzmann, data: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Contrastive divergence: free energy (rows,) of data less that of what `steps` of Gibbs sampling make of it.

    Only the difference's gradient means anything; it does not go through the samples. Returned with it, they may be the
    `start` of the next call (persistent chains, Tieleman 2008). Drawn by torch's own generator.
    """
    with torch.no_grad():
        v = data if start is None else start
        for _ in range(steps):
            h = _drawn(machine.up(v))
            v = _drawn(machine.down(h))
    if start is None:
        return machine.free_energy(data) - machine.free_energy(v), v
    return machine.free_energy(data) - machine.free_energy(v).mean(), v


def _drawn(logits: Tensor) -> Tensor:
    return (torch.rand_like(logits) < logits.sigmoid()).to(logits.dtype)


def block_gibbs(
    machine: Boltzmann, v: Tensor, fixed: Tensor | None, steps: int, sampling: Sampling, generator: torch.Generator
) -> Tensor:
    """Visible units (rows, visible) after `steps` of drawing all hidden and then all visible units; the fixed ones stay.

    v: where to begin. At temperature 0 nothing is drawn: means are handed on for all steps, and in the end the likelier
    states, which is a local maximum, not the likeliest frame of all
    """
    if sampling.temperature <= 0 or sampling.top_k == 1:
        return _settled(machine, v, fixed, steps)
    hidden = Sampling(sampling.temperature)
    for _ in range(steps):
        h = flip(machine.up(v), hidden, generator)
        drawn = flip(machine.down(h), sampling, generator)
        v = drawn if fixed is None else torch.where(fixed, v, drawn)
    return v


def _settled(machine: Boltzmann, v: Tensor, fixed: Tensor | None, steps: int) -> Tensor:
    for step in range(2 * steps):
        soft = step < steps
        h = machine.up(v)
        down = machine.down(h.sigmoid() if soft else (h > 0).to(h.dtype))
        new = down.sigmoid() if soft else (down > 0).to(v.dtype)
        v = new if fixed is None else torch.where(fixed, v, new)
    return v
