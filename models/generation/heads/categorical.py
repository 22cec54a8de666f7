"""Heads of categorical frames: softmax of one column, and autoregressive softmax over voices."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import FrameSpec
from models.generation.heads.head import Head
from models.generation.sampling import Sampling, narrowed


def gumbel(rows: int, categories: int, sampling: Sampling, generator: torch.Generator) -> Tensor | None:
    """Gumbel noise (rows, categories) on the generator's device; None for greedy sampling."""
    if sampling.greedy:
        return None
    noise = torch.rand(rows, categories, generator=generator, device=generator.device)
    return noise.clamp_(min=1e-20).log_().neg_().log_().neg_()


def pick(logits: Tensor, sampling: Sampling, noise: Tensor | None, allowed: Tensor | None = None) -> Tensor:
    """Categories (...,) drawn from logits (..., categories) with the noise of `gumbel`."""
    if allowed is not None or sampling.temperature != 1 or sampling.top_k or sampling.top_p < 1:
        logits = narrowed(logits, sampling, allowed)
    return (logits if noise is None else logits + noise).argmax(-1)


class AutoregressiveHead(Head):
    """Base class of heads with a softmax per column, given h and the previous columns in `order`.

    order: columns in the order of sampling
    """

    order: tuple[int, ...]

    def begin(self, h: Tensor) -> Tensor:
        """Initial context of the first column: h (..., width) -> (..., any)."""
        raise NotImplementedError

    def logits(self, position: int, context: Tensor) -> Tensor:
        """Logits (..., categories) float32 of the column at a position of the order."""
        raise NotImplementedError

    def update(self, position: int, context: Tensor, category: Tensor) -> Tensor:
        """Context after the column at a position is `category` (...,)."""
        raise NotImplementedError

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        context, nats = self.begin(h), torch.zeros((), device=h.device)
        for position, column in enumerate(self.order):
            nats = nats - log_prob(self.logits(position, context), y[..., column])
            context = self.update(position, context, y[..., column])
        return nats

    def guess(self, h: Tensor, y: Tensor) -> Tensor:
        context, cells = self.begin(h), [y[..., 0]] * len(self.order)
        for position, column in enumerate(self.order):
            cells[column] = self.logits(position, context).argmax(-1)
            context = self.update(position, context, y[..., column])
        return torch.stack(cells, -1)

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Hidden states (rows, width) -> frames (rows, columns), column by column."""
        context, weight = self.begin(h), torch.zeros(len(h), device=h.device)
        sizes = [self.form.sizes[column] for column in self.order]
        noise = gumbel(len(h), sum(sizes), sampling, generator)
        noises: Any = [None] * len(sizes) if noise is None else noise.split(sizes, -1)
        drawn: list[Tensor] = [weight] * len(sizes)
        for position, column in enumerate(self.order):
            logits = self.logits(position, context)
            mask = None if column else allowed
            category = pick(logits, sampling, noises[position], mask)
            cost = None if mask is None else log_prob_allowed(logits, mask)
            if fixed is not None:
                fixed_log_prob = log_prob(logits, values[:, column])
                cost = torch.where(fixed[:, column], fixed_log_prob, 0.0 if cost is None else cost)
                category = torch.where(fixed[:, column], values[:, column], category)
            weight = weight if cost is None else weight + cost
            drawn[column] = category
            context = self.update(position, context, category)
        return torch.stack(drawn, -1), weight


def log_prob(logits: Tensor, category: Tensor) -> Tensor:
    """Log-probability (...,) of categories (...,) under logits (..., categories)."""
    return logits.log_softmax(-1).gather(-1, category[..., None])[..., 0]


def log_prob_allowed(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log-probability (...,) of the allowed categories; finite if none is allowed."""
    return (logits.masked_fill(~allowed, -torch.inf).logsumexp(-1) - logits.logsumexp(-1)).clamp(min=-1e4)


def log_frequencies(counts: Tensor) -> Tensor:
    """Initial biases of a softmax: log-frequencies of counted categories with add-1/2 smoothing."""
    counts = counts.double() + 0.5
    return (counts / counts.sum()).log()


class SoftmaxHead(AutoregressiveHead):
    """Softmax over the categories of the single column of a serial view."""

    order = (0,)

    def __init__(self, width: int, form: FrameSpec) -> None:
        super().__init__(width, form)
        if form.kind != "categories" or form.columns != 1:
            raise ValueError(f"SoftmaxHead needs one column of categories, got {form.columns} {form.kind} columns")
        self.out = nn.Linear(width, form.sizes[0])

    def begin(self, h: Tensor) -> Tensor:
        return h

    def logits(self, position: int, context: Tensor) -> Tensor:
        return self.out(context).float()

    def update(self, position: int, context: Tensor, category: Tensor) -> Tensor:
        return context

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.out.bias.copy_(log_frequencies(counts[0]))


class VoiceHead(AutoregressiveHead):
    """Softmax per voice after a hidden layer that reads h and the previously drawn voices. Exact likelihood.

    order: columns in the order of sampling; None: the first, then the last up to the second: soprano, bass, tenor, alto
    hidden: units of the hidden layer of each column, with `dropout`
    """

    def __init__(
        self, width: int, form: FrameSpec, hidden: int = 256, order: tuple[int, ...] | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(width, form)
        if form.kind != "categories":
            raise ValueError(f"VoiceHead needs categories, got {form.kind}: use BernoulliHead or NADEHead")
        self.order = tuple(order) if order is not None else (0, *range(form.columns - 1, 0, -1))
        if sorted(self.order) != list(range(form.columns)):
            raise ValueError(f"VoiceHead: order {self.order} is not a permutation of the columns 0 to {form.columns - 1}")
        sizes = [form.sizes[column] for column in self.order]
        self.hidden = hidden
        self.inner = nn.Linear(width, form.columns * hidden)
        # An embedding of each column for every later one, added directly to their hidden layers.
        later = range(form.columns - 1, 0, -1)
        self.embeddings = nn.ModuleList(nn.Embedding(size, count * hidden) for size, count in zip(sizes, later, strict=False))
        for table in self.embeddings:
            nn.init.normal_(table.weight, std=0.1)
        self.out = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def begin(self, h: Tensor) -> Tensor:
        return self.inner(h)

    def logits(self, position: int, context: Tensor) -> Tensor:
        hidden = context[..., : self.hidden].relu()
        hidden = self.dropout(hidden) if self.training else hidden  # calling an idle module still takes time
        return self.out[position](hidden).float()

    def update(self, position: int, context: Tensor, category: Tensor) -> Tensor:
        if position == len(self.embeddings):
            return context
        return context[..., self.hidden :] + F.embedding(category, self.embeddings[position].weight)

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        for out, column in zip(self.out, self.order, strict=True):
            out.bias.copy_(log_frequencies(counts[column, : out.out_features]))
