"""Jump paths: distances of a recording's frames to a score's -> position in the score, with jumps and music outside the score.

Jumps between bars as in Jump-DTW (Fremerey, Müller and Clausen 2010). Each frame of the recording counts once, so that costs at
different tempi can be compared.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.alignment.costs import Costs
from models.alignment.dtw import NoPath, lengths
from models.alignment.dtw_kernels import kernel

BEFORE, AFTER = -1, -2  # columns of frames outside the score, before the music and after a part of it
MOVES = (0.25, 0.0, 0.1, 0.4, 0.9)
"""Penalty of advancing by 0, 1, ... score frames per frame of the recording, relative to the typical distance."""
CELLS = 1 << 22  # cells per block


class Prices(NamedTuple):
    """Costs of leaving the order of the score, relative to the typical distance of unrelated frames.

    All but `outside` are in frames: an entry of 2 must be explained better by as much as two frames cost.
    """

    outside: float | np.ndarray = 0.75  # per frame of the recording outside the score; one price, or one per frame (n,)
    enter: float = 20.0  # begin inside the score after music outside it
    cut: float = 2.0  # begin inside the score at the start of the recording
    leave: float = 5.0  # leave the score before its end
    jump: float = 20.0  # from the end of a bar to the start of any bar, or from music outside the score back to any frame


class JumpPath(NamedTuple):
    """Position in the score for each frame of the recording."""

    columns: np.ndarray  # (n,) int32 score frames; negative: outside the score
    starts: np.ndarray  # (n,) bool: first frame of a passage, entered from outside or by a jump
    cost: float  # mean per frame, relative to the typical distance
    inside: float  # mean distance of the frames inside the score, relative to the typical distance; NaN if there is none

    @property
    def passages(self) -> list[np.ndarray]:
        """Frames (k,) of each passage, in order."""
        inside = np.flatnonzero(self.columns >= 0)
        heads = np.flatnonzero(self.starts[inside])
        return [part for part in np.split(inside, heads) if len(part)]


def jump_path(costs: Costs, bars: Sequence[int] = (), prices: Prices | None = None, level: float | None = None) -> JumpPath:
    """Cheapest path that visits each row of costs (n, m) once, in a column or outside the score.

    Args:
        costs: distances (n, m); infinite ones are forbidden
        bars: columns in which bars begin; jumps lead from the frame before a bar to the start of any bar
        prices: of jumps and ends; an infinite price forbids them
        level: typical distance of unrelated frames, by default the median of 64 rows

    Uses one byte of memory per cell. Raises ValueError if n or m is 0 and for bars out of range.
    """
    n, m = lengths(costs)
    bars = np.unique(np.asarray(bars, np.int64))
    if len(bars) and not (bars[0] >= 0 and bars[-1] < m):
        raise ValueError(f"bars must begin in score frames 0 to {m - 1}, got {bars[0]} to {bars[-1]}")
    level, prices = typical(costs) if level is None else level, prices or Prices()
    scale = np.float32(level if level > 0 else 1.0)
    state = _state(n, m, prices)
    inner, size = bars[bars > 0], max(1, CELLS // m)
    targets = inner - 1, np.union1d(inner, [0]), np.float32(prices.jump)
    for first in range(0, n, size):
        block = np.ascontiguousarray(costs.block(first, min(first + size, n)) / scale, np.float32)
        kernel(jump_rows)(block, first, np.array(MOVES, np.float32), *state, targets)
    final = state.values[(n - 1) % 2] + state.ends[2]
    choices = {int(final.argmin()): float(final.min()), BEFORE: float(state.totals[0]), AFTER: float(state.totals[1])}
    last = min(choices, key=choices.__getitem__)
    total = choices[last]
    if not np.isfinite(total):
        raise NoPath(f"no path through {n} performance and {m} score frames")
    columns, starts = np.full(n, BEFORE, np.int32), np.zeros(n, bool)
    kernel(trace_jumps)(state.codes, state.sources, last, columns, starts)
    return JumpPath(columns, starts, total / n, _mean(costs, columns) / float(scale))


class _State(NamedTuple):
    """Arrays of `jump_rows`."""

    ends: np.ndarray  # (3, m): prices of the first row, of entering and of leaving
    outside: np.ndarray  # (n,): price of each row outside the score
    totals: np.ndarray  # (2,): accumulated costs outside the score, before and after parts of it
    values: np.ndarray  # (2, m): accumulated costs of the last two rows
    codes: np.ndarray  # (n, m) uint8
    sources: np.ndarray  # (2, n): columns left by a jump and to the outside after the row before; negative: none


def _state(n: int, m: int, prices: Prices) -> _State:
    ends = np.stack([np.full(m, price, np.float32) for price in (prices.cut, prices.enter, prices.leave)])
    ends[:2, 0] = ends[2, -1] = 0
    outside = np.broadcast_to(np.asarray(prices.outside, np.float32), n).copy()
    codes, sources = np.empty((n, m), np.uint8), np.full((2, n), AFTER, np.int64)
    return _State(ends, outside, np.array([outside[0], np.inf], np.float32), np.empty((2, m), np.float32), codes, sources)


def typical(costs: Costs) -> float:
    """Typical distance of unrelated frames: the median of 64 rows."""
    rows = np.unique(np.linspace(0, costs.shape[0] - 1, 64).astype(int))
    values = np.concatenate([costs.block(row, row + 1)[0] for row in rows.tolist()])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else 1.0


def _mean(costs: Costs, columns: np.ndarray) -> float:
    """Mean distance of the rows inside the score; NaN if there is none."""
    rows, size, total = np.flatnonzero(columns >= 0), max(1, CELLS // costs.shape[1]), 0.0
    for first in range(0, len(columns), size):
        inside = rows[(rows >= first) & (rows < first + size)]
        if len(inside):
            block = costs.block(first, min(first + size, len(columns)))
            total += float(block[inside - first, columns[inside]].sum(dtype=np.float64))
    return total / len(rows) if len(rows) else float("nan")


# Kernels, compiled by `kernel`


def jump_rows(block, first, moves, ends, outside, totals, values, codes, sources, targets):
    """Accumulate a block of rows (rows, m) from row `first`; see `_State`. targets: columns left and entered by jumps, price."""
    left, entered, price = targets
    for i in range(first, first + block.shape[0]):
        costs, row, before = block[i - first], values[i % 2], values[(i + 1) % 2]
        if i == 0:
            for j in range(len(row)):
                row[j], codes[0, j] = ends[0, j] + costs[j], 253
            continue
        for j in range(len(row)):
            row[j], codes[i, j] = totals[0] + ends[1, j], 252
            if totals[1] + price < row[j]:
                row[j], codes[i, j] = totals[1] + price, 254
        for move in range(min(len(moves), len(row))):
            for j in range(move, len(row)):
                value = before[j - move] + moves[move]
                better = value < row[j]
                row[j] = value if better else row[j]
                codes[i, j] = move if better else codes[i, j]
        cheapest = np.float32(np.inf)
        for j in left:
            if before[j] < cheapest:
                cheapest, sources[0, i] = before[j], j
        for j in entered:
            if cheapest + price < row[j]:
                row[j], codes[i, j] = cheapest + price, 255
        leaving = totals[1]
        for j in range(len(row)):
            if before[j] + ends[2, j] < leaving:
                leaving, sources[1, i] = before[j] + ends[2, j], j
        totals[0], totals[1] = totals[0] + outside[i], leaving + outside[i]
        for j in range(len(row)):
            row[j] += costs[j]


def trace_jumps(codes, sources, column, columns, starts):
    """Trace the path backwards from `column` of the last row; outputs: column of each row, and the first rows of passages."""
    for i in range(len(columns) - 1, -1, -1):
        columns[i] = column
        if column < 0:
            column = sources[1, i] if column == -2 else -1
            continue
        code = codes[i, column]
        starts[i] = code >= 252
        if code == 252:
            column = -1
        elif code == 254:
            column = -2
        elif code == 255:
            column = sources[0, i]
        else:
            column -= code
