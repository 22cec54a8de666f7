"""Search of scores in recordings: tempo, key and timbre, limits, passages of a path and their smooth maps."""

from types import SimpleNamespace

import numpy as np
import pytest

from datamodules.alignment.sounds import synthesize
from models.alignment.costs import MatrixCosts
from models.alignment.dtw import NoPath
from models.alignment.jumps import AFTER, BEFORE, JumpPath
from models.alignment.search import (
    LEAST_S,
    Limited,
    Limits,
    ScoreSearch,
    passages_of,
    smoothed,
)
from tests.helpers.random_scores import changed, random_score

SCORE = random_score(6)
SEARCH = ScoreSearch()
RATE = SEARCH.outline.rate


@pytest.fixture(scope="module")
def recording():
    return synthesize(SCORE.notes, RATE)


def test_a_whole_recording_is_one_passage(recording):
    result = SEARCH(recording, [SCORE])
    (passage,) = result.passages
    assert (passage.first, passage.last, passage.joined) == (-np.inf, np.inf, False)
    assert result.related and (result.way, result.semitones) == (0, 0)
    assert result.stretch == pytest.approx(1.0, abs=0.1)
    assert np.abs(np.interp(SCORE.beats, passage.score_s, passage.recording_s) - SCORE.beats).max() < 0.4


def test_an_excerpt_is_one_passage(recording):
    result = SEARCH(recording[round(3.0 * RATE) : round(9.0 * RATE)], [SCORE])
    (passage,) = result.passages
    assert (passage.first, passage.last) == pytest.approx((3.0, 9.0), abs=0.3) and result.related


def test_the_unfolding_that_was_played_is_chosen(recording):
    ways = [changed(random_score(9)), SCORE]
    assert SEARCH(recording, ways).way == 1  # the first six bars of the other unfolding are the same, the rest is not played
    assert SEARCH(recording, ways[::-1]).way == 0


def test_a_wrong_score_is_not_related_and_aligned_as_a_whole(recording):
    result = SEARCH(recording, [random_score(6, seed=6)])
    (passage,) = result.passages
    assert not result.related and (passage.first, passage.last) == (-np.inf, np.inf)
    assert passage.recording_s[-1] == pytest.approx(len(recording) / RATE, abs=0.2)


def test_limits_that_contradict_one_another_leave_no_path(recording):
    anchors = ((3.0, (8.0,)), (8.0, (2.0,)))
    closed = ScoreSearch(open_ends=False, jumps=False, transposition=0)
    with pytest.raises(NoPath):
        closed(recording, [SCORE], limits=[Limits(anchors=anchors)])
    path = closed(recording, [SCORE], limits=[Limits(anchors=anchors[:1])]).passages[0]
    assert np.interp(3.0, path.recording_s, path.score_s) > 5


def test_a_long_outline_is_averaged(recording, monkeypatch):
    fine = SEARCH(recording, [SCORE])
    monkeypatch.setattr("models.alignment.search.CELLS", 3000)
    coarse = SEARCH(recording, [SCORE])
    assert coarse.frame_s >= 4 * fine.frame_s and np.prod(coarse.distances.shape) <= 3000
    times = [np.interp(SCORE.beats, result.passages[0].score_s, result.passages[0].recording_s) for result in (fine, coarse)]
    assert np.abs(times[0] - times[1]).max() < 2 * coarse.frame_s


# Limits


def test_limited_costs_are_infinite_outside_the_limits():
    costs, per_score_s, per_s = np.random.default_rng(0).random((20, 30)).astype(np.float32), 3.0, 2.0
    anchors = ((4.0, (2.0, 8.0)), (99.0, (9.0,)))  # s; the last one is beyond the end
    limited = Limited(MatrixCosts(costs), Limits(2.0, anchors), per_score_s, per_s)
    expected = costs.copy()
    for row in range(20):
        for column in range(30):
            near = abs(column - row * 29 / 19) <= 2.0 * per_score_s
            near &= row != 8 or min(abs(column - 6), abs(column - 24)) <= 1
            near &= row != 19 or abs(column - 27) <= 1
            expected[row, column] = costs[row, column] if near else np.inf
    np.testing.assert_array_equal(limited.block(0, 20), expected)
    np.testing.assert_array_equal(limited.window(7, 15, 4, 25), expected[7:15, 4:25])
    assert limited.shape == (20, 30) and sorted(limited.anchored) == [8, 19]


def test_without_limits_costs_are_unchanged():
    costs = np.random.default_rng(1).random((5, 6)).astype(np.float32)
    np.testing.assert_array_equal(Limited(MatrixCosts(costs), Limits(), 1.0, 1.0).block(0, 5), costs)


def test_a_small_deviation_still_allows_a_path():
    costs = Limited(MatrixCosts(np.zeros((10, 40), np.float32)), Limits(1e-3), 1.0, 1.0)
    assert (np.isfinite(costs.block(0, 10)).sum(1) >= 2).all()


# Passages

FRAME_S = 0.1


def passages(columns, starts, bars=(0.0, 4.0, 8.0, 12.0), onsets=(0.0, 15.9), stretch=1.0):
    """Passages of a path of frames of 0.1 s through a score of four bars of 4 s."""
    heads = np.isin(np.arange(len(columns)), starts)
    notes = SimpleNamespace(onset=np.array(onsets), offset=np.array(onsets) + 0.5)
    score = SimpleNamespace(bars=np.array(bars), beats=np.arange(16.0), notes=notes)
    return passages_of(JumpPath(np.asarray(columns), heads, 0.0, 0.0), score, FRAME_S, stretch)


def test_a_passage_from_beginning_to_end():
    (passage,) = passages(np.arange(160), [0])
    assert (passage.first, passage.last, passage.joined) == (-np.inf, np.inf, False)
    np.testing.assert_allclose(passage.score_s, passage.recording_s)
    assert (passage.recording_s[0], passage.recording_s[-1]) == pytest.approx((0.05, 15.95))


def test_a_jump_joins_passages_at_bars():
    columns = np.concatenate([np.arange(79), np.arange(121, 160)])  # a frame early and a frame late
    before, after = passages(columns, [0, 79])
    assert (before.first, before.last) == (-np.inf, 8.0)
    assert (after.first, after.last, after.joined) == (12.0, np.inf, True)


def test_the_ends_of_an_excerpt_are_its_frames():
    columns = np.concatenate([np.full(9, BEFORE), np.arange(45, 100), np.full(20, AFTER), np.arange(40, 70)])
    first, second = passages(columns, [9, 84], onsets=(0.0, 30.0), stretch=0.5)
    assert (first.first, first.last, first.joined) == pytest.approx((9.0, 20.0, False))
    assert (second.first, second.last, second.joined) == pytest.approx((8.0, 14.0, False))
    assert first.recording_s[0] == pytest.approx(0.95) and second.recording_s[0] == pytest.approx(8.45)


def test_coincidences_are_no_passages():
    brief = int(LEAST_S / FRAME_S) - 2
    columns = np.concatenate([np.arange(80), np.arange(20, 20 + brief), np.arange(80, 160)])
    first, second = passages(columns, [0, 80, 80 + brief])
    assert second.joined and first.last == pytest.approx(8.0) and second.first == pytest.approx(8.0)
    (short,) = passages(np.arange(brief), [0])  # all there is
    assert short.first == -np.inf


def test_no_passage():
    assert passages(np.full(30, BEFORE), []) == ()


@pytest.mark.parametrize("frames", [2, 3, 40, 300])
@pytest.mark.parametrize("stretch", [0.3, 1.0, 5.0])
def test_smoothed_maps_increase_and_keep_their_ends(frames, stretch):
    random = np.random.default_rng(3)
    columns = np.cumsum(random.integers(0, 3, frames))
    rows = 7 + np.arange(frames)
    recording_s, score_s = smoothed(rows, columns, FRAME_S, stretch, np.arange(0, 20, 0.7))
    assert len(recording_s) == len(score_s) >= 2
    assert (np.diff(recording_s) > 0).all() and (np.diff(score_s) > 0).all()
    ends = np.array([rows[0], rows[-1]]), np.array([columns[0], columns[-1]])
    np.testing.assert_allclose(recording_s[[0, -1]], (ends[0] + 0.5) * FRAME_S)
    np.testing.assert_allclose(score_s[[0, -1]], (ends[1] + 0.5) * FRAME_S / stretch, atol=2e-3)
    assert (
        np.abs(np.interp(recording_s, (rows + 0.5) * FRAME_S, (columns + 0.5) * FRAME_S / stretch) - score_s).max()
        < 0.6 / stretch
    )


def test_smoothed_maps_do_not_drift():
    rows = np.arange(40_000)  # more than an hour
    recording_s, score_s = smoothed(rows, rows, FRAME_S, 1.0, np.arange(4000.0))
    np.testing.assert_allclose(score_s, recording_s, atol=1e-6)


def test_tempo_changes_of_the_score_stay_sharp():
    """A recording at one tempo of a score whose second half is written twice as slow."""
    beats = np.concatenate([np.arange(20.0), 20 + 2 * np.arange(20.0)])
    rows = np.arange(400)
    position = np.interp((rows + 0.5) * FRAME_S, np.arange(40.0), beats)
    recording_s, score_s = smoothed(rows, (position / FRAME_S).astype(int), FRAME_S, 1.0, beats)
    inside = (recording_s > 1) & (recording_s < 38)
    np.testing.assert_allclose(score_s[inside], np.interp(recording_s[inside], np.arange(40.0), beats), atol=0.1)
    assert np.abs(recording_s - 20.0).min() < 0.1  # a knot at the change


def test_a_held_column_still_makes_an_increasing_map():
    recording_s, score_s = smoothed(np.arange(50), np.full(50, 12), FRAME_S, 1.0, np.zeros(0))
    assert (np.diff(score_s) > 0).all() and np.ptp(score_s) < 0.01 and np.ptp(recording_s) == pytest.approx(4.9)
