"""n-gram counts stored as sorted tensors with batched lookup, and Witten-Bell back-off."""

import torch
from torch import Tensor, nn

START = 2**31 - 1
"""Symbol before the first frame."""
UNKNOWN = 2**31 - 2
"""Symbol that was not counted in any context."""
SPAN = 2**31  # bound of nodes and symbols, so that a pair is one int64


class Tables(nn.Module):
    """Module whose own buffers take their sizes from the checkpoint."""

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        for name, buffer in self.named_buffers(recurse=False):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def pairs(node: Tensor, symbol: Tensor) -> Tensor:
    """Pairs of node and symbol as int64, ordered by node, then symbol."""
    return node.long() * SPAN + symbol.long()


def find(table: Tensor, keys: Tensor) -> Tensor:
    """Index of each key (...,) int64 in a sorted table (n,), -1 if missing."""
    if not len(table):
        return torch.full_like(keys, -1)
    index = torch.searchsorted(table, keys).clamp(max=len(table) - 1)
    return torch.where(table[index] == keys, index, -1)


class Level(Tables):
    """Contexts of one length and their followers.

    contexts: (n,) sorted pairs of a context one symbol shorter and the symbol before it; a context is numbered by its index
    followed: (e,) sorted pairs of a context and a following symbol
    before: (e + 1,) cumulative counts of the pairs
    """

    contexts: Tensor
    followed: Tensor
    before: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, size in (("contexts", 0), ("followed", 0), ("before", 1)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))

    def extend(self, node: Tensor, symbol: Tensor) -> Tensor:
        """Number contexts, from those one symbol shorter (n,) and the symbols before them (n,); returns the numbers (n,)."""
        self.contexts, number = pairs(node, symbol).unique(return_inverse=True)
        return number

    def count(self, node: Tensor, following: Tensor) -> None:
        """Count symbols `following` (n,) the contexts `node` (n,)."""
        self.followed, times = pairs(node, following).unique(return_counts=True)
        self.before = nn.functional.pad(times.cumsum(0), (1, 0))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Contexts (e,) and following symbols (e,)."""
        return self.followed // SPAN, self.followed % SPAN

    def times(self, index: Tensor) -> Tensor:
        """Count of the pair at each index, 0 for -1."""
        here = index.clamp(min=0)
        return torch.where(index < 0, 0, self.before[(here + 1).clamp(max=len(self.followed))] - self.before[here])

    def mass(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """Number of symbols that followed each context (n,), and of distinct ones; 0 for unseen contexts (-1)."""
        first, last = (torch.searchsorted(self.followed, (node + k) * SPAN) for k in (0, 1))
        unseen = node < 0
        return torch.where(unseen, 0, self.before[last] - self.before[first]), torch.where(unseen, 0, last - first)

    def followers(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """Followers of contexts (n,), one context after the other: row (m,) and index in `followed` (m,)."""
        first = torch.searchsorted(self.followed, node * SPAN)
        many = torch.where(node < 0, 0, torch.searchsorted(self.followed, (node + 1) * SPAN) - first)
        rows = torch.arange(len(node), device=node.device).repeat_interleave(many)
        return rows, torch.arange(len(rows), device=node.device) + (first + many - many.cumsum(0))[rows]


class MarkovChain(nn.Module):
    """Markov chain of variable order with Witten-Bell back-off (1991, method C), over any number of streams.

    A context followed by n symbols, d of them distinct, leaves escape * d / (n + escape * d) to the next shorter context,
    the empty context to a base distribution. Probabilities sum to 1 if the base distribution does.

    order: length of the longest context
    """

    def __init__(self, order: int, escape: float = 1.0) -> None:
        super().__init__()
        if order < 0:
            raise ValueError(f"order of a Markov chain must be 0 or more, got {order}")
        self.order = order
        self.set_escape(escape)
        self.levels = nn.ModuleList(Level() for _ in range(order + 1))

    def set_escape(self, escape: float) -> None:
        """Change the back-off factor; counts are kept. Raises ValueError unless it is above 0."""
        if escape <= 0:
            raise ValueError(f"escape of a Markov chain must be above 0, got {escape:g}")
        self.escape = escape

    def count(self, streams: Tensor, history: Tensor, following: Tensor) -> None:
        """Count symbols `following` (n,) each history (n, order), the latest symbol first, of streams (n,)."""
        node = streams.long()
        for length, level in enumerate(self.levels):
            if length:
                node = level.extend(node, history[:, length - 1])
            level.count(node, following)

    def nodes(self, streams: Tensor, history: Tensor) -> list[Tensor]:
        """Numbers (n,) of the contexts of length 0, 1, ..., order; -1 if not seen. Shapes as in `count`."""
        node = streams.long()
        nodes = [node]
        for length, level in enumerate(self.levels[1:]):
            known = find(level.contexts, pairs(node.clamp(min=0), history[:, length]))
            node = torch.where(node < 0, -1, known)
            nodes.append(node)
        return nodes

    def log_probability(self, streams: Tensor, history: Tensor, following: Tensor, base: Tensor) -> Tensor:
        """Log-probability (n,) float64 of symbols `following` (n,), with base log-probability `base` (n,)."""
        result = base.double()
        for level, node in zip(self.levels, self.nodes(streams, history), strict=True):
            seen, left = self.shares(level, node)
            times = level.times(torch.where(node < 0, -1, find(level.followed, pairs(node.clamp(min=0), following))))
            result = torch.logaddexp((times * seen).log(), left.log() + result)
        return result

    def distribution(self, nodes: list[Tensor], base: Tensor) -> Tensor:
        """Probabilities (n, symbols) float64 of all symbols after contexts, with base distribution `base` (n, symbols).

        nodes: from `nodes`, or the first few of them for a shorter order
        """
        result = base.double()
        for level, node in zip(self.levels, nodes, strict=False):
            # Many rows share a context; all share the empty one.
            node, row = node.unique(return_inverse=True)
            seen, left = self.shares(level, node)
            rows, places = level.followers(node)
            counted = result.new_zeros(len(node), result.shape[1])
            counted[rows, level.followed[places] % SPAN] = level.times(places) * seen[rows]
            result = torch.addcmul(counted[row], result, left[row].unsqueeze(1))
        return result

    def shares(self, level: Level, node: Tensor) -> tuple[Tensor, Tensor]:
        """Probability (n,) per count of a symbol after a context, and the back-off probability (n,)."""
        total, distinct = level.mass(node)
        whole = (total + self.escape * distinct).double()
        return torch.where(total > 0, 1 / whole, 0.0), torch.where(total > 0, self.escape * distinct / whole, 1.0)
