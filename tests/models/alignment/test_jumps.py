"""Jump-DTW against a loop over cells, and on performances with repeats, cuts and a da capo."""

from itertools import pairwise

import numpy as np
import pytest

from models.alignment.dtw import STEPS, FeatureCosts, MatrixCosts, NoPath, Steps, dtw
from models.alignment.jumps import Jump, jump_dtw

SETS = [*STEPS.values(), Steps(((0, 2), (1, 1), (2, 0), (0, 1)), (1.0, 1.5, 0.7, 2.0))]


def plain(costs, steps, sources, targets, penalty, ends, open_start, open_end):
    """The optimum by a loop over cells."""
    n, m = costs.shape
    weight = dict(zip(*steps, strict=True)).get((1, 1), 1.0)
    total = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            ways = [costs[i, j]] if j == 0 and (i == 0 or open_start) else []
            ways += [total[i - a, j - b] + w * costs[i, j] for (a, b), w in zip(*steps, strict=True) if i >= a and j >= b]
            if i and j in targets:
                ways += [total[i - 1, source] + penalty + weight * costs[i, j] for source in sources]
            total[i, j] = min(ways, default=np.inf)
    return (total if open_end else total[-1:])[:, ends].min()


def assert_sums_to_its_cost(path, costs, steps, penalty):
    weights = dict(zip(*steps, strict=True))
    cells = list(zip(path.rows.tolist(), path.columns.tolist(), strict=True))
    total = costs[cells[0]] + penalty * len(path.jumps)
    for k, ((i, j), (a, b)) in enumerate(pairwise(cells), 1):
        if k in path.starts:
            assert Jump(a, j, b) == path.jumps[path.starts.index(k) - 1] and a == i + 1
        total += (weights.get((1, 1), 1.0) if k in path.starts else weights[a - i, b - j]) * costs[a, b]
    assert path.cost == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("steps", SETS)
def test_optimum_equals_a_loop_over_cells(steps):
    random = np.random.default_rng(0)
    jumped = 0
    for _ in range(100):
        n, m = random.integers(1, 14, 2)
        costs = random.random((n, m)) if random.random() < 0.7 else np.round(random.random((n, m)))
        sources, targets = (random.integers(0, m, random.integers(0, 6)).tolist() for _ in range(2))
        penalty, ends = float(random.choice([0.0, 0.1, 1.0])), [m - 1, *random.integers(m // 2, m, random.integers(2)).tolist()]
        opened = {name: bool(random.random() < 0.3) for name in ("open_start", "open_end")}
        optimum = plain(costs, steps, sources, targets, penalty, ends, **opened)
        if not np.isfinite(optimum):
            with pytest.raises(NoPath):
                jump_dtw(MatrixCosts(costs), steps, sources, targets, penalty, ends, **opened)
            continue
        path = jump_dtw(MatrixCosts(costs), steps, sources, targets, penalty, ends, **opened)
        assert path.cost == pytest.approx(optimum, rel=1e-5, abs=1e-9)
        assert_sums_to_its_cost(path, costs, steps, penalty)
        assert path.columns[0] == 0 and path.columns[-1] in ends
        assert all(jump.source in sources and jump.target in targets for jump in path.jumps)
        assert all((np.diff(part.columns) >= 0).all() and (np.diff(part.rows) >= 0).all() for part in path.segments)
        assert sum(len(part.rows) for part in path.segments) == len(path.rows)
        jumped += len(path.jumps)
    assert jumped > 10


@pytest.mark.parametrize("steps", SETS[:3])
@pytest.mark.parametrize("penalty", [0.0, np.inf])
def test_without_a_place_to_jump_or_at_an_infinite_penalty_it_is_dtw(steps, penalty):
    costs = MatrixCosts(np.random.default_rng(1).random((30, 40)))
    everywhere = range(40) if penalty else ()
    path, other = jump_dtw(costs, steps, everywhere, everywhere, penalty), dtw(costs, steps)
    assert path.jumps == () and path.starts == (0,) and path.cost == pytest.approx(other.cost)
    np.testing.assert_array_equal(path.rows, other.rows)
    np.testing.assert_array_equal(path.columns, other.columns)


def played(order, seed=0):
    """A score of four blocks of 50 frames, and a performance of them in another order."""
    random = np.random.default_rng(seed)
    score = np.repeat(random.random((40, 12)) ** 3, 5, axis=0) + 0.05 * random.random((200, 12))
    frames = np.concatenate([np.repeat(np.arange(50 * block, 50 * (block + 1)), random.integers(1, 3)) for block in order])
    return score[frames] + 0.05 * random.random((len(frames), 12)), score, frames


@pytest.mark.parametrize(
    ("order", "ends", "jumps"),
    [
        ((0, 1, 2, 3), None, []),
        ((0, 0, 1, 2, 3), None, [(49, 0)]),
        ((0, 1, 0, 1, 2, 3), None, [(99, 0)]),
        ((0, 1, 3), None, [(99, 150)]),
        ((0, 1, 2, 2, 2, 3), None, [(149, 100), (149, 100)]),
        ((0, 1, 2, 3, 0, 1), [99, 199], [(199, 0)]),  # da capo al fine
        ((0, 1, 0, 2, 3), None, [(99, 0), (49, 100)]),  # first and second ending
    ],
)
@pytest.mark.parametrize("steps", [STEPS["unit"], STEPS["synctoolbox"]])
def test_repeats_cuts_and_da_capo_are_found(order, ends, jumps, steps):
    x, y, frames = played(order)
    bounds = {"sources": range(49, 200, 50), "targets": range(0, 200, 50)}
    path = jump_dtw(FeatureCosts(x, y), steps, **bounds, penalty=2.0, ends=ends)
    assert [(jump.source, jump.target) for jump in path.jumps] == jumps
    assert np.abs(frames[path.rows] - path.columns).max() < 5
    assert len(path.segments) == len(jumps) + 1
    starts = [part.rows[0] for part in path.segments[1:]]
    assert starts == [jump.row for jump in path.jumps]


def test_ends_may_be_open_too():
    x, y, frames = played((0, 1, 2, 2, 3))
    noise = 2 * np.random.default_rng(2).random((2, 60, 12))
    around = np.concatenate([noise[0], x, noise[1]])
    settings = {"sources": range(49, 200, 50), "targets": range(0, 200, 50), "penalty": 2.0}
    path = jump_dtw(FeatureCosts(around, y), STEPS["unit"], **settings, open_start=True, open_end=True)
    assert [(jump.source, jump.target) for jump in path.jumps] == [(149, 100)]
    assert abs(path.rows[0] - 60) < 10 and abs(path.rows[-1] - 59 - len(frames)) < 10


def test_what_there_is_not_is_refused():
    costs = MatrixCosts(np.ones((5, 6)))
    with pytest.raises(ValueError, match="sources of jumps must be score frames 0 to 5, got 2 to 6"):
        jump_dtw(costs, sources=[2, 6], targets=[0])
    with pytest.raises(ValueError, match="penalty of a jump must be 0 or more, got -1"):
        jump_dtw(costs, sources=[2], targets=[0], penalty=-1)
    with pytest.raises(ValueError, match="ends of jumps must be"):
        jump_dtw(costs, ends=[-1])
    with pytest.raises(NoPath, match="5 performance and 40 score frames"):
        jump_dtw(MatrixCosts(np.ones((5, 40))), STEPS["constrained"])
    with pytest.raises(ValueError, match="at least one end"):
        jump_dtw(costs, ends=[])
    bad = np.ones((5, 6))
    bad[3, 3] = np.nan
    with pytest.raises(ValueError, match="frame 3 contain NaN"):
        jump_dtw(MatrixCosts(bad), sources=[2], targets=[0])
