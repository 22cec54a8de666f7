"""One category a frame."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import FrameSpec
from models.generation.heads.head import Head
from models.generation.sampling import Sampling, narrowed

# Noise that turns the likeliest into a draw, taken at once for all that is drawn of a frame.


def gumbel(rows: int, categories: int, sampling: Sampling, generator: torch.Generator) -> Tensor | None:
    """Gumbel noise (rows, categories) on the generator's device; None where the likeliest is drawn."""
    if sampling.temperature <= 0 or sampling.top_k == 1:
        return None
    noise = torch.rand(rows, categories, generator=generator, device=generator.device)
    return noise.clamp_(min=1e-20).log_().neg_().log_().neg_()


def pick(logits: Tensor, sampling: Sampling, noise: Tensor | None, allowed: Tensor | None = None) -> Tensor:
    """One category (...,) of logits (..., categories), drawn by the noise of `gumbel`."""
    if allowed is not None or sampling.temperature != 1 or sampling.top_k or sampling.top_p < 1:
        logits = narrowed(logits, sampling, allowed)
    return (logits if noise is None else logits + noise).argmax(-1)


# Heads that draw one category after the other.


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


class SoftmaxHead(ChainHead):
    """A softmax over the categories of the one column of a serial view."""

    order = (0,)

    def __init__(self, width: int, form: FrameSpec) -> None:
        super().__init__(width, form)
        if form.kind != "categories" or form.columns != 1:
            raise ValueError(f"SoftmaxHead wants one column of categories, this view has {form.columns} {form.kind} columns")
        self.out = nn.Linear(width, form.sizes[0])

    def begin(self, h: Tensor) -> Tensor:
        return h

    def logits(self, place: int, known: Tensor) -> Tensor:
        return self.out(known).float()

    def told(self, place: int, known: Tensor, category: Tensor) -> Tensor:
        return known

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.out.bias.copy_(log_frequencies(counts[0]))


# Voices of a frame drawn one after the other, each knowing those before it.


class VoiceHead(ChainHead):
    """A softmax a column behind a hidden layer that sees h and the categories of the columns drawn before it. Exact.

    order: columns as they are drawn; None: the first, then the last up to the second: soprano, bass, tenor, alto
    hidden: units of the hidden layer of each column, `dropout` of them left out in training
    """

    def __init__(
        self, width: int, form: FrameSpec, hidden: int = 256, order: tuple[int, ...] | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(width, form)
        if form.kind != "categories":
            raise ValueError(f"VoiceHead wants categories, this view is {form.kind}; BernoulliHead or NADEHead fits it")
        self.order = tuple(order) if order is not None else (0, *range(form.columns - 1, 0, -1))
        if sorted(self.order) != list(range(form.columns)):
            raise ValueError(f"order {self.order} of VoiceHead is not one of the columns 0 to {form.columns - 1}")
        sizes = [form.sizes[column] for column in self.order]
        self.hidden = hidden
        self.inner = nn.Linear(width, form.columns * hidden)
        # An embedding of each column for each that comes after it, already where the hidden layer adds it.
        later = range(form.columns - 1, 0, -1)
        self.heard = nn.ModuleList(nn.Embedding(size, count * hidden) for size, count in zip(sizes, later, strict=False))
        for table in self.heard:
            nn.init.normal_(table.weight, std=0.1)
        self.out = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def begin(self, h: Tensor) -> Tensor:
        return self.inner(h)

    def logits(self, place: int, known: Tensor) -> Tensor:
        hidden = known[..., : self.hidden].relu()
        hidden = self.dropout(hidden) if self.training else hidden  # a module that does nothing still takes its time
        return self.out[place](hidden).float()

    def told(self, place: int, known: Tensor, category: Tensor) -> Tensor:
        if place == len(self.heard):
            return known
        return known[..., self.hidden :] + F.embedding(category, self.heard[place].weight)

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        for out, column in zip(self.out, self.order, strict=True):
            out.bias.copy_(log_frequencies(counts[column, : out.out_features]))
