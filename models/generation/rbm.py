"""Restricted Boltzmann machines: free energy, contrastive divergence, block Gibbs and annealed importance sampling."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.generation.sampling import Sampling, flip


class Boltzmann(NamedTuple):
    """Energy -b v - c h - v W h of visible and hidden units (Smolensky 1986; Hinton 2002), in float32.

    weight: (visible, hidden)
    visible, hidden: biases b (..., visible) and c (..., hidden), shared or one per row
    """

    weight: Tensor
    visible: Tensor
    hidden: Tensor

    def up(self, v: Tensor) -> Tensor:
        """Logits (..., hidden) of the hidden units given visible units."""
        return v @ self.weight + self.hidden

    def down(self, h: Tensor) -> Tensor:
        """Logits (..., visible) of the visible units given hidden units."""
        return h @ self.weight.T + self.visible

    def free_energy(self, v: Tensor) -> Tensor:
        """Free energy (...,) of visible units (..., visible): negative log of the unnormalised probability."""
        return -(v * self.visible).sum(-1) - F.softplus(self.up(v)).sum(-1)

    def log_partition(self) -> Tensor:
        """Exact log partition function (...,), for up to 20 visible or hidden units.

        Raises ValueError for more units in both layers.
        """
        few = min(self.weight.shape)
        if few > 20:
            raise ValueError(f"{few} units have too many states to sum over, expected 20 or fewer: use `ais`")
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
    """Contrastive divergence: free energy (rows,) of data minus that of samples after `steps` Gibbs steps, and the samples.

    Only the gradient of the difference is meaningful; it does not flow through the samples. The samples can be the `start`
    of the next call (persistent chains, Tieleman 2008). Uses torch's global generator.
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
    """Visible units (rows, visible) after `steps` of block Gibbs sampling with fixed units.

    v: initial units. Temperature 0 iterates mean-field updates for `steps`, then most likely states for `steps`: a local
    maximum, not the most likely frame
    """
    if sampling.greedy:
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


class LogEstimate(NamedTuple):
    """Estimated logarithm (rows,) and its standard error (rows,), in nats."""

    value: Tensor
    error: Tensor


@torch.no_grad()
def ais(
    machine: Boltzmann,
    base: Tensor,
    chains: int,
    temperatures: int,
    generator: torch.Generator,
    clamped: tuple[Tensor, Tensor] | None = None,
) -> LogEstimate:
    """Annealed importance sampling of log partition functions (Salakhutdinov and Murray 2008, section 4.1.1).

    The mean of the importance weights is unbiased, so its logarithm is too small on average, and likelihoods are too large,
    more so with fewer temperatures. The error (delta method on the spread of the weights) ignores modes without a chain.

    Args:
        machine: biases (rows, units)
        base: biases (visible,) of the initial distribution, the log-odds of the data
        chains: chains per row
        temperatures: number of intermediate distributions
        generator: of all random numbers
        clamped: values and mask of fixed units, each (rows, visible); the sum is over the other units
    """
    rows = len(machine.visible)
    visible, hidden = (bias.repeat(chains, 1) for bias in (machine.visible, machine.hidden))
    values, fixed = (part.repeat(chains, 1) for part in clamped) if clamped else (None, None)
    v = _bernoulli(base.expand_as(visible), generator, values, fixed)
    mass = F.softplus(base).expand_as(visible)
    if clamped:
        mass = torch.where(fixed, base * values, mass)
    weights = mass.sum(-1) + hidden.shape[-1] * math.log(2)
    up = v @ machine.weight + hidden
    for step in range(temperatures):
        cold, warm = (step + 1) / temperatures, step / temperatures
        weights = weights + ((visible - base) * v).sum(-1) / temperatures
        weights = weights + (F.softplus(cold * up) - F.softplus(warm * up)).sum(-1)
        if step + 1 < temperatures:
            h = _bernoulli(cold * up, generator)
            v = _bernoulli((1 - cold) * base + cold * (h @ machine.weight.T + visible), generator, values, fixed)
            up = v @ machine.weight + hidden
    return _mean(weights.view(chains, rows))


def _bernoulli(logits: Tensor, generator: torch.Generator, values: Tensor | None = None, fixed: Tensor | None = None) -> Tensor:
    chance = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=logits.dtype)
    drawn = (chance < logits.sigmoid()).to(logits.dtype)
    return drawn if values is None else torch.where(fixed, values, drawn)


def _mean(weights: Tensor) -> LogEstimate:
    """Logarithm of the mean of log-weights (chains, rows), and its error, infinite for one chain."""
    chains = len(weights)
    value = weights.logsumexp(0) - math.log(chains)
    if chains == 1:
        return LogEstimate(value, torch.full_like(value, torch.inf))
    return LogEstimate(value, (weights - value).exp().std(0) / math.sqrt(chains))
