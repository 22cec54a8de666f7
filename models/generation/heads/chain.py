"""Heads that draw one category after the other."""

from typing import Any

import torch
from torch import Tensor

from models.generation.heads.gumbel import gumbel, pick
from models.generation.heads.head import Head
from models.generation.sampling import Sampling


class ChainHead(Head):
    """Base of heads whose columns are softmaxes in an `order`, each given h and the columns before it.

    order: columns as they are drawn
    """

    order: tuple[int, ...]

    def begin(self, h: Tensor) -> Tensor:
        """What is known before the first column: h (..., width) -> (..., any)."""
        raise NotImplementedError

    def logits(self, place: int, known: Tensor) -> Tensor:
        """Of the column at a place of the order, (..., categories) float32."""
        raise NotImplementedError

    def told(self, place: int, known: Tensor, category: Tensor) -> Tensor:
        """What is known once that column is `category` (...,)."""
        raise NotImplementedError

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        known, nats = self.begin(h), torch.zeros((), device=h.device)
        for place, column in enumerate(self.order):
            nats = nats - of(self.logits(place, known), y[..., column])
            known = self.told(place, known, y[..., column])
        return nats

    def guess(self, h: Tensor, y: Tensor) -> Tensor:
        known, found = self.begin(h), [y[..., 0]] * len(self.order)
        for place, column in enumerate(self.order):
            found[column] = self.logits(place, known).argmax(-1)
            known = self.told(place, known, y[..., column])
        return torch.stack(found, -1)

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        known, weight = self.begin(h), torch.zeros(len(h), device=h.device)
        sizes = [self.form.sizes[column] for column in self.order]
        noise = gumbel(len(h), sum(sizes), sampling, generator)
        noises: Any = [None] * len(sizes) if noise is None else noise.split(sizes, -1)
        drawn: list[Tensor] = [weight] * len(sizes)
        for place, column in enumerate(self.order):
            logits = self.logits(place, known)
            may = None if column else allowed
            category = pick(logits, sampling, noises[place], may)
            cost = None if may is None else among(logits, may)
            if fixed is not None:
                given = of(logits, values[:, column])
                cost = torch.where(fixed[:, column], given, 0.0 if cost is None else cost)
                category = torch.where(fixed[:, column], values[:, column], category)
            weight = weight if cost is None else weight + cost
            drawn[column] = category
            known = self.told(place, known, category)
        return torch.stack(drawn, -1), weight


def of(logits: Tensor, category: Tensor) -> Tensor:
    """Log-probability (...,) of a category (...,)."""
    return logits.log_softmax(-1).gather(-1, category[..., None])[..., 0]


def among(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log-probability (...,) of what is allowed; finite where nothing is."""
    return (logits.masked_fill(~allowed, -torch.inf).logsumexp(-1) - logits.logsumexp(-1)).clamp(min=-1e4)


def log_frequencies(counts: Tensor) -> Tensor:
    """Where the biases of a softmax start: log-frequencies of categories that stood so often, each half once more."""
    counts = counts.double() + 0.5
    return (counts / counts.sum()).log()
