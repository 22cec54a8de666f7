"""Columns of a binary frame that know nothing of one another."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.form import Form
from models.generation.heads.head import Head
from models.generation.sampling import Sampling, flip


class BernoulliHead(Head):
    """One sigmoid a column, all drawn independently: the output layer of the networks without a head of their own.

    parts: (columns, width): the first so many columns see the first so many numbers of h alone and the other columns the
        others alone, as chords and melody of `GroupedCore` do; None: every column sees all of h
    """

    def __init__(self, width: int, form: Form, parts: tuple[int, int] | None = None) -> None:
        super().__init__(width, form)
        if form.kind != "binary":
            raise ValueError(f"BernoulliHead wants a binary view, this one has {form.kind}; SoftmaxHead or VoiceHead fits it")
        self.out = nn.Linear(width, form.columns)
        seen = torch.ones(form.columns, width)
        if parts is not None:
            columns, units = parts
            seen[:columns, units:] = seen[columns:, :units] = 0
        self.register_buffer("seen", seen, persistent=False)

    def logits(self, h: Tensor) -> Tensor:
        """(..., width) -> (..., columns)."""
        return F.linear(h, self.out.weight * self.seen, self.out.bias).float()

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits(h), y.float(), reduction="none").sum(-1)

    def guess(self, h: Tensor, y: Tensor) -> Tensor:
        return (self.logits(h) > 0).to(y.dtype)

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        logits = self.logits(h)
        frame = flip(logits, sampling, generator)
        if fixed is None:
            return frame, logits.new_zeros(len(h))
        cost = F.binary_cross_entropy_with_logits(logits, values.float(), reduction="none")
        return torch.where(fixed, values, frame), -(cost * fixed).sum(-1)

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.out.bias.copy_(log_odds(counts))


def log_odds(counts: Tensor) -> Tensor:
    """Log-odds (columns,) of columns that were so often (columns, 2) off and on, each counted half once more."""
    off, on = (counts.double() + 0.5).unbind(-1)
    return (on / off).log()
