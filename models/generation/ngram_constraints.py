"""Markov chains that keep to what is fixed ahead: they look ahead by the chain of order one, and what that misses is weighed."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from models.generation.ngram_counts import Chain, find, pairs
from models.generation.ngram_scopes import Voices, WholeFrames

Scope = Voices | WholeFrames


def look_ahead(chain: Chain, scope: Scope, admitted: Callable[[int], Tensor], frames: range) -> dict[int, Tensor]:
    """Nats (rows, symbols) float64 that each symbol of a frame leaves to what is fixed behind it; up to a constant a row.

    Backward messages of a chain of order one, exact for it (Pachet, Roy and Barbieri 2011, Finite-length Markov processes
    with constraints). admitted: of a frame the nats (rows, symbols) of its fixed cells given each symbol
    """
    last = admitted(frames[-1])
    messages, step = {frames[-1]: torch.zeros_like(last)}, _FirstOrder.of(chain, scope, len(last))
    for frame in frames[:0:-1]:
        heavy = admitted(frame) + messages[frame]
        messages[frame - 1] = step.back((heavy - heavy.max(-1, keepdim=True).values).exp()).log()
    return messages


class _FirstOrder(NamedTuple):
    """The chain of order one of each row, as sparse as it was counted."""

    empty: Tensor  # (rows, symbols): probabilities without a context
    node: Tensor  # (rows, symbols): number of the context that a symbol makes, -1 where it was not seen
    context: Tensor  # (e,): context of each counted pair
    symbol: Tensor  # (e,): what followed it
    share: Tensor  # (e,): with which probability, less what is left to the empty context
    left: Tensor  # (contexts,)

    @classmethod
    def of(cls, chain: Chain, scope: Scope, rows: int) -> "_FirstOrder":
        streams = scope.streams(rows)
        empty = chain.distribution([streams], scope.ground(streams))
        if not chain.order:
            none = streams[:0]
            return cls(empty, torch.full_like(empty, -1, dtype=torch.int64), none, none, none.double(), none.double())
        level = chain.levels[1]
        every = torch.arange(scope.symbols, device=streams.device)
        node = find(level.contexts, pairs(streams.unsqueeze(1), every))
        seen, left = chain.shares(level, torch.arange(len(level.contexts), device=streams.device))
        context, symbol = level.pairs()
        share = level.times(torch.arange(len(context), device=streams.device)) * seen[context]
        return cls(empty, node, context, symbol, share, left)

    def back(self, weight: Tensor) -> Tensor:
        """Mean weight (rows, symbols) of what follows each symbol, of weights (rows, symbols)."""
        short = (self.empty * weight).sum(-1, keepdim=True)
        if not len(self.left):
            return short.expand_as(weight)
        sums = short * self.left
        sums = sums.index_add(1, self.context, weight[:, self.symbol] * self.share)
        return torch.where(self.node < 0, short, sums.gather(1, self.node.clamp(min=0)))


def resampled(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Which of all particles each goes on from (rows * particles,): systematic resampling of log-weights (rows, particles)."""
    rows, many = weights.shape
    edges = weights.softmax(-1).cumsum(-1)
    where = torch.rand(rows, 1, generator=generator, device=weights.device, dtype=weights.dtype)
    where = (torch.arange(many, device=weights.device) + where) / many
    chosen = torch.searchsorted(edges, where * edges[:, -1:]).clamp(max=many - 1)
    return (chosen + many * torch.arange(rows, device=weights.device).unsqueeze(1)).flatten()
