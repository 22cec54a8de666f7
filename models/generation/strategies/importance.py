"""Fixed cells that lie ahead: many pieces are written side by side, and those that they fit go on."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.generation.form import Ask
from models.generation.sampling import Sampling, draw
from models.generation.strategies.iterate import Writing, finished

if TYPE_CHECKING:
    from models.generation.next_step import NextStep


def importance(net: "NextStep", ask: Ask, particles: int = 16) -> Tensor:
    """Frames (batch, frames, columns) by sequential importance resampling (Gordon et al. 1993).

    Each piece is written `particles` times; the probability of what is fixed weighs them, at temperature 1 whatever the
    sampling. Where fewer than half of them count, those that fit are copied in place of the others; one is drawn at the end.
    With one particle, at temperature 0, or with nothing fixed but whole frames at the beginning this is `iterate`, and where
    the use is free or to continue, in which what is fixed later on is at most the frame of a serial view.
    """
    writing = Writing(net, ask)
    alike = ask.sampling.temperature <= 0 or ask.sampling.top_k == 1
    if particles == 1 or alike or not writing.later or ask.use in ("free", "continue"):
        return finished(writing)
    for frame in range(writing.prefix):
        writing.draw(frame)
    writing.expand(particles)
    weights = torch.zeros(writing.batch, particles, device=ask.values.device)
    for frame in range(writing.prefix, writing.frames):
        if writing.over(frame):
            break
        weights = weights + writing.draw(frame).view_as(weights)
        if writing.some[frame]:
            weights = weights - weights.amax(-1, keepdim=True)
            weights = resampled(writing, weights, ask.generator)
    chosen = draw(weights, Sampling(), ask.generator)
    return writing.out.view(writing.batch, particles, writing.frames, writing.columns)[torch.arange(writing.batch), chosen]


def resampled(writing: Writing, weights: Tensor, generator: torch.Generator) -> Tensor:
    """New log-weights (batch, particles): 0 where a piece's particles were drawn anew, its effective number below a half."""
    particles = weights.shape[-1]
    shares = weights.softmax(-1)
    low = shares.square().sum(-1).reciprocal() < particles / 2
    if not low.any():
        return weights
    index = systematic(shares, generator)
    own = torch.arange(particles, device=weights.device)
    index = torch.where(low[:, None], index, own)
    writing.select((index + particles * torch.arange(len(index), device=index.device)[:, None]).flatten())
    return torch.where(low[:, None], 0.0, weights)


def systematic(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Particles (batch, particles) drawn with one random number a row: each as often as its share says, or once more."""
    particles = shares.shape[-1]
    start = torch.rand(len(shares), 1, generator=generator, device=shares.device)
    places = (start + torch.arange(particles, device=shares.device)) / particles
    return torch.searchsorted(shares.cumsum(-1), places).clamp(max=particles - 1)
