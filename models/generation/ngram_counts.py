"""What follows which context: tables of pairs in sorted tensors, searched for many contexts at once."""

import torch
from torch import Tensor, nn

START = 2**31 - 1
"""What stands before the first frame."""
UNKNOWN = 2**31 - 2
"""A symbol that no context was counted with."""
SPAN = 2**31  # nodes and symbols lie below it, so that a pair is one int64


class Tables(nn.Module):
    """A module whose own buffers take the sizes that a checkpoint has."""

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        for name, buffer in self.named_buffers(recurse=False):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def pairs(node: Tensor, symbol: Tensor) -> Tensor:
    """One int64 for each node and symbol; their order is that of the nodes, then of the symbols."""
    return node.long() * SPAN + symbol.long()


def find(table: Tensor, keys: Tensor) -> Tensor:
    """Place of each key (...,) int64 in a sorted table (n,), -1 where it is not there."""
    if not len(table):
        return torch.full_like(keys, -1)
    place = torch.searchsorted(table, keys).clamp(max=len(table) - 1)
    return torch.where(table[place] == keys, place, -1)


class Level(Tables):
    """Contexts of one length and what followed them.

    contexts: (n,) sorted pairs of a context one symbol shorter and the symbol before it; a context's place is its number
    followed: (e,) sorted pairs of a context and what followed it
    before: (e + 1,) how often all pairs before each place, and in the end all, were seen
    """

    contexts: Tensor
    followed: Tensor
    before: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, size in (("contexts", 0), ("followed", 0), ("before", 1)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))

    def extend(self, node: Tensor, symbol: Tensor) -> Tensor:
        """Number the contexts: those one symbol shorter (n,) and the symbols before them (n,); returns the numbers (n,)."""
        self.contexts, number = pairs(node, symbol).unique(return_inverse=True)
        return number

    def count(self, node: Tensor, following: Tensor) -> None:
        """Count what follows (n,) the contexts of numbers `node` (n,)."""
        self.followed, times = pairs(node, following).unique(return_counts=True)
        self.before = nn.functional.pad(times.cumsum(0), (1, 0))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """The contexts (e,) and what followed them (e,)."""
        return self.followed // SPAN, self.followed % SPAN

    def times(self, place: Tensor) -> Tensor:
        """How often the pair at each place was seen; never where the place is -1."""
        here = place.clamp(min=0)
        return torch.where(place < 0, 0, self.before[(here + 1).clamp(max=len(self.followed))] - self.before[here])

    def mass(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """How many symbols followed each context (n,), and how many distinct ones; 0 for a context not seen (-1)."""
        first, last = (torch.searchsorted(self.followed, (node + k) * SPAN) for k in (0, 1))
        unseen = node < 0
        return torch.where(unseen, 0, self.before[last] - self.before[first]), torch.where(unseen, 0, last - first)

    def followers(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """All that followed contexts (n,), one context after the other: whose it is (m,) and its place in `followed` (m,)."""
        first = torch.searchsorted(self.followed, node * SPAN)
        many = torch.where(node < 0, 0, torch.searchsorted(self.followed, (node + 1) * SPAN) - first)
        rows = torch.arange(len(node), device=node.device).repeat_interleave(many)
        return rows, torch.arange(len(rows), device=node.device) + (first + many - many.cumsum(0))[rows]


class Chain(nn.Module):
    """Markov chain of variable order with Witten and Bell's back-off (1991, method C), over any number of streams.

    Of a context that n symbols followed, d of them distinct, escape * d / (n + escape * d) is left to the next shorter
    context; the empty context's is left to a base distribution. The sum over all symbols is 1 where the base's is.

    order: symbols of the longest context
    """

    def __init__(self, order: int, escape: float = 1.0) -> None:
        super().__init__()
        if order < 0:
            raise ValueError(f"a chain has an order of at least 0, not {order}")
        self.order = order
        self.set_escape(escape)
        self.levels = nn.ModuleList(Level() for _ in range(order + 1))

    def set_escape(self, escape: float) -> None:
        """Change how much is left to shorter contexts; what was counted stays. Raises ValueError unless it is above 0."""
        if escape <= 0:
            raise ValueError(f"a chain has an escape above 0, not {escape:g}")
        self.escape = escape

    def count(self, streams: Tensor, history: Tensor, following: Tensor) -> None:
        """Count what follows (n,) each history (n, order), the latest symbol first, of streams (n,)."""
        node = streams.long()
        for length, level in enumerate(self.levels):
            if length:
                node = level.extend(node, history[:, length - 1])
            level.count(node, following)

    def nodes(self, streams: Tensor, history: Tensor) -> list[Tensor]:
        """Numbers (n,) of the contexts of length 0, 1, ..., order; -1 where one was not seen. Shapes as in `count`."""
        node = streams.long()
        found = [node]
        for length, level in enumerate(self.levels[1:]):
            known = find(level.contexts, pairs(node.clamp(min=0), history[:, length]))
            node = torch.where(node < 0, -1, known)
            found.append(node)
        return found

    def log_probability(self, streams: Tensor, history: Tensor, following: Tensor, base: Tensor) -> Tensor:
        """Nats (n,) float64 of what follows (n,), of which the base distribution says `base` (n,) nats."""
        result = base.double()
        for level, node in zip(self.levels, self.nodes(streams, history), strict=True):
            seen, left = self.shares(level, node)
            times = level.times(torch.where(node < 0, -1, find(level.followed, pairs(node.clamp(min=0), following))))
            result = torch.logaddexp((times * seen).log(), left.log() + result)
        return result

    def distribution(self, nodes: list[Tensor], base: Tensor) -> Tensor:
        """Probabilities (n, symbols) float64 of all symbols after contexts, of which the base says `base` (n, symbols).

        nodes: as of `nodes`, or the first few of them for a shorter order
        """
        result = base.double()
        for level, node in zip(self.levels, nodes, strict=False):
            # Many rows share a context: all do the empty one.
            node, row = node.unique(return_inverse=True)
            seen, left = self.shares(level, node)
            rows, places = level.followers(node)
            counted = result.new_zeros(len(node), result.shape[1])
            counted[rows, level.followed[places] % SPAN] = level.times(places) * seen[rows]
            result = torch.addcmul(counted[row], result, left[row].unsqueeze(1))
        return result

    def shares(self, level: Level, node: Tensor) -> tuple[Tensor, Tensor]:
        """Probability (n,) that each time a symbol followed a context adds to it, and what is left to shorter contexts."""
        total, distinct = level.mass(node)
        whole = (total + self.escape * distinct).double()
        return torch.where(total > 0, 1 / whole, 0.0), torch.where(total > 0, self.escape * distinct / whole, 1.0)
