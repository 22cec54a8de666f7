"""Nats of a batch by a system, into the rows that scores are made of."""

import torch

from datamodules.symbolic.batch import SymbolicBatch
from models.generation.family import Family
from tasks.metrics.generation.likelihood import FrameLikelihood

WHAT = {
    "exact": "exact",
    "estimate": "estimated by annealed importance sampling, on the average a little too low",
    "bound": "an upper bound, estimated at a few points of the posterior",
    "conditional": "exact, of the voices that it writes, given the others",
    "none": "no likelihood: its own reconstruction or pseudo-likelihood",
}
"""What the numbers of each kind of system are."""


@torch.no_grad()
def score_into(scores: FrameLikelihood, net: Family, batch: SymbolicBatch) -> None:
    """Add the nats (batch, frames) of every frame, computed in float32 or better, and whether the likeliest was right."""
    nll = net.surrogate(batch) if net.likelihood == "none" else net.nll(batch)
    form, guess, columns = net.form, net.guess(batch), net.scored
    told = {"truth": batch.frames[..., columns], "guess": None if guess is None else guess[..., columns]}
    told |= {"hold": form.hold, "rest": form.rest, "piece": batch.piece}
    scores.update(batch.index, nll.float(), batch.valid, len(columns), **told)
