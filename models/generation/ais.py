"""Annealed importance sampling: what a Boltzmann machine's states sum up to, and how sure that is."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.generation.rbm import Boltzmann


class Estimate(NamedTuple):
    """An estimated logarithm (rows,) and its standard error (rows,), in nats."""

    value: Tensor
    error: Tensor


@torch.no_grad()
def ais(
    machine: Boltzmann,
    base: Tensor,
    chains: int,
    temperatures: int,
    generator: torch.Generator,
    given: tuple[Tensor, Tensor] | None = None,
) -> Estimate:
    """Logarithm of the partition function of each row's machine (Salakhutdinov and Murray 2008, section 4.1.1).

    The importance weights' mean is unbiased, so its logarithm is on the average too small, the likelihood made of it too
    large, the more so the fewer the temperatures; the error, by the delta method from the spread of the weights, says
    nothing of modes that no chain visited.

    Args:
        machine: biases (rows, units)
        base: biases (visible,) of the machine without weights that chains begin with: the data's log-odds
        chains: of each row
        temperatures: intermediate distributions
        generator: of all draws
        given: values (rows, visible) and which of them are fixed (rows, visible): the sum is over the other units alone
    """
    rows = len(machine.visible)
    visible, hidden = (bias.repeat(chains, 1) for bias in (machine.visible, machine.hidden))
    values, fixed = (part.repeat(chains, 1) for part in given) if given else (None, None)
    v = _drawn(base.expand_as(visible), generator, values, fixed)
    mass = F.softplus(base).expand_as(visible)
    if given:
        mass = torch.where(fixed, base * values, mass)
    weights = mass.sum(-1) + hidden.shape[-1] * math.log(2)
    up = v @ machine.weight + hidden
    for step in range(temperatures):
        cold, warm = (step + 1) / temperatures, step / temperatures
        weights = weights + ((visible - base) * v).sum(-1) / temperatures
        weights = weights + (F.softplus(cold * up) - F.softplus(warm * up)).sum(-1)
        if step + 1 < temperatures:
            h = _drawn(cold * up, generator)
            v = _drawn((1 - cold) * base + cold * (h @ machine.weight.T + visible), generator, values, fixed)
            up = v @ machine.weight + hidden
    return _mean(weights.view(chains, rows))


def _drawn(logits: Tensor, generator: torch.Generator, values: Tensor | None = None, fixed: Tensor | None = None) -> Tensor:
    chance = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=logits.dtype)
    drawn = (chance < logits.sigmoid()).to(logits.dtype)
    return drawn if values is None else torch.where(fixed, values, drawn)


def _mean(weights: Tensor) -> Estimate:
    """Logarithm of the mean of log-weights (chains, rows), and its error: unknown, so infinite, of one chain."""
    chains = len(weights)
    value = weights.logsumexp(0) - math.log(chains)
    if chains == 1:
        return Estimate(value, torch.full_like(value, torch.inf))
    return Estimate(value, (weights - value).exp().std(0) / math.sqrt(chains))
