"""Voices of a frame drawn one after the other, each knowing those before it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.form import Form
from models.generation.heads.chain import ChainHead, log_frequencies


class VoiceHead(ChainHead):
    """A softmax a column behind a hidden layer that sees h and the categories of the columns drawn before it. Exact.

    order: columns as they are drawn; None: the first, then the last up to the second: soprano, bass, tenor, alto
    hidden: units of the hidden layer of each column, `dropout` of them left out in training
    """

    def __init__(
        self, width: int, form: Form, hidden: int = 256, order: tuple[int, ...] | None = None, dropout: float = 0.0
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
