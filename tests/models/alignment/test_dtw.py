"""DTW kernels vs. librosa and a loop over cells, memory, invalid input."""

from itertools import pairwise

import numpy as np
import pytest

from models.alignment import dtw as engine
from models.alignment.dtw import STEPS, MatrixCosts, NoPath, Steps, dtw
from models.alignment.dtw_kernels import kernel

UNIT = STEPS["unit"]
WEIGHTED = Steps(UNIT.moves, (0.7, 2.3, 1.1))
ODD = Steps(((2, 0), (1, 3), (0, 2), (1, 1), (0, 1), (3, 1)), (1.2, 0.8, 2.0, 1.0, 1.5, 0.6))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that tiny cases have several."""
    monkeypatch.setattr(engine, "CELLS", 256)


def matrix(random, kind=None, most=40):
    """Costs of a random shape: real, binary (many ties) or integer."""
    n, m = random.integers(1, most, 2)
    costs = random.random((n, m))
    kind = random.integers(3) if kind is None else kind
    return (costs, (costs > 0.5).astype(float), np.floor(5 * costs))[kind]


def random_steps(random):
    """A set nobody chose: moves up to 4, among them such as stay in a row or column."""
    moves = {tuple(map(int, random.integers(0, 5, 2))) for _ in range(random.integers(1, 7))} - {(0, 0)}
    moves |= {(1, 1)} if random.random() < 0.8 else {(1, 0), (0, 1)}
    return Steps(tuple(moves), tuple(0.25 + 2 * random.random(len(moves))))


def theirs(costs, steps, subsequence=False):
    """librosa's optimum, inf if it has none; its subsequences are of columns, ours of rows."""
    from librosa.sequence import dtw as librosa_dtw

    moves = np.array(steps.moves)
    if subsequence:
        costs, moves = costs.T, moves[:, ::-1]
    settings = {"step_sizes_sigma": moves, "weights_mul": np.array(steps.weights), "weights_add": np.zeros(len(moves))}
    accumulated = librosa_dtw(C=costs, subseq=subsequence, backtrack=False, **settings)
    return accumulated[-1].min() if subsequence else accumulated[-1, -1]


def plain(costs, steps, open_start=False, open_end=False):
    """The optimum by a loop over cells; infinite costs are walls."""
    n, m = costs.shape
    total = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            if j == 0 and (i == 0 or open_start):
                total[i, j] = costs[i, j]
            for (a, b), weight in zip(*steps, strict=True):
                if i >= a and j >= b and np.isfinite(costs[i, j]):
                    total[i, j] = min(total[i, j], total[i - a, j - b] + weight * costs[i, j])
    return total[:, -1].min() if open_end else total[-1, -1]


def assert_sums_to_its_cost(path, costs, steps, open_start=False, open_end=False):
    cells = list(zip(path.rows.tolist(), path.columns.tolist(), strict=True))
    weights = dict(zip(*steps, strict=True))
    total = costs[cells[0]]
    for (i, j), (a, b) in pairwise(cells):
        total += weights[a - i, b - j] * costs[a, b]
    assert path.cost == pytest.approx(total, rel=1e-5, abs=1e-9)
    assert path.rows.dtype == path.columns.dtype == np.int32 and path.shape == costs.shape
    assert path.columns[0] == 0 and path.columns[-1] == costs.shape[1] - 1
    assert open_start or path.rows[0] == 0
    assert open_end or path.rows[-1] == costs.shape[0] - 1


def assert_optimal(costs, steps, optimum, **settings):
    if not np.isfinite(optimum):
        with pytest.raises(NoPath):
            dtw(MatrixCosts(costs), steps, **settings)
        return
    path = dtw(MatrixCosts(costs), steps, **settings)
    assert path.cost == pytest.approx(optimum, rel=1e-5, abs=1e-9)
    opened = {name: settings.get(name) or settings.get("subsequence") for name in ("open_start", "open_end")}
    assert_sums_to_its_cost(path, costs, steps, **opened)


@pytest.mark.parametrize("subsequence", [False, True])
@pytest.mark.parametrize("steps", [*STEPS.values(), WEIGHTED, ODD, None], ids=[*STEPS, "weighted", "odd", "random"])
def test_optimum_equals_librosa(steps, subsequence):
    random = np.random.default_rng(7 * subsequence)
    for _ in range(25):
        costs, some = matrix(random), steps or random_steps(random)
        assert_optimal(costs, some, theirs(costs, some, subsequence), subsequence=subsequence)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (1000, 3), (3, 1000), (130, 131)])
@pytest.mark.parametrize("steps", [UNIT, STEPS["synctoolbox"], ODD])
def test_shapes(shape, steps):
    costs = np.random.default_rng(0).random(shape)
    assert_optimal(costs, steps, theirs(costs, steps))
    assert_optimal(costs, steps, theirs(costs, steps, True), subsequence=True)


@pytest.mark.parametrize("ends", [(True, False), (False, True)])
@pytest.mark.parametrize("steps", [*STEPS.values(), ODD])
def test_one_end_open(steps, ends):
    random = np.random.default_rng(1)
    for _ in range(10):
        costs = matrix(random, most=16)
        assert_optimal(costs, steps, plain(costs, steps, *ends), open_start=ends[0], open_end=ends[1])


def test_negative_costs_are_costs():
    costs = np.random.default_rng(2).normal(size=(23, 17))
    assert_optimal(costs, UNIT, plain(costs, UNIT))
    assert_optimal(costs, UNIT, plain(costs, UNIT, True, True), subsequence=True)


@pytest.mark.parametrize("steps", [*STEPS.values(), ODD])
@pytest.mark.parametrize("opened", [False, True])
def test_a_band_is_infinite_costs_outside(steps, opened):
    random = np.random.default_rng(3)
    for _ in range(20):
        costs, band = matrix(random, most=25), random.integers(0, 9)
        n, m = costs.shape
        line = np.arange(n) * ((m - 1) / max(n - 1, 1))
        outside = np.abs(np.arange(m) - line[:, None]) > band + 1e-6
        optimum = plain(np.where(outside & (n > 1), np.inf, costs), steps, opened, opened)
        assert_optimal(costs, steps, optimum, band=band, subsequence=opened)


@pytest.mark.parametrize("steps", [UNIT, STEPS["constrained"], ODD])
def test_a_corridor_of_any_form_is_infinite_costs_outside(steps):
    random = np.random.default_rng(4)
    for _ in range(20):
        costs = matrix(random, most=30)
        n, m = costs.shape
        lows = np.sort(random.integers(0, m, n))
        highs = np.maximum(np.sort(random.integers(1, m + 1, n)), lows + 1)
        lows[0], highs[-1] = 0, m
        outside = (np.arange(m) < lows[:, None]) | (np.arange(m) >= highs[:, None])
        optimum = plain(np.where(outside, np.inf, costs), steps)
        if np.isfinite(optimum):
            path = engine.within(MatrixCosts(costs), lows, highs, steps)
            assert path.cost == pytest.approx(optimum, rel=1e-5, abs=1e-9)
            assert_sums_to_its_cost(path, costs, steps)
        else:
            with pytest.raises(NoPath):
                engine.within(MatrixCosts(costs), lows, highs, steps)


def random_ends(random, n, m):
    """Prices of ends on both axes: none, some infinite, or infinite but for a corner."""
    prices = [random.choice([0.0, 0.3, 2.0, np.inf], size) for size in (n, m)]
    return engine.Ends(
        *(np.full(size, np.inf) if random.random() < 0.3 else price for size, price in zip((n, m), prices, strict=True))
    )


def priced_optimum(costs, steps, start, end, allowed):
    """The optimum with priced ends by a loop over cells; `allowed` (n, m) are the cells of the corridor."""
    n, m = costs.shape
    total = np.full((n, m), np.inf)
    for i, j in np.argwhere(allowed):
        begin = min(start.rows[i] if j == 0 else np.inf, start.columns[j] if i == 0 else np.inf)
        ways = [total[i - a, j - b] + weight * costs[i, j] for (a, b), weight in zip(*steps, strict=True) if i >= a and j >= b]
        total[i, j] = min([begin + costs[i, j], *ways])
    return min((total[:, -1] + end.rows).min(), (total[-1] + end.columns).min())


def priced_cost(path, costs, steps, start, end):
    """Cost of a path with priced ends, from its cells alone."""
    cells, weights = list(zip(path.rows.tolist(), path.columns.tolist(), strict=True)), dict(zip(*steps, strict=True))
    (i, j), (a, b), (n, m) = cells[0], cells[-1], costs.shape
    total = costs[i, j] + min(start.rows[i] if j == 0 else np.inf, start.columns[j] if i == 0 else np.inf)
    total += min(end.rows[a] if b == m - 1 else np.inf, end.columns[b] if a == n - 1 else np.inf)
    return total + sum(weights[c - a, d - b] * costs[c, d] for (a, b), (c, d) in pairwise(cells))


@pytest.mark.parametrize("steps", [*STEPS.values(), WEIGHTED, ODD], ids=[*STEPS, "weighted", "odd"])
def test_priced_ends_on_both_axes(steps):
    random, refused, inside = np.random.default_rng(9), 0, 0
    for _ in range(30):
        costs = matrix(random, most=14)
        n, m = costs.shape
        lows, highs = engine.whole(n, m)
        if random.random() < 0.6:  # a corridor that need not touch the corners
            lows = np.sort(random.integers(0, m, n))
            highs = np.maximum(np.sort(random.integers(1, m + 1, n)), lows + 1)
        allowed = (np.arange(m) >= lows[:, None]) & (np.arange(m) < highs[:, None])
        ends = random_ends(random, n, m), random_ends(random, n, m)
        expected = priced_optimum(costs, steps, *ends, allowed)
        if not np.isfinite(expected):
            refused += 1
            with pytest.raises(NoPath, match=f"no path through {n} performance and {m} score frames"):
                engine.priced(MatrixCosts(costs), lows, highs, steps, *ends)
            continue
        path = engine.priced(MatrixCosts(costs), lows, highs, steps, *ends)
        assert path.cost == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert priced_cost(path, costs, steps, *ends) == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert allowed[path.rows, path.columns].all() and path.shape == (n, m)
        inside += path.columns[0] > 0 or path.columns[-1] < m - 1
    assert refused and inside


def test_a_path_may_leave_out_the_ends_of_both_sides():
    ends = engine.Ends(0.1 * np.arange(12), 0.1 * np.arange(12))
    for shift, expected in ((2, (0, 2)), (-2, (2, 0))):  # the recording begins inside the score, and the other way round
        moved = np.roll(np.eye(12) == 0, shift, 1).astype(float)
        path = engine.priced(
            MatrixCosts(moved), *engine.whole(12, 12), UNIT, ends, engine.Ends(ends.rows[::-1], ends.columns[::-1])
        )
        assert (path.rows[0], path.columns[0]) == expected and len(path.rows) == 10
        assert path.cost == pytest.approx(0.4)


@pytest.mark.parametrize("steps", [UNIT, STEPS["synctoolbox"], STEPS["constrained"]])
def test_ties_go_to_the_diagonal(steps):
    path = dtw(MatrixCosts(np.zeros((30, 30))), steps)
    assert (path.rows == np.arange(30)).all() and (path.columns == np.arange(30)).all()
    reordered = Steps(steps.moves[::-1], steps.weights[::-1])
    again = dtw(MatrixCosts(np.zeros((30, 25))), reordered)
    assert [x.tolist() for x in again[:2]] == [x.tolist() for x in dtw(MatrixCosts(np.zeros((30, 25))), steps)[:2]]


def test_the_kernel_of_three_neighbours_takes_the_same_path_as_that_of_any_steps():
    random = np.random.default_rng(5)
    for _ in range(20):
        costs, opened = MatrixCosts(matrix(random)), bool(random.integers(2))
        n, m = costs.shape
        corridor = engine.whole(n, m)
        ends, trace = engine.three_neighbours(costs, *corridor, UNIT, opened)
        last_column, last_row, trace_any = engine.any_steps(costs, *corridor, UNIT, engine.corner(n, m, 0, opened))
        np.testing.assert_array_equal(ends, last_column)
        assert last_row[-1] == last_column[-1]
        np.testing.assert_array_equal(trace(n - 1), trace_any(n - 1, m - 1))


def test_255_steps_and_no_more():
    moves = tuple((a, b) for a in range(16) for b in range(16) if a or b)
    costs = np.random.default_rng(6).random((40, 37))
    steps = Steps(moves, tuple(1 + np.arange(255) / 100))
    assert_optimal(costs, steps, theirs(costs, steps))
    with pytest.raises(ValueError, match="1 to 255 moves"):
        dtw(MatrixCosts(costs), Steps((*moves, (16, 0)), (*steps.weights, 1.0)))


class Streamed:
    """Costs that say what was asked for, and have no more than the two things that DTW needs."""

    def __init__(self, costs):
        self.costs, self.shape, self.asked = costs, costs.shape, []

    def block(self, first, last):
        self.asked.append((first, last))
        return self.costs[first:last]


@pytest.mark.parametrize("steps", [UNIT, STEPS["constrained"]])
def test_each_row_is_asked_for_once_and_few_together(steps):
    costs = Streamed(np.random.default_rng(7).random((101, 60)))
    path, limited = dtw(costs, steps), dtw(costs, steps, band=20)
    assert costs.asked[:26] == [(i, min(i + 4, 101)) for i in range(0, 101, 4)]
    assert path.cost == dtw(MatrixCosts(costs.costs), steps).cost
    assert limited.cost == dtw(MatrixCosts(costs.costs), steps, band=20).cost >= path.cost


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("steps", [UNIT, STEPS["constrained"]])
def test_costs_that_are_not_finite_are_refused_wherever_they_are(bad, steps):
    for cell in ((0, 0), (30, 0), (30, 29), (17, 11)):
        costs = np.ones((31, 30))
        costs[cell] = bad
        with pytest.raises(ValueError, match=r"costs of performance frames? \d+.* NaN or infinite"):
            dtw(MatrixCosts(costs), steps)


def test_the_impossible_is_said_in_a_sentence():
    with pytest.raises(NoPath, match=r"10 performance and 30 score frames with steps \(1, 1\), \(1, 2\), \(2, 1\)"):
        dtw(MatrixCosts(np.ones((10, 30))), STEPS["constrained"])
    with pytest.raises(NoPath, match=r"10 performance and 100 score frames .* wider than 2 frames"):
        dtw(MatrixCosts(np.ones((10, 100))), band=2)
    with pytest.raises(NoPath, match=r"band of 0\.1 frames"):
        dtw(MatrixCosts(np.ones((10, 15))), band=0.1)
    with pytest.raises(ValueError, match="0 performance frames and 5 score frames"):
        dtw(MatrixCosts(np.ones((0, 5))))
    with pytest.raises(ValueError, match="band is -1"):
        dtw(MatrixCosts(np.ones((3, 5))), band=-1)
    for moves, weights in [(((1, -1),), (1.0,)), (((0, 0),), (1.0,)), (((1, 1),), (0.0,)), (((1, 1),), (1.0, 2.0)), ((), ())]:
        with pytest.raises(ValueError, match="moves"):
            dtw(MatrixCosts(np.ones((3, 3))), Steps(moves, weights))


def test_a_kernel_runs_where_it_cannot_be_kept():
    namespace = {}
    exec("def twice(x):\n    return 2 * x", namespace)  # of no file: numba has no place for it
    assert kernel(namespace["twice"])(21) == 42
