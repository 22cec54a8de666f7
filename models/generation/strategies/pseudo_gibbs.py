"""Pseudo-Gibbs sampling: cells are drawn anew from their conditionals, many at once, while it gets colder."""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.generation.form import Ask
from models.generation.orderless import Orderless, colours, legal
from models.generation.sampling import draw

COOLING = 2 / 3
"""Part of the iterations in which the temperature falls; after that it stays."""


@torch.no_grad()
def pseudo_gibbs(net: Orderless, ask: Ask, iterations: int, apart: int = 4, hottest: float = 1.1, begins: bool = True) -> Tensor:
    """Frames (batch, frames, columns) as asked (Hadjeres et al. 2017, Algorithm 1, in parallel as its section 3.2 has it).

    It starts from chance. An iteration draws the open cells of one column in every `apart`-th frame; a random order visits
    all of them equally often, so that columns * apart iterations are a sweep. `pseudo`, since conditionals that were learned
    apart need not belong to one joint distribution.

    hottest: temperature of the first iteration, from where it falls to the sampling's
    begins: whether frame 0 is a piece's first, in which nothing can be held
    """
    form, sampling = net.form, ask.sampling
    frames = torch.where(ask.fixed, ask.values, at_random(net, ask))
    allowed = [legal(form, frames.shape[1], column, begins, frames.device) for column in range(form.columns)]
    order = visits(colours(ask.fixed, apart), ask.generator)
    for iteration, (column, phase) in zip(range(iterations), order, strict=False):
        cells = (slice(None), slice(phase, None, apart))
        logits = net.conditionals(frames, ask.conditions, column)[cells]
        now = sampling._replace(temperature=cooled(sampling.temperature, hottest, iteration / iterations))
        drawn = draw(logits, now, ask.generator, allowed[column][phase::apart])
        cells = (*cells, column)
        frames[cells] = torch.where(ask.fixed[cells], ask.values[cells], drawn)
    return frames


def at_random(net: Orderless, ask: Ask) -> Tensor:
    """A category for every cell (batch, frames, columns), each as likely, nothing held."""
    columns = []
    for size in net.form.sizes:
        even = torch.zeros(*ask.values.shape[:2], size, device=ask.values.device)
        if net.form.hold >= 0:
            even[..., net.form.hold] = -torch.inf
        columns.append(even.softmax(-1).flatten(0, 1).multinomial(1, generator=ask.generator).view(even.shape[:2]))
    return torch.stack(columns, -1)


def visits(sets: list[tuple[int, int]], generator: torch.Generator) -> Iterator[tuple[int, int]]:
    """The sets of cells without end, each once before any comes again, in an order drawn anew each time."""
    while sets:
        for place in torch.randperm(len(sets), generator=generator, device=generator.device).tolist():
            yield sets[place]


def cooled(coldest: float, hottest: float, progress: float) -> float:
    """Temperature after so much (0 to 1) of the iterations: falls in a line, then stays; never warmer than `hottest` at first."""
    return coldest + (max(hottest, coldest) - coldest) * max(0.0, 1 - progress / COOLING)
