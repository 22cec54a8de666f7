"""Multiscale DTW: corridor, cost, and number of computed cells."""

import numpy as np
import pytest

from models.alignment.dtw import STEPS, FeatureCosts, dtw
from models.alignment.multiscale import corridor, multiscale


def tune(frames, seed=0):
    """Features (frames, 12) of a score, of a performance at a wandering tempo, and the score frame of each of its frames."""
    random = np.random.default_rng(seed)
    notes = np.repeat(random.random((frames // 8 + 1, 12)) ** 3, 8, axis=0)[:frames]
    tempo = np.clip(np.exp(np.convolve(random.normal(0, 1, 2 * frames), np.ones(60) / 30, "same")), 0.6, 1.6)
    at = np.cumsum(tempo)
    at = np.append(at[at < frames - 1], frames - 1).astype(int)
    return notes + 0.1 * random.random(notes.shape), notes[at] + 0.1 * random.random((len(at), 12)), at


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_multiscale_finds_the_optimum_in_its_corridor(steps):
    y, x, at = tune(1500)
    exact, path = dtw(FeatureCosts(x, y), steps), multiscale(x, y, steps=steps, radius=48, exact=1 << 14)
    assert path.cost == pytest.approx(exact.cost, rel=1e-3) and path.cost >= exact.cost - 1e-6
    assert np.abs(at[path.rows] - path.columns).mean() < 3
    weights = dict(zip(*steps, strict=True))
    moves = zip(np.diff(path.rows).tolist(), np.diff(path.columns).tolist(), strict=True)
    along = FeatureCosts(x, y).block(0, len(x))[path.rows, path.columns]
    assert path.cost == pytest.approx(along[0] + np.dot([weights[move] for move in moves], along[1:]), rel=1e-5)


def test_multiscale_of_something_short_is_exact():
    y, x, _ = tune(300)
    assert multiscale(x, y).cost == dtw(FeatureCosts(x, y)).cost
    assert multiscale(x[:1], y, exact=1).cost == pytest.approx(dtw(FeatureCosts(x[:1], y)).cost)


def test_multiscale_cuts_off_what_is_before_and_after():
    y, x, at = tune(1200)
    noise = np.random.default_rng(1).random((2, 700, 12)) * 2
    path = multiscale(np.concatenate([noise[0], x, noise[1]]), y, radius=48, open_start=True, open_end=True, exact=1 << 14)
    assert path.shape == (1400 + len(x), 1200)
    assert abs(path.rows[0] - 700) < 10 and abs(path.rows[-1] - 699 - len(x)) < 10
    inside = (path.rows >= 700) & (path.rows < 700 + len(x))
    assert np.abs(at[path.rows[inside] - 700] - path.columns[inside]).mean() < 3


def test_multiscale_computes_a_corridor_alone(monkeypatch):
    cells = []

    def counted(self, first, last, left, right, window=FeatureCosts.window):
        cells[-1] += (last - first) * (right - left)
        return window(self, first, last, left, right)

    monkeypatch.setattr(FeatureCosts, "window", counted)
    for frames in (2000, 4000, 8000):
        cells.append(0)
        y, x, _ = tune(frames)
        multiscale(x, y, radius=16, exact=1 << 14)
    assert cells[2] < 2.2 * cells[1] < 5 * cells[0]
    assert cells[2] < 8000 * 400


@pytest.mark.parametrize(("n", "m"), [(1001, 2001), (2001, 1001), (1000, 1999)])
def test_multiscale_at_the_limit_of_the_steps(n, m):
    random = np.random.default_rng(9)
    x, y = random.random((n, 3)), random.random((m, 3))
    path = multiscale(x, y, steps=STEPS["constrained"], radius=4, exact=1 << 12)
    assert path.cost >= dtw(FeatureCosts(x, y), STEPS["constrained"]).cost - 1e-6


def test_a_corridor_holds_all_within_its_radius():
    y, x, _ = tune(200)
    coarse = dtw(FeatureCosts(x[::2], y[::2]))
    n, m = 2 * coarse.shape[0], 2 * coarse.shape[1]
    first, lows, highs = corridor(coarse, n, m, 5, (False, False))
    assert first == 0 and (np.diff(lows) >= 0).all() and (np.diff(highs) >= 0).all()
    cells = np.zeros((n, m), bool)
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        cells[i, low:high] = True
    for i, j in zip(2 * coarse.rows, 2 * coarse.columns, strict=True):
        assert cells[max(0, i - 5) : i + 7, max(0, j - 5) : j + 7].all()
