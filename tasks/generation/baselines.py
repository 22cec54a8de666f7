"""The Markov chain that a system has to beat, on the same frames: counted in every key it is trained in."""

from typing import NamedTuple

import torch

from datamodules.symbolic.data import SymbolicData
from models.generation.family import Family
from models.generation.form import Form
from models.generation.ngram import Ngram
from tasks.generation.likelihood import score_into
from tasks.metrics.generation.likelihood import FrameLikelihood, summary

ORDER = 4


class Baseline(NamedTuple):
    """A chain and what it scores."""

    name: str
    net: Family
    scores: dict[str, float]


def markov(data: SymbolicData, form: Form, split: str) -> Baseline:
    """The chain of order 4: each voice on its own history, or whole frames where the view has no voices."""
    voices = form.kind == "categories" and form.columns > 1
    chain = Ngram(form, order=ORDER, scope="voice" if voices else "frame").eval()
    chain.prepare(data.everything())
    rows = FrameLikelihood()
    with torch.no_grad():
        for batch in data.everything(split):
            score_into(rows, chain, batch)
    name = f"Markov chain, order {ORDER}" + (", own voice" if voices else "")
    return Baseline(name, chain, {key: float(value) for key, value in summary(rows.own_rows()).items()})
