"""Time maps and confidence: values by hand, interpolation, extrapolation, deviating performances."""

import numpy as np
import pytest

from models.alignment.dtw import FeatureCosts, MatrixCosts, Path, dtw
from models.alignment.oltw import first_crossings
from models.alignment.time_map import FLOOR, TimeMap, confidence, matched

PATH = Path(np.array([0, 1, 2, 2, 3, 7, 9]), np.array([0, 0, 0, 1, 2, 2, 4]), 0.0, (10, 5))


@pytest.mark.parametrize(("how", "rows"), [("mean", [1, 2, 5, 9]), ("median", [1, 2, 5, 9]), ("first", [0, 2, 3, 9])])
def test_frames_of_a_score_frame(how, rows):
    columns, found = matched(PATH, how)
    assert columns.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(found, rows)


def test_mean_and_median_differ_by_numpy():
    random = np.random.default_rng(0)
    path = dtw(MatrixCosts(random.random((80, 30))))
    for how, way in (("mean", np.mean), ("median", np.median), ("first", np.min)):
        expected = [way(path.rows[path.columns == column]) for column in range(30)]
        np.testing.assert_allclose(matched(path, how)[1], expected)


def test_between_frames_it_is_linear_and_goes_on_beyond_the_ends():
    times = TimeMap.from_path(PATH, hop_s=0.5)
    np.testing.assert_allclose(times([0, 0.25, 0.5, 1, 1.5, 2]), [0.5, 0.75, 1, 2.5, 3.5, 4.5])
    slope = (4.5 - 0.5) / 2  # all of it is nearer than the trend
    np.testing.assert_allclose(times(np.array([[-1.0], [3.0]])), [[0.5 - slope], [4.5 + slope]])
    assert isinstance(times(1.0), float) and times(1.0) == 2.5
    np.testing.assert_allclose(times.inverse([0.5, 1.0, 2.5, 4.5, 6.5, -1.5]), [0, 0.5, 1, 2, 3, -1])
    assert isinstance(times.inverse(2.5), float)


def test_the_tempo_beyond_an_end_is_that_of_its_last_seconds_and_bounded():
    score = np.arange(21.0)
    performance = np.concatenate([2 * np.arange(11.0), 20 + 0.5 * np.arange(1, 11)])
    times = TimeMap(score, performance)
    assert times(-1.0) == -2 and times(22.0) == 26
    held = TimeMap(score, np.concatenate([np.zeros(10), 100 * np.arange(1, 12)]))
    assert held(-1.0) == -0.25 and held(21.0) == 1100 + 4
    alone = TimeMap(np.array([1.0]), np.array([5.0]))
    assert alone(3.0) == 7 and alone.inverse(7.0) == 3
    apart = TimeMap(np.array([0.0, 60]), np.array([0.0, 90]))
    assert apart(62.0) == 93


def test_it_never_falls_either_way():
    random = np.random.default_rng(1)
    for _ in range(20):
        path = dtw(MatrixCosts(np.round(random.random(tuple(random.integers(1, 60, 2))), 1)))
        for how in ("mean", "median", "first"):
            times, moments = TimeMap.from_path(path, 0.02, how), np.linspace(-1, 3, 500)
            assert (np.diff(times(moments)) >= 0).all() and (np.diff(times.inverse(moments)) >= 0).all()
            strict = times.inverse(times(moments)) - moments
            level = np.diff(times.performance_s, prepend=-1, append=99).min() == 0
            assert level or np.abs(strict).max() < 1e-9


def test_crossings_of_an_on_line_run():
    times = TimeMap.from_crossings(first_crossings(np.array([0, 2, 1, 2, 3]), 6), 1.0)
    assert times(np.arange(4.0)).tolist() == [0, 1, 1, 4]


def test_what_is_no_map_is_refused():
    with pytest.raises(ValueError, match="must not decrease"):
        TimeMap(np.arange(3.0), np.array([0, 2.0, 1]))
    with pytest.raises(ValueError, match="must increase"):
        TimeMap(np.array([0, 1.0, 1]), np.arange(3.0))
    with pytest.raises(ValueError, match="finite"):
        TimeMap(np.arange(2.0), np.array([0, np.nan]))
    with pytest.raises(ValueError, match="at least one"):
        TimeMap(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="'mode', expected one of mean, median, first"):
        TimeMap.from_path(PATH, 0.5, "mode")
    back = Path(np.array([0, 1]), np.array([3, 0]), 0.0, (2, 4))
    with pytest.raises(ValueError, match="goes back in the score"):
        TimeMap.from_path(back, 0.5)


def plain_confidence(costs, path, apart, reach, spans):
    """The definition, score frame by score frame."""
    columns, rows = matched(path)
    n, m = costs.shape
    result = np.zeros(m)
    at = {j: round(float(np.interp(j, columns, rows))) for j in range(columns[0], columns[-1] + 1)}
    for j in at:
        contrasts = []
        for span in spans:
            near = [k for k in range(j - span // 2, j + span // 2 + 1) if k in at]
            least = []
            for s in (s for s in range(-reach, reach + 1) if abs(s) >= apart):
                inside = [k for k in near if 0 <= at[k] + s < n]
                if 2 * len(inside) >= len(near):
                    least.append(1 - sum(costs[at[k], k] for k in inside) / sum(costs[at[k] + s, k] for k in inside))
            contrasts.append(np.clip(min(least, default=0), 0, 1))
        result[j] = np.prod([FLOOR + (1 - FLOOR) * contrast for contrast in contrasts]) ** (1 / len(spans))
    return result


@pytest.mark.parametrize("cells", [1, 200, 1 << 18])
def test_confidence_is_its_definition_in_blocks_of_any_size(cells, monkeypatch):
    monkeypatch.setattr("models.alignment.time_map.CELLS", cells)
    monkeypatch.setattr("models.alignment.time_map.FRAMES", min(cells, 1 << 13))
    random = np.random.default_rng(2)
    for n, m in ((60, 50), (20, 70), (90, 15), (3, 4), (1, 1)):
        costs = random.random((n, m)).astype(np.float32)
        costs[np.arange(n), np.linspace(0, m - 1, n).astype(int)] *= 0.2
        path = dtw(MatrixCosts(costs))
        expected = plain_confidence(costs, path, 3, 9, (3, 7))
        np.testing.assert_allclose(confidence(MatrixCosts(costs), path, 3, 9, (3, 7)), expected, atol=1e-5)


def notes(frames, random):
    """Notes of 8 frames that decay."""
    return np.repeat(random.random((frames // 8, 12)) ** 3, 8, axis=0) * np.tile(np.linspace(1, 0.3, 8), frames // 8)[:, None]


def test_confidence_is_low_where_the_performance_is_not_the_score():
    random = np.random.default_rng(3)
    y = notes(800, random)
    x = np.repeat(y, 2, axis=0) + 0.05 * random.random((1600, 12))
    x[600:800] = notes(200, random)  # something else is played: score frames 300 to 400
    y[600:680] = y[600]  # a chord is held
    x[1200:1360] = y[600] + 0.1 * random.random((160, 12))
    costs = FeatureCosts(x, y)
    sure = confidence(costs, dtw(costs))
    assert sure.shape == (800,) and sure.min() >= FLOOR and sure.max() <= 1
    onsets = np.arange(0, 800, 8)
    fine = sure[onsets[((onsets >= 24) & (onsets < 280)) | ((onsets >= 440) & (onsets < 580)) | (onsets >= 700)]]
    assert np.quantile(fine, 0.1) > 0.3 and np.median(fine) > 0.4
    assert np.quantile(sure[320:380], 0.9) < 0.2
    assert sure[625:655].max() < 0.1
    assert np.median(sure[onsets[60:70] + 4]) < 0.85 * np.median(fine)  # inside a note less tells where the path is


def test_confidence_of_what_a_path_leaves_out_is_none():
    random = np.random.default_rng(4)
    y = notes(160, random)
    costs = FeatureCosts(y, y)
    part = Path(np.arange(40, 120), np.arange(40, 120), 0.0, (160, 160))
    sure = confidence(costs, part)
    assert not sure[:40].any() and not sure[120:].any() and sure[48:112:8].min() > 0.9


def test_confidence_does_not_fall_at_the_ends_of_a_recording():
    """Shifted paths leave the recording there: those that stay inside are compared."""
    random = np.random.default_rng(5)
    y = notes(480, random)
    x = y + 0.05 * random.random(y.shape)
    costs = FeatureCosts(x, y)
    sure = confidence(costs, dtw(costs))
    onsets = np.arange(8, 480, 8)
    inner = np.median(sure[onsets])
    assert inner > 0.5 and sure[onsets[:4]].min() > 0.6 * inner and sure[onsets[-4:]].min() > 0.6 * inner
