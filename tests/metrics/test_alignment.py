"""Scores of alignments: shares within tolerances, Thickstun's measures, intervals, on one process and two."""

import math
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed

from tasks.alignment.metrics import (
    AlignmentRows,
    AlignmentScores,
    PairDistances,
    TimeErrors,
    equal_error,
    intervals,
    lost,
    summary,
    time_errors,
)
from tests.helpers import forkserver

NOTHING = TimeErrors(0.0, 0.0)


def truth_of(seed: int, count: int = 40) -> np.ndarray:
    """(events, 2), both rising."""
    return np.cumsum(np.random.default_rng(seed).uniform(0.1, 0.6, (count, 2)), 0)


def scored(*errors, order=None) -> AlignmentScores:
    """The metric over recordings with these errors of their events, s."""
    scores = AlignmentScores()
    for one in range(len(errors)) if order is None else order:
        truth = truth_of(one, len(errors[one]))
        scores.update(one, truth, truth[:, 1] + errors[one], TimeErrors(0.01 * (one + 1), 0.02 * (one + 1)))
    return scores


def shares(found: dict[str, float]) -> list[float]:
    return [found[f"within_{ms}"] for ms in (25, 50, 100, 200)]


def test_the_true_times_score_100_percent():
    found = scored(np.zeros(40)).compute()
    assert shares(found) == [1.0] * 4
    assert {found[name] for name in ("mean_ms", "median_ms", "p95_ms", "bias_ms", "lost")} == {0.0}
    assert (found["n_events"], found["n_recordings"]) == (40, 1)


@pytest.mark.parametrize("shift", [0.03, -0.03])
def test_a_shift_of_30_ms(shift):
    found = scored(np.full(40, shift)).compute()
    assert shares(found) == [0.0, 1.0, 1.0, 1.0]
    assert found["bias_ms"] == pytest.approx(1000 * shift), "late is positive"
    assert [found[name] for name in ("mean_ms", "median_ms", "p95_ms")] == pytest.approx([30] * 3)


def test_a_tolerance_is_not_within_itself():
    assert shares(summary(AlignmentRows(*np.zeros((2, 3)), np.array([0.025, 0.0249, -0.2]), *np.zeros((3, 1))))) == [
        1 / 3,
        2 / 3,
        2 / 3,
        2 / 3,
    ]


def test_percentiles_are_of_the_absolute_error():
    random = np.random.default_rng(0)
    errors = [random.normal(0, 0.1, 31), random.normal(0.05, 0.02, 18)]
    found, far = scored(*errors).compute(), 1000 * np.abs(np.concatenate(errors))
    assert found["p95_ms"] == pytest.approx(np.percentile(far, 95))
    assert found["median_ms"] == pytest.approx(np.median(far)) and found["mean_ms"] == pytest.approx(far.mean())
    assert found["bias_ms"] == pytest.approx(1000 * np.concatenate(errors).mean())
    assert shares(found) == pytest.approx([(far < ms).mean() for ms in (25, 50, 100, 200)])


def test_a_recording_is_lost_when_half_of_it_is_half_a_second_off():
    off = np.where(np.arange(11) < 6, 0.6, 0.0)
    assert lost(off) and lost(-off) and not lost(off[1:])
    assert not lost(np.full(5, 0.5)) and lost(np.full(5, 0.501))
    assert scored(np.zeros(11), off, np.zeros(5), np.zeros(2)).compute()["lost"] == 0.25


def test_events_count_alike_and_recordings_for_thickstuns_measures():
    found = scored(np.zeros(30), np.full(10, 0.3)).compute()
    assert found["within_200"] == 0.75, "over events, not a mean of recordings"
    assert (found["time_err_ms"], found["time_dev_ms"]) == (pytest.approx(15), pytest.approx(30))


def test_rows_tell_each_recording_in_order():
    errors = [np.arange(3) / 10, np.arange(5) / 100]
    rows = scored(*errors, order=(1, 0)).rows()
    assert rows.recording.tolist() == [0] * 3 + [1] * 5 and rows.recordings.tolist() == [0, 1]
    for one in (0, 1):
        np.testing.assert_allclose(rows.errors_of(one), errors[one], atol=1e-12)
        np.testing.assert_allclose(rows.score_s[rows.recording == one], truth_of(one, len(errors[one]))[:, 0])
    np.testing.assert_allclose(rows.time_err, [0.01, 0.02])


def test_a_recording_that_came_twice_counts_once():
    errors = [np.full(7, 0.01), np.full(3, 0.4)]
    assert scored(*errors, order=(0, 1, 1, 0, 1)).compute() == scored(*errors).compute()


def test_nothing_scored_is_no_number():
    found = AlignmentScores().compute()
    assert found.keys() == scored(np.zeros(2)).compute().keys()
    assert (found["n_events"], found["n_recordings"]) == (0, 0) and math.isnan(found["within_50"])


@pytest.mark.parametrize("estimate", [np.zeros(3), np.array([0.0, np.nan]), np.array([0.0, np.inf])])
def test_an_estimate_that_is_no_time_is_refused(estimate):
    with pytest.raises(ValueError, match="a time for each of 2 events of recording 4"):
        AlignmentScores().update(4, truth_of(0, 2), estimate, NOTHING)


def two_ranks(rank: int, folder: str, shards: list[list[list[int]]]) -> None:
    """One of two processes: its share of the recordings and of the pairs, then what is gathered."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        for case, orders in enumerate(shards):
            pairs = PairDistances()
            for one in orders[rank]:
                pairs.update(*distances(one))
            scores = scored(*ERRORS, order=orders[rank])
            rows = [torch.from_numpy(column) for column in scores.rows()]
            torch.save([scores.compute(), rows, pairs.threshold()], f"{folder}/{case}-{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


ERRORS = [np.random.default_rng(k).normal(0.01, 0.1, 6 + k) for k in range(5)]


def distances(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    label = (random.random(20) < 0.5).astype(np.float32)
    return torch.from_numpy(random.normal(0.5 + label, 0.4).astype(np.float32)), torch.from_numpy(label)


def test_two_processes_equal_one(tmp_path):
    """Recordings shared, some on both, all on one of them."""
    shards = [[[0, 2, 4], [1, 3]], [[0, 2, 4], [1, 3, 0]], [[0, 1, 2, 3, 4], []]]
    other = forkserver.call(two_ranks, 1, str(tmp_path), shards)
    two_ranks(0, str(tmp_path), shards)
    assert other.wait(60) == 0
    whole = scored(*ERRORS)
    for name in sorted(tmp_path.glob("*-*.pt")):
        found, rows, threshold = torch.load(name, weights_only=False)
        for own, column in zip(rows, whole.rows(), strict=True):
            np.testing.assert_array_equal(own.numpy(), column)
        assert found == whole.compute(), name
        if name.name[0] != "1":
            every = [torch.cat(side).numpy() for side in zip(*map(distances, range(5)), strict=True)]
            assert threshold == pytest.approx(equal_error(*every))


def plain_time_errors(truth: np.ndarray, knots: np.ndarray, estimate: np.ndarray, points: int = 400_001) -> TimeErrors:
    """The integrals by the midpoint rule on a fine grid."""
    edges = np.linspace(truth[0, 0], truth[-1, 0], points)
    at = (edges[1:] + edges[:-1]) / 2
    error = np.interp(at, knots, estimate) - np.interp(at, truth[:, 0], truth[:, 1])
    return TimeErrors(float(np.abs(error).mean()), float(np.sqrt((error**2).mean())))


def test_time_errors_by_hand():
    truth = np.array([[0.0, 0.0], [2.0, 2.0]])
    late = time_errors(truth, np.array([0.0, 2.0]), np.array([0.1, 2.1]))
    assert late == pytest.approx((0.1, 0.1))
    growing = time_errors(truth, np.array([0.0, 2.0]), np.array([0.0, 2.6]))
    assert growing == pytest.approx((0.3, 0.6 / math.sqrt(3)))
    # From 0.1 s early to 0.3 s late: triangles over a fourth and three fourths of the time.
    crossing = time_errors(truth, np.array([0.0, 2.0]), np.array([-0.1, 2.3]))
    assert crossing == pytest.approx((0.25 * 0.05 + 0.75 * 0.15, math.sqrt((0.01 - 0.03 + 0.09) / 3)))


def test_time_errors_are_weighted_by_time_not_by_events():
    truth = np.array([[0.0, 0.0], [0.1, 0.1], [0.2, 0.2], [10.0, 10.0]])
    found = time_errors(truth, np.array([0.0, 0.2, 0.200001, 10.0]), np.array([1.0, 1.2, 0.200001, 10.0]))
    assert found.err == pytest.approx(0.02, rel=1e-3) and found.dev == pytest.approx(math.sqrt(0.02), rel=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_time_errors_equal_a_fine_integral(seed):
    random = np.random.default_rng(seed)
    truth = truth_of(seed, 15) - [1.0, 0.0]
    knots = np.sort(random.uniform(truth[0, 0] - 1, truth[-1, 0] + 1, 23))
    estimate = np.interp(knots, truth[:, 0], truth[:, 1]) + random.normal(0, 0.2, 23)
    assert time_errors(truth, knots, estimate) == pytest.approx(plain_time_errors(truth, knots, estimate), rel=1e-4)


def test_a_score_of_one_event_has_the_error_there():
    found = time_errors(np.array([[1.0, 5.0]]), np.array([0.0, 2.0]), np.array([4.0, 5.0]))
    assert found == pytest.approx((0.5, 0.5))


def test_intervals_hold_the_estimate_and_are_wider_where_pieces_are_drawn():
    """Recordings of a piece are alike: drawn by piece the share is less sure than drawn by recording."""
    errors = [np.full(20, 0.03 if piece % 2 else 0.01) for piece in range(8) for _ in range(5)]
    rows = scored(*errors).rows()
    by_piece = intervals(rows, [str(one // 5) for one in range(40)])
    by_recording = intervals(rows, [str(one) for one in range(40)])
    found = summary(rows)
    for edges in (by_piece, by_recording):
        assert all(low <= found[name] <= high for name, (low, high) in edges.items())
        assert edges["within_50"] == edges["within_200"] == (1.0, 1.0)
    wide, narrow = (edges["within_25"][1] - edges["within_25"][0] for edges in (by_piece, by_recording))
    # The share among n independent ones, half of them right: its deviation is sqrt(1 / 4n), the interval 3.92 of them.
    assert wide == pytest.approx(3.92 * math.sqrt(1 / 32), abs=0.13)
    assert narrow == pytest.approx(3.92 * math.sqrt(1 / 160), abs=0.05)


def test_recordings_of_one_piece_are_drawn_one_by_one():
    errors = [np.full(10, 0.03 if one % 2 else 0.01) for one in range(6)]
    low, high = intervals(scored(*errors).rows(), ["the same"] * 6)["within_25"]
    assert low < 0.5 < high
    assert intervals(scored(*errors).rows(), ["the same"] * 6, seed=0)["within_25"] == (low, high)
    assert intervals(scored(errors[0]).rows(), ["alone"])["within_25"] == (1.0, 1.0)


def test_longer_recordings_weigh_more():
    errors = [np.zeros(90), np.full(10, 0.3)]
    edges = intervals(scored(*errors).rows(), ["a", "b"])["within_200"]
    assert edges == (0.0, 1.0)


@pytest.mark.parametrize(
    ("matches", "others", "threshold", "error"),
    [
        ([0.1, 0.2, 0.3], [0.7, 0.8, 0.9], 0.3, 0.0),
        ([0.1, 0.2, 0.3, 0.8], [0.25, 0.7, 0.8, 0.9], 0.3, 0.25),
        ([0.5, 0.5], [0.5, 0.5], 0.5, 0.5),
        ([0.9, 0.8], [0.1, 0.2], None, 1.0),
        ([0.1], [0.2, 0.3, 0.4], 0.1, 0.0),
    ],
)
def test_the_equal_error_threshold(matches, others, threshold, error):
    distance, label = np.array(matches + others), np.array([0] * len(matches) + [1] * len(others))
    found = equal_error(distance, label)
    assert found[1] == pytest.approx(error)
    assert threshold is None or found[0] == pytest.approx(threshold)
    assert equal_error(distance[::-1], label[::-1]) == found


def test_beyond_the_threshold_as_many_matches_lie_as_others_within():
    distance, label = (torch.cat(side) for side in zip(*map(distances, range(40)), strict=True))
    metric = PairDistances()
    metric.update(distance.view(20, 40), label.view(20, 40))
    threshold, error = metric.threshold()
    missed = (distance[label == 0] > threshold).float().mean()
    false = (distance[label == 1] <= threshold).float().mean()
    assert abs(missed - false) <= 1 / min((label == 0).sum(), (label == 1).sum())
    assert error == pytest.approx(float(missed + false) / 2)
    assert metric.compute().tolist() == pytest.approx([threshold, error])


@pytest.mark.parametrize("label", [[], [0.0, 0.0], [1.0]])
def test_pairs_of_one_kind_have_no_threshold(label):
    metric = PairDistances()
    if label:
        metric.update(torch.ones(len(label)), torch.tensor(label))
    assert all(map(math.isnan, metric.threshold()))
