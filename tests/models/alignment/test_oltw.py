"""Online time warping: tracking, causality, and backward path vs. exact DTW."""

import numpy as np
import pytest

from models.alignment.dtw import FeatureCosts, Steps, dtw
from models.alignment.oltw import OnLineWarp, first_crossings, follow, oltw

MOVES = (1, 1), (1, 0), (0, 1)


def performance(frames, seed=0, slowest=0.5, fastest=2.0):
    """Features of a score of decaying notes, of a performance at a random tempo, and the score frame of each of its frames."""
    random = np.random.default_rng(seed)
    notes = [random.random(12) ** 4 * 0.96 ** np.arange(random.integers(4, 30))[:, None] for _ in range(frames // 4)]
    score = np.concatenate(notes)[:frames]
    tempo = np.exp(np.convolve(random.normal(0, 1, 3 * frames), np.ones(80) / 20, "same")).clip(slowest, fastest)
    at = np.cumsum(tempo)
    at = np.append(at[at < frames - 1], frames - 1).astype(int)
    return score[at] + 0.2 * random.random((len(at), 12)), score + 0.2 * random.random(score.shape), at


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("seed", "slowest", "fastest"), [(0, 0.5, 2), (1, 0.5, 2), (2, 1.8, 2.2), (3, 0.45, 0.55), (4, 0.3, 3)])
def test_it_follows_a_random_tempo(metric, seed, slowest, fastest):
    x, y, at = performance(1500, seed, slowest, fastest)
    away = np.abs(follow(x, y, metric, window=200) - at)
    assert np.median(away) < 8 and np.quantile(away, 0.95) < 30
    path = oltw(x, y, metric, window=200)
    back = np.abs(at[path.rows] - path.columns)
    assert np.median(back) < 4 and np.quantile(back, 0.95) < 15


@pytest.mark.parametrize("settings", [{}, {"advance": 0.0}, {"advance": 0.5, "diagonal": 2.0}])
def test_positions_are_the_cheapest_cells_of_rows_where_the_window_holds_all(settings):
    x, y, _ = performance(90, 6)
    costs, diagonal, advance = FeatureCosts(x, y).block(0, len(x)), settings.get("diagonal", 1), settings.get("advance", 1)
    total = np.full((len(x) + 1, len(y) + 1), np.inf)
    total[1, 1] = costs[0, 0]
    for i, j in list(np.ndindex(costs.shape))[1:]:
        step = min(total[i, j] + diagonal * costs[i, j], total[i, j + 1] + costs[i, j], total[i + 1, j] + costs[i, j])
        total[i + 1, j + 1] = step
    lengths = 1 + np.arange(len(x))[:, None] + advance * np.arange(len(y))
    seen = np.arange(len(y)) < 3 * (np.arange(len(x)) + 1)[:, None]
    expected = np.where(seen, total[1:, 1:] / lengths, np.inf).argmin(1)
    np.testing.assert_array_equal(follow(x, y, window=1000, **settings), expected)


def test_later_frames_change_nothing():
    x, y, _ = performance(600)
    whole = follow(x, y, window=100)
    others = x.copy()
    others[300:] = np.random.default_rng(1).random(others[300:].shape)
    np.testing.assert_array_equal(follow(others, y, window=100)[:300], whole[:300])
    np.testing.assert_array_equal(follow(x[:300], y, window=100), whole[:300])
    assert (follow(others, y, window=100)[300:] != whole[300:]).any()


@pytest.mark.parametrize("diagonal", [1.0, 2.0])
def test_the_way_back_is_the_optimum_where_the_window_holds_it(diagonal):
    for seed in range(5):
        x, y, _ = performance(400, seed)
        path, exact = oltw(x, y, window=150, diagonal=diagonal), dtw(FeatureCosts(x, y), Steps(MOVES, (diagonal, 1.0, 1.0)))
        assert path.cost == pytest.approx(exact.cost, rel=1e-5)
        steps = set(zip(np.diff(path.rows).tolist(), np.diff(path.columns).tolist(), strict=True))
        assert steps <= set(MOVES)
        assert (path.rows[0], path.columns[0], path.rows[-1], path.columns[-1]) == (0, 0, len(x) - 1, len(y) - 1)
        costs = FeatureCosts(x, y).block(0, len(x))[path.rows, path.columns]
        weights = np.append(1, np.where((np.diff(path.rows) + np.diff(path.columns)) == 2, diagonal, 1))
        assert path.cost == pytest.approx((costs * weights).sum(), rel=1e-5)


@pytest.mark.parametrize("what", ["hold", "noise", "silence"])
@pytest.mark.parametrize(
    "settings", [{"metric": "euclidean"}, {"metric": "cosine", "advance": 0}, {"metric": "cosine", "diagonal": 2}]
)
def test_a_long_pause_does_not_lose_it(what, settings):
    x, y, at = performance(1500, 5)
    middle, frames = len(x) // 2, 250
    pause = {"hold": np.repeat(x[middle - 1 : middle], frames, 0), "silence": np.zeros((frames, 12))}
    pause["noise"] = 0.3 * np.random.default_rng(0).random((frames, 12))
    positions = follow(np.insert(x, [middle] * frames, pause[what], 0), y, window=200, **settings)
    assert np.quantile(np.abs(positions[middle + frames + 60 :] - at[middle + 60 :]), 0.95) < 40


def test_a_stream_is_the_whole_array():
    x, y, _ = performance(200)
    warp = OnLineWarp(y, window=50)
    assert [warp.step(frame) for frame in x.tolist()] == follow(x, y, window=50).tolist()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 50), (50, 1), (3, 700), (700, 3)])
@pytest.mark.parametrize("window", [2, 3, 40])
def test_shapes(n, m, window):
    random = np.random.default_rng(0)
    x, y = random.random((n, 4)), random.random((m, 4))
    path = oltw(x, y, window=window)
    assert path.shape == (n, m) and (path.rows[-1], path.columns[-1]) == (n - 1, m - 1)
    assert (np.diff(path.rows) + np.diff(path.columns) > 0).all()
    positions = follow(x, y, window=window)
    assert positions.shape == (n,) and positions.min() >= 0 and positions.max() < m


def test_a_performance_that_goes_on_after_the_end_stays_there():
    x, y, _ = performance(300)
    positions = follow(np.concatenate([x, np.repeat(x[-1:], 80, 0)]), y, window=100)
    assert (positions[-40:] > 290).all()


def test_first_crossings():
    np.testing.assert_array_equal(first_crossings(np.array([0, 2, 1, 2, 3]), 6), [0, 1, 1, 4, np.nan, np.nan])


def test_what_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match="got 1 and"):
        OnLineWarp(np.ones((3, 2)), window=1)
    warp = OnLineWarp(np.ones((3, 2)))
    with pytest.raises(ValueError, match="NaN"):
        warp.step(np.array([1, np.nan]))
    with pytest.raises(ValueError, match="3 dimensions, score features 2"):
        warp.step(np.ones(3))
    with pytest.raises(ValueError, match="score features must have shape"):
        follow(np.ones((3, 2)), np.ones((0, 2)))
