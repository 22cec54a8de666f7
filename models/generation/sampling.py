"""Sampling from logits with temperature, top-k and top-p; greedy at temperature 0."""

from typing import NamedTuple

import torch
from torch import Tensor


class Sampling(NamedTuple):
    """Sampling options: temperature (0: greedy), top-k (0: all), nucleus probability top-p (1: all)."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    @property
    def greedy(self) -> bool:
        """True if the most likely value is always taken."""
        return self.temperature <= 0 or self.top_k == 1


def narrowed(logits: Tensor, sampling: Sampling, allowed: Tensor | None = None) -> Tensor:
    """Logits (..., categories) divided by the temperature (if not 0), -inf for excluded categories."""
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    if sampling.temperature > 0:
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k, -1).values[..., -1:], -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.softmax(-1).sort(-1, descending=True)
        dropped = ordered.cumsum(-1) - ordered >= sampling.top_p  # the most likely category is always kept
        logits = logits.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), -torch.inf)
    return logits


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator, allowed: Tensor | None = None) -> Tensor:
    """Categories (...,) drawn from logits (..., categories), restricted to `allowed`."""
    logits = narrowed(logits.float(), sampling, allowed)
    if sampling.greedy:
        return logits.argmax(-1)
    noise = torch.rand(logits.shape, generator=generator, device=logits.device)
    # Gumbel-max trick, without a loop over rows.
    return (logits - (-noise.clamp(1e-20, 1 - 1e-7).log()).log()).argmax(-1)


def flip(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Bernoulli samples (...,) float of logits (...,); the more likely value at temperature 0."""
    if sampling.greedy:
        return (logits > 0).to(logits.dtype)
    noise = torch.rand(logits.shape, generator=generator, device=logits.device)
    return (noise < chances(logits.float(), sampling)).to(logits.dtype)


def chances(logits: Tensor, sampling: Sampling) -> Tensor:
    """Sampling probabilities of ones: 0 or 1 at temperature 0, or if the more likely value reaches `top_p`."""
    if sampling.greedy:
        return (logits > 0).float()
    chance = (logits / sampling.temperature).sigmoid()
    if sampling.top_p < 1:
        chance = torch.where(chance >= sampling.top_p, 1.0, torch.where(1 - chance >= sampling.top_p, 0.0, chance))
    return chance
