"""The Markov chain that a system has to beat, on the same frames: counted in every key it is trained in."""

from typing import NamedTuple

import torch

from datamodules.symbolic.data import SymbolicData
from models.generation.family import Family
from models.generation.form import Form
from models.generation.ngram import Ngram
from tasks.generation.likelihood import score_into
from tasks.metrics.generation.likelihood import FrameLikelihood, LikelihoodRows, summary

ORDER = 4
ESCAPES = (1.0, 2.0, 4.0)
"""How readily a chain backs off: the best on the validation split is taken."""


class Baseline(NamedTuple):
    """A chain and what it scores."""

    name: str
    net: Family
    rows: LikelihoodRows

    @property
    def scores(self) -> dict[str, float]:
        """What reports show of the rows."""
        return {key: float(value) for key, value in summary(self.rows).items()}


def markov(data: SymbolicData, form: Form, split: str) -> Baseline:
    """The chain of order 4: each voice on its own history, or whole frames where the view has no voices."""
    voices = form.kind == "categories" and form.columns > 1
    chain = Ngram(form, order=ORDER, scope="voice" if voices else "frame").eval()
    chain.prepare(data.everything())
    nats = {}
    for escape in ESCAPES:
        chain.set_escape(escape)
        nats[escape] = _rows(chain, data, "validation").nats.sum()
    chain.set_escape(min(nats, key=nats.get))
    name = f"Markov chain, order {ORDER}" + (", own voice" if voices else "")
    return Baseline(name, chain, _rows(chain, data, split))


@torch.no_grad()
def _rows(chain: Ngram, data: SymbolicData, split: str) -> LikelihoodRows:
    rows = FrameLikelihood()
    for batch in data.everything(split):
        score_into(rows, chain, batch)
    return rows.own_rows()
