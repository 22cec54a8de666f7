"""The likeliest piece, as far as a beam sees."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.generation.family import kept
from models.generation.form import Ask
from models.generation.strategies.iterate import Writing

if TYPE_CHECKING:
    from models.generation.next_step import NextStep


def beam_search(net: "NextStep", ask: Ask, width: int) -> Tensor:
    """Frames (batch, frames, columns) of the likeliest of `width` pieces that are kept after each column.

    For heads that are a `ChainHead`. `ask.sampling` and the generator do not matter.
    """
    writing = Writing(net, ask)
    for frame in range(writing.prefix):
        writing.draw(frame)
    writing.expand(width)
    scores = torch.full((writing.batch, width), -torch.inf, device=ask.values.device)
    scores[:, 0] = 0.0  # the others are the same so far
    for frame in range(writing.prefix, writing.frames):
        if writing.over(frame):
            break
        scores = _extend(writing, frame, scores)
    pieces = writing.out.view(writing.batch, width, writing.frames, writing.columns)
    return kept(ask, pieces[torch.arange(writing.batch), scores.argmax(-1)])


def _extend(writing: Writing, frame: int, scores: Tensor) -> Tensor:
    """Write one frame, column by column in the head's order; the new scores (batch, width)."""
    head, width = writing.net.head, scores.shape[-1]
    base = width * torch.arange(len(scores), device=scores.device)[:, None]
    known = head.begin(writing.heard(frame))
    drawn = torch.zeros_like(writing.values[:, frame])
    for place, column in enumerate(head.order):
        logits = head.logits(place, known)
        may = _may(writing, frame, column, logits)
        # Nothing is gained by ending twice: behind an end only its frames may stand, and they cost nothing.
        cost = logits.log_softmax(-1).masked_fill(~may, -torch.inf)
        if writing.ends:
            cost = torch.where(writing.done[:, None] & may, 0.0, cost)
        every = (scores.flatten()[:, None] + cost).view(len(scores), -1)
        scores, chosen = every.topk(width, -1)
        parent = (base + chosen // logits.shape[-1]).flatten()
        category = (chosen % logits.shape[-1]).flatten()
        writing.select(parent)
        known, drawn = known[parent], drawn[parent]
        drawn[:, column] = category
        known = head.told(place, known, category)
    writing.write(frame, drawn)
    return scores


def _may(writing: Writing, frame: int, column: int, logits: Tensor) -> Tensor:
    """What may stand in a column (rows, categories): what is fixed, else what follows an end, else what is allowed."""
    category = torch.arange(logits.shape[-1], device=logits.device)
    may = torch.ones_like(logits, dtype=torch.bool)
    allowed = writing.allowed(frame) if column == 0 else None
    may = may if allowed is None else may & allowed
    if writing.ends:
        may = torch.where(writing.done[:, None], category == writing.ending[column], may)
    return torch.where(writing.fixed[:, frame, column, None], category == writing.values[:, frame, column, None], may)
