"""Inner loops of dynamic time warping: plain functions, compiled by `kernel` with numba at their first call."""

from collections.abc import Callable
from functools import cache

import numpy as np

START = 255  # direction code beside the steps
START_OF_FOUR = 3  # start in two-bit codes: 0 diagonal, 1 next row, 2 or 3 next column
CLOSE = np.float32(2.0**-8)
PAD = 4  # columns before the first one in the accumulated costs of `four_rows`


@cache
def kernel(function: Callable) -> Callable:
    """Compiled function, without the GIL; cached on disk by numba if its folder can be written."""
    import numba
    from numba.extending import register_jitable

    for helper in HELPERS.get(function.__name__, ()):
        register_jitable(helper)
    options = {"nogil": True, "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return numba.njit(**options)(function)


def finish_distances(block, xx, yy, x, y, scale, root):
    """Products x.y (n, m) -> scale * |x - y|^2, or its root, in place; xx (n,) and yy (m,) are |x|^2 and |y|^2.

    If the three terms nearly cancel, the distance is summed from the differences: float32 would leave noise.
    """
    columns = 2048  # fit the fastest cache
    for i in range(block.shape[0]):
        for left in range(0, block.shape[1], columns):
            products, squares = block[i, left : left + columns], yy[left : left + columns]
            close = False
            for j in range(len(products)):
                both = xx[i] + squares[j]
                square = both - np.float32(2) * products[j]
                products[j] = square
                close |= square < CLOSE * both
            if close:
                for j in range(len(products)):
                    if products[j] < CLOSE * (xx[i] + squares[j]):
                        total = np.float32(0)
                        for k in range(x.shape[1]):
                            total += (x[i, k] - y[left + j, k]) ** 2
                        products[j] = total
            for j in range(len(products)):
                square = scale * products[j]
                products[j] = np.sqrt(square) if root else square


def skew(block, row, left, lows, highs, i, count, buffer):
    """Copy rows i .. i + count - 1 of the costs, from row `row` of block (rows, columns from `left`), to buffer (4, width).

    Row r <= 3 is shifted r columns to the right, with infinite costs outside columns lows[i + r] .. highs[i + r] - 1.
    Returns whether all costs inside are finite.
    """
    bad = False
    for r in range(4):
        target = buffer[r]
        start = stop = len(target)
        if r < count:
            start = lows[i + r] - lows[i] + r
            stop = start + highs[i + r] - lows[i + r]
            source, inside = block[row + r, lows[i + r] - left : highs[i + r] - left], target[start:stop]
            for j in range(len(inside)):
                inside[j] = source[j]
                bad |= not abs(source[j]) < np.inf
        for j in range(start):
            target[j] = np.inf
        for j in range(stop, len(target)):
            target[j] = np.inf
    return not bad


def cheapest(cost, diagonal, up, left, weights):
    """Accumulated cost of a cell and its predecessor: 0 diagonal, 1 up, 2 or 3 left; the first of equal ones."""
    d, u, across = diagonal + weights[0] * cost, up + weights[1] * cost, left + weights[2] * cost
    best = u if u < d else d
    # Arithmetic instead of branches, which would be mispredicted.
    return (across if across < best else best), np.uint8(u < d) | (np.uint8(across < best) << np.uint8(1))


def begun(t, start, v0, v1, v2, v3, code):
    """Four values and their directions, value t replaced by the cost of a path that starts there if that is not higher."""
    if start <= (v0, v1, v2, v3)[t]:
        code |= np.uint8(START_OF_FOUR << (2 * t))
    v0, v1 = (min(start, v0) if t == 0 else v0), (min(start, v1) if t == 1 else v1)
    v2, v3 = (min(start, v2) if t == 2 else v2), (min(start, v3) if t == 3 else v3)
    return v0, v1, v2, v3, code


def advance(buffer, row, codes, weights, starts, head, ends, tail):
    """Accumulate four rows of costs by the steps (1, 1), (1, 0), (0, 1) with `weights`.

    Each cell depends on its left neighbour; four rows at once, each a column behind the one above, hide that latency.
    At position t row r is in column t - r of the buffer (see `skew`). `row`: accumulated costs of the row above, column c
    at c + PAD, which become those of the fourth row. codes (width,): two bits of direction a row, the first lowest.
    A path may start at position r < head with cost starts[r]; ends (4,) takes the rows' values at positions tail + r.
    """
    p0 = p1 = p2 = p3 = q0 = q1 = q2 = np.inf  # last and previous value of each row
    q = row[PAD - 1]
    for t in range(np.uint64(len(codes))):  # unsigned: checks for negative indices cost a fifth of the time
        above = row[t + np.uint64(PAD)]
        v0, k0 = cheapest(buffer[0, t], q, above, p0, weights)
        v1, k1 = cheapest(buffer[1, t], q0, p0, p1, weights)
        v2, k2 = cheapest(buffer[2, t], q1, p1, p2, weights)
        v3, k3 = cheapest(buffer[3, t], q2, p2, p3, weights)
        code = k0 | (k1 << np.uint8(2)) | (k2 << np.uint8(4)) | (k3 << np.uint8(6))
        if t < head:
            v0, v1, v2, v3, code = begun(t, starts[t], v0, v1, v2, v3, code)
        if t - tail < np.uint64(4):
            ends[t - tail] = (v0, v1, v2, v3)[t - tail]
        q, q0, q1, q2, p0, p1, p2, p3 = above, p0, p1, p2, v0, v1, v2, v3
        row[t + np.uint64(PAD - 3)] = v3
        codes[t] = code


def four_rows(block, first, left, lows, highs, weights, open_start, row, codes, offsets, ends):
    """Accumulate the costs of a block of rows from `first`, a multiple of four; its columns begin at `left`.

    lows, highs (n,): corridor of each row, non-decreasing; row (m + 2 * PAD,) as in `advance`; codes: directions of four
    rows at each of `offsets`; ends (n,): output, values in the last column.
    Returns the first row of the group of four whose costs are not finite, or -1.
    """
    last_column = len(row) - 2 * PAD - 1
    starts, four_ends = np.empty(4), np.empty(4)
    widest = highs[first + block.shape[0] - 1] - lows[first] + 3
    memory = np.empty(4 * widest, np.float32)
    for i in range(first, first + block.shape[0], 4):
        count, low = min(4, first + block.shape[0] - i), lows[i]
        width = highs[i + count - 1] - low + 3
        buffer = memory[: 4 * width].reshape((4, width))
        if not skew(block, i - first, left, lows, highs, i, count, buffer):
            return i
        for r in range(4):
            may_start = r < count and lows[i + r] == 0 and (open_start or i + r == 0)
            starts[r], four_ends[r] = (buffer[r, r] if may_start else np.inf), np.inf
        head, tail = np.uint64(4 if low == 0 else 0), np.uint64(last_column - low)
        target = codes[offsets[i // 4] : offsets[i // 4] + width]
        advance(buffer, row[low:], target, weights, starts, head, four_ends, tail)
        for r in range(count):
            ends[i + r] = four_ends[r]
    return -1


def trace_four(codes, offsets, lows, row, column, rows, columns):
    """Trace the path backwards from (row, column) by the codes of `four_rows`; returns its length."""
    count = 0
    while True:
        rows[count], columns[count] = row, column
        count += 1
        group = row // 4
        r = row - 4 * group
        code = (codes[offsets[group] + column - lows[4 * group] + r] >> (2 * r)) & 3
        if column == 0:
            if code == START_OF_FOUR:
                return count
            row -= 1
        else:
            row -= code < 2
            column -= code != 1


def any_rows(block, first, left, lows, highs, steps, start, rows, codes, offsets, ends):
    """Accumulate the costs of a block of rows from `first` by any steps; see `four_rows`.

    steps: (downs, rights, weights, level), arrays (s,); steps from number `level` stay within a row.
    start: prices of beginning in the first column (n,) and in the first row (m,).
    rows (k, pad + m): accumulated costs, row i in i % k, infinite in the pad. codes: one byte per cell, row i from offsets[i].
    ends (n,): output, values in the last column.
    Returns the first row whose costs are not finite, or -1.
    """
    downs, rights, weights, level = steps
    pad = rows.shape[1] - len(start[1])
    for i in range(first, first + block.shape[0]):
        low, high = lows[i], highs[i]
        costs, values = block[i - first, low - left : high - left], rows[i % len(rows)]
        if i >= len(rows):
            values[pad + lows[i - len(rows)] : pad + highs[i - len(rows)]] = np.inf
        target, code = values[pad + low : pad + high], codes[offsets[i] : offsets[i] + high - low]
        code[:] = START
        bad = False
        for j in range(len(costs)):
            bad |= not abs(costs[j]) < np.inf
        if bad:
            return i
        for s in range(level):
            if downs[s] <= i:
                begin = pad + low - rights[s]
                relax(rows[(i - downs[s]) % len(rows), begin : begin + high - low], costs, weights[s], np.uint8(s), target, code)
        if i == 0:
            for j in range(len(costs)):
                begin_at(j, start[1][low + j] + costs[j], target, code)
        if low == 0:
            begin_at(0, start[0][i] + costs[0], target, code)
        if level < len(downs):
            sweep(values[: pad + high], costs, rights[level:], weights[level:], level, target, code)
        if high == len(start[1]):
            ends[i] = values[len(values) - 1]
    return -1


def begin_at(j, value, target, code):
    """Let a path begin in a cell if no other leads there more cheaply."""
    if value <= target[j] and value < np.inf:
        target[j], code[j] = value, START


def relax(source, costs, weight, step, target, code):
    """Apply one step to every cell of a row that it makes cheaper."""
    for j in range(len(costs)):
        value = source[j] + weight * costs[j]
        better = value < target[j]
        target[j] = value if better else target[j]
        code[j] = step if better else code[j]


def sweep(values, costs, rights, weights, number, target, code):
    """Apply the steps within a row, numbered from `number`, from left to right; target is the end of values."""
    begin = len(values) - len(costs)
    if len(rights) == 1 and rights[0] == 1:  # the usual case: no need to reload the last value
        last = values[begin - 1]
        for j in range(len(costs)):
            value = last + weights[0] * costs[j]
            better = value < target[j]
            last = value if better else target[j]
            target[j] = last
            code[j] = np.uint8(number) if better else code[j]
        return
    for j in range(len(costs)):
        for s in range(len(rights)):
            value = values[begin + j - rights[s]] + weights[s] * costs[j]
            if value < target[j]:
                target[j], code[j] = value, number + s


def trace_any(codes, offsets, lows, downs, rights, row, column, rows, columns):
    """Trace the path backwards from (row, column) by the codes of `any_rows`; returns its length."""
    count = 0
    while True:
        rows[count], columns[count] = row, column
        count += 1
        code = codes[offsets[row] + column - lows[row]]
        if code == START:
            return count
        row, column = row - downs[code], column - rights[code]


def frontier(costs, before, diagonal, values, codes):
    """Accumulate the next row of costs (or column, by symmetry) from the previous one, all of one length.

    diagonal: weight of that step; the others have 1. codes: 0 diagonal, 1 from the previous row, 2 or 3 within the row.
    """
    values[0], codes[0] = before[0] + costs[0], 1
    for k in range(1, len(costs)):
        values[k], codes[k] = cheapest(costs[k], before[k - 1], before[k], values[k - 1], (diagonal, 1.0, 1.0))


HELPERS = {"four_rows": (skew, advance, cheapest, begun), "any_rows": (relax, begin_at, sweep), "frontier": (cheapest,)}
