"""Columns of a binary frame drawn one after the other, lowest pitch first, each knowing those before it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.form import Form
from models.generation.heads.bernoulli import log_odds
from models.generation.heads.head import Head
from models.generation.sampling import Sampling
from models.precision import full_precision


class NADEHead(Head):
    """Neural autoregressive distribution estimator whose biases h gives (Boulanger-Lewandowski et al. 2012, section 4.3).

    p(v_i | v_<i) = sigmoid(b_i + V_i sigmoid(c + W_<i v_<i)), b and c affine in h (Larochelle and Murray 2011). Exact.
    The hidden units change at a note alone, so a frame of k notes has k + 1 states, not one a column: likelihoods take no
    loop, and drawing loops over the notes of a frame.
    """

    def __init__(self, width: int, form: Form, hidden: int = 128) -> None:
        super().__init__(width, form)
        if form.kind != "binary":
            raise ValueError(f"NADEHead wants a binary view, this one has {form.kind}; VoiceHead is its like for categories")
        self.visible = nn.Linear(width, form.columns)
        self.hidden = nn.Linear(width, hidden)
        self.into = nn.Parameter(torch.randn(form.columns, hidden) * hidden**-0.5)
        self.out = nn.Parameter(torch.randn(form.columns, hidden) * 0.01)

    def nll(self, h: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits(h, y), y.float(), reduction="none").sum(-1)

    def guess(self, h: Tensor, y: Tensor) -> Tensor:
        return (self.logits(h, y) > 0).to(y.dtype)

    def logits(self, h: Tensor, y: Tensor) -> Tensor:
        """Of every column given those before it: (..., width), (..., columns) -> (..., columns) float32."""
        with full_precision(h):
            return self._logits(h.float().flatten(0, -2), y.float().flatten(0, -2)).view(y.shape)

    def _logits(self, h: Tensor, y: Tensor) -> Tensor:
        count = y.sum(-1, keepdim=True).long()
        exported = torch.compiler.is_exporting()  # no size may then depend on what the numbers are
        most = y.shape[-1] if exported else int(count.max()) if len(y) else 0
        notes = torch.sort(y, dim=-1, descending=True, stable=True).indices[
            :, :most
        ]  # ascending pitches, then columns that are off
        sounding = torch.arange(most, device=y.device) < count
        added = (self.into[notes] * sounding[..., None]).cumsum(1)
        states = self.hidden(h)[:, None] + F.pad(added, (0, 0, 1, 0))
        of_state = states.sigmoid() @ self.out.T  # (n, notes + 1, columns)
        below = (y.cumsum(-1) - y).long()
        return self.visible(h) + of_state.gather(1, below[:, None])[:, 0]

    def sample(
        self,
        h: Tensor,
        values: Tensor,
        fixed: Tensor | None,
        sampling: Sampling,
        generator: torch.Generator,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        with full_precision(h):
            return self._sample(h.float(), values, fixed, sampling, generator)

    def _sample(
        self, h: Tensor, values: Tensor, fixed: Tensor | None, sampling: Sampling, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        bias, state = self.visible(h), self.hidden(h)
        chance = torch.rand(bias.shape, generator=generator, device=h.device)
        frame = torch.zeros_like(bias)
        column = torch.arange(bias.shape[-1], device=h.device)
        last = torch.full((len(h), 1), -1, device=h.device)
        while True:
            on = chance < chances(bias + state.sigmoid() @ self.out.T, sampling)
            on = on if fixed is None else torch.where(fixed, values > 0, on)
            # What lies above the next note is drawn again, from the same numbers, once the hidden units know that note.
            on = on & (column > last)
            more = on.any(-1, keepdim=True)
            if not more.any():
                break
            last = torch.where(more, on.float().argmax(-1, keepdim=True), len(column))
            note = last.clamp(max=len(column) - 1)
            frame = frame.scatter_add(-1, note, more.float())
            state = state + self.into[note[:, 0]] * more
        frame = frame if fixed is None else torch.where(fixed, values.to(frame.dtype), frame)
        if fixed is None:
            return frame, frame.new_zeros(len(h))
        cost = F.binary_cross_entropy_with_logits(self._logits(h, frame), frame, reduction="none")
        return frame, -(cost * fixed).sum(-1)

    @torch.no_grad()
    def prepare(self, counts: Tensor) -> None:
        self.visible.bias.copy_(log_odds(counts))


def chances(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities of ones as they are drawn: 0 or 1 at temperature 0, and where the likelier has `top_p`."""
    if sampling.temperature <= 0 or sampling.top_k == 1:
        return (logits > 0).float()
    chance = (logits / sampling.temperature).sigmoid()
    if sampling.top_p < 1:
        chance = torch.where(chance >= sampling.top_p, 1.0, torch.where(1 - chance >= sampling.top_p, 0.0, chance))
    return chance
