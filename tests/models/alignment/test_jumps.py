"""Jump paths against a loop over cells, and on recordings with repeats, cuts, a da capo and other music."""

import numpy as np
import pytest

from models.alignment.dtw import FeatureCosts, MatrixCosts, NoPath
from models.alignment.jumps import AFTER, BEFORE, MOVES, Prices, jump_path, typical

INFINITE = np.inf


def price_rows(prices, n):
    """Price of each row outside the score (n,)."""
    return np.broadcast_to(np.asarray(prices.outside, float), n)


def optimum(costs, bars, prices):
    """Cost of the cheapest path by a loop over cells, with costs relative to the typical distance."""
    n, m = costs.shape
    first = np.r_[0.0, np.full(m - 1, prices.cut)]
    enter, leave = np.r_[0.0, np.full(m - 1, prices.enter)], np.r_[np.full(m - 1, prices.leave), 0.0]
    outside, inner = price_rows(prices, n), [bar for bar in bars if bar > 0]
    values, before, after = first + costs[0], outside[0], INFINITE
    for i in range(1, n):
        jump = min([values[bar - 1] for bar in inner], default=INFINITE) + prices.jump
        row = np.empty(m)
        for j in range(m):
            ways = [before + enter[j], after + prices.jump]
            ways += [values[j - move] + MOVES[move] for move in range(min(len(MOVES), j + 1))]
            ways += [jump] if j in (0, *inner) else []
            row[j] = min(ways) + costs[i, j]
        before, after, values = before + outside[i], min(after, (values + leave).min()) + outside[i], row
    return min(before, after, (values + leave).min()) / n


def cost_of(path, costs, prices):
    """Cost of a path, from its columns and starts alone."""
    (n, m), outside, total, previous = costs.shape, price_rows(prices, len(costs)), 0.0, BEFORE
    for i, column in enumerate(path.columns.tolist()):
        if column < 0:
            total += outside[i] + (prices.leave if 0 <= previous < m - 1 else 0.0)
        else:
            total += costs[i, column]
            if path.starts[i]:
                start = (prices.cut if i == 0 else prices.enter) if previous == BEFORE else prices.jump
                total += 0.0 if previous == BEFORE and column == 0 else start
            else:
                total += MOVES[column - previous]
        previous = column
    return (total + (prices.leave if 0 <= previous < m - 1 else 0.0)) / n


def random_prices(random, n):
    """Prices among which some are infinite, for one row in three also those of single rows outside the score."""
    outside = random.choice([0.3, 0.75, INFINITE])
    if random.random() < 0.3:
        outside = random.choice([0.2, 0.8, INFINITE], n)
    choices = ([0.1, 1.0, INFINITE], [0.1, 1.0, INFINITE], [0.0, 0.5, INFINITE], [0.1, 1.0, INFINITE])
    return Prices(outside, *(float(random.choice(values)) for values in choices))


def random_costs(random):
    """Distances (n, m), some of them infinite."""
    costs = random.random(random.integers(1, 15, 2))
    return np.where(random.random(costs.shape) < random.choice([0.0, 0.2]), INFINITE, costs)


def test_optimum_and_path_equal_a_loop_over_cells():
    random, refused, jumped, left = np.random.default_rng(0), 0, 0, 0
    for _ in range(250):
        costs = random_costs(random)
        (n, m), level = costs.shape, float(random.choice([0.5, 2.0]))
        bars = np.unique(random.integers(0, m, random.integers(0, 4))).tolist()
        prices = random_prices(random, n)
        expected = optimum(costs / level, bars, prices)
        if not np.isfinite(expected):
            refused += 1
            with pytest.raises(NoPath, match=f"{n} performance and {m} score frames"):
                jump_path(MatrixCosts(costs), bars, prices, level)
            continue
        path = jump_path(MatrixCosts(costs), bars, prices, level)
        assert path.cost == pytest.approx(expected, abs=1e-5)
        assert cost_of(path, costs / level, prices) == pytest.approx(expected, abs=1e-5)
        inside = path.columns >= 0
        mean = costs[np.flatnonzero(inside), path.columns[inside]].mean() / level if inside.any() else np.nan
        assert path.inside == pytest.approx(mean, rel=1e-5, nan_ok=True)
        heads = [part[0] for part in path.passages]
        assert heads == np.flatnonzero(path.starts).tolist() and sum(map(len, path.passages)) == inside.sum()
        jumped += sum(head > 0 and inside[head - 1] for head in heads)
        left += AFTER in path.columns
        for head in heads:
            if head and inside[head - 1]:  # from the end of a bar to the start of one
                assert path.columns[head - 1] + 1 in bars and path.columns[head] in (0, *bars)
    assert refused > 5 and jumped > 20 and left > 20


def test_blocks_of_rows_do_not_change_the_path(monkeypatch):
    costs = MatrixCosts(np.random.default_rng(1).random((40, 30)))
    whole = jump_path(costs, (10, 20))
    monkeypatch.setattr("models.alignment.jumps.CELLS", 90)
    blocks = jump_path(costs, (10, 20))
    assert blocks.columns.tolist() == whole.columns.tolist()
    assert (blocks.cost, blocks.inside) == pytest.approx((whole.cost, whole.inside), rel=1e-6)


def test_costs_are_relative_to_the_typical_distance():
    costs = np.random.default_rng(2).random((30, 20))
    path, scaled = (jump_path(MatrixCosts(factor * costs), (5, 10)) for factor in (1.0, 50.0))
    assert path.columns.tolist() == scaled.columns.tolist() and path.cost == pytest.approx(scaled.cost, rel=1e-5)
    assert typical(MatrixCosts(costs)) == pytest.approx(np.median(costs))
    assert typical(MatrixCosts(np.full((3, 3), INFINITE))) == 1.0
    assert jump_path(MatrixCosts(np.zeros((4, 4)))).cost == 0.0  # silence of both


# Recordings of a score in four sections

SECTION, LAST = 100, 399
SCORE = np.repeat(np.pad(np.random.default_rng(3).random((80, 24)) ** 6, ((0, 0), (0, 1))), 5, axis=0)
BARS = range(0, 400, 25)


def frames_of(sections, stretch=1):
    """Score frames of a recording that plays sections of the score, each frame `stretch` times."""
    return np.concatenate([np.repeat(np.arange(SECTION * k, SECTION * (k + 1)), stretch) for k in sections])


def distances(frames):
    """Distances of a recording that plays these frames of the score; a sound of its own where they are negative."""
    played = np.where(frames[:, None] < 0, np.eye(25)[-1], SCORE[frames])
    return FeatureCosts(played + 0.05 * np.random.default_rng(4).random(played.shape), SCORE, "cosine")


@pytest.mark.parametrize(
    ("sections", "passages"),
    [
        ((0, 1, 2, 3), [(0, LAST)]),
        ((0, 0, 1, 2, 3), [(0, 99), (0, LAST)]),
        ((0, 1, 0, 1, 2, 3), [(0, 199), (0, LAST)]),
        ((0, 1, 3), [(0, 199), (300, LAST)]),
        ((0, 1, 2, 2, 2, 3), [(0, 299), (200, 299), (200, LAST)]),
        ((0, 1, 2, 3, 0, 1), [(0, LAST), (0, 199)]),  # da capo al fine, from the end of the score
        ((0, 1, 0, 2, 3), [(0, 199), (0, 99), (200, LAST)]),  # first and second ending
        ((2,), [(200, 299)]),  # an excerpt
        ((2, 3, 2), [(200, LAST), (200, 299)]),  # an excerpt with a repeat
    ],
)
@pytest.mark.parametrize("stretch", [1, 2])
def test_repeats_cuts_and_a_da_capo(sections, passages, stretch):
    frames = frames_of(sections, stretch)
    path = jump_path(distances(frames), BARS)
    ends = [(path.columns[part[0]], path.columns[part[-1]]) for part in path.passages]
    assert len(ends) == len(passages)
    np.testing.assert_allclose(ends, passages, rtol=0, atol=1)  # a jump from the end of the score costs a frame
    inside = path.columns >= 0
    assert np.abs(path.columns - frames)[inside].max() <= 4  # a note has five equal frames
    assert (~inside).sum() == sum(last == LAST for _, last in passages[:-1])


def test_music_outside_the_score():
    frames = np.concatenate([np.full(60, -1), frames_of([0, 1]), np.full(40, -1), frames_of([1, 2, 3]), np.full(30, -1)])
    path = jump_path(distances(frames), BARS)
    assert ((path.columns < 0) != (frames < 0)).sum() <= 6
    assert path.columns[0] == BEFORE and path.columns[-1] == AFTER
    assert len(path.passages) == 2 and path.inside < 0.2


@pytest.mark.parametrize("other", [0, 60])
def test_entry_in_the_middle_of_a_bar(other):
    frames = np.concatenate([np.full(other, -1), np.arange(88, 260)])  # with and without other music before
    path = jump_path(distances(frames), BARS)
    (part,) = path.passages
    assert (part[0], path.columns[part[0]]) == pytest.approx((other, 88), abs=5)
    assert (part[-1], path.columns[part[-1]]) == (len(frames) - 1, 259)


def test_infinite_prices_forbid_jumps_and_ends():
    costs = distances(frames_of([0, 1, 1, 3]))
    path = jump_path(costs, BARS, Prices(outside=INFINITE, jump=INFINITE))
    assert len(path.passages) == 1 and (np.diff(path.columns) >= 0).all()
    path = jump_path(costs, BARS, Prices(*5 * [INFINITE]))
    assert (path.columns[0], path.columns[-1], path.starts.sum()) == (0, LAST, 1)


def test_a_row_that_must_not_be_outside_is_inside():
    frames = np.concatenate([np.full(30, -1), frames_of([0, 1])])
    prices = np.full(len(frames), 0.75)
    prices[4] = INFINITE
    free, path = (jump_path(distances(frames), BARS, Prices(outside)) for outside in (0.75, prices))
    assert free.columns[4] == BEFORE and path.columns[4] >= 0
    assert np.array_equal(path.columns[60:], free.columns[60:])


def test_what_cannot_be_aligned_is_refused():
    with pytest.raises(ValueError, match="0 performance frames and 6 score frames"):
        jump_path(MatrixCosts(np.ones((0, 6))))
    with pytest.raises(ValueError, match="5 performance frames and 0 score frames"):
        jump_path(MatrixCosts(np.ones((5, 0))))
    for bars in ([2, 6], [-1, 2]):
        with pytest.raises(ValueError, match=f"bars must begin in score frames 0 to 5, got {bars[0]} to {bars[1]}"):
            jump_path(MatrixCosts(np.ones((5, 6))), bars)
    closed = Prices(*5 * [INFINITE])
    with pytest.raises(NoPath, match="no path through 5 performance and 40 score frames"):
        jump_path(MatrixCosts(np.ones((5, 40))), (), closed)  # at most four frames per frame
    with pytest.raises(NoPath, match="no path through 5 performance and 6 score frames"):
        jump_path(MatrixCosts(np.full((5, 6), INFINITE)), (), Prices(INFINITE))
