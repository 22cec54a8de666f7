"""Scores per track: gathered over ranks, in museval's JSON, in other processes, for any system's folder; baselines."""

import os
from functools import partial

import numpy as np
import pytest
import torch

from models.blocks.stft import STFT
from models.separation.wiener import wiener_windows
from tasks.metrics import bss
from tasks.separation import oracles
from tasks.separation.metrics import FrameSDR, SeparationScores
from tasks.separation.track_evaluator import Scoring, TrackEvaluator
from tests.helpers.stems import STEMS, stem

RATE = 2000
SOURCES = ("drums", "vocals")


def sounds(seconds=3.5, seed=0, sources=2):
    random = np.random.default_rng(seed)
    reference = 0.1 * random.standard_normal((sources, round(seconds * RATE), 2)).astype(np.float32)
    return reference, (0.9 * reference + 0.03 * random.standard_normal(reference.shape)).astype(np.float32)


def together(ranks):
    """Let metrics gather from each other as if each lived on a rank of its own."""
    for mine in ranks:
        columns = iter(mine.columns.items())

        def gather(rows, group, columns=columns):
            name, kind = next(columns)
            assert rows.dtype == kind  # else NCCL and gloo would mix bytes up
            return [torch.as_tensor(other.held(name)).to(kind) for other in ranks]

        mine.dist_sync_fn, mine.distributed_available_fn = gather, lambda: True
    return ranks


def filled(tracks, medians, usdr):
    scores = SeparationScores(SOURCES)
    for track in tracks:
        scores.update(track, medians[track], usdr[track])
    return scores


def drawn(tracks=7):
    random = np.random.default_rng(1)
    medians, usdr = 5 * random.standard_normal((tracks, 2, 4)), random.standard_normal((tracks, 2))
    medians[3, 1], usdr[3, 1] = np.nan, np.nan
    return medians, usdr


def test_scores_are_medians_of_medians_and_means_of_usdr():
    medians, usdr = drawn()
    found = filled([4, 1, 0, 3, 2, 5, 6], medians, usdr).compute()
    assert found["sdr_drums"] == np.median(medians[:, 0, 0])
    assert found["sar_vocals"] == np.nanmedian(medians[:, 1, 3])
    assert found["sdr"] == pytest.approx((found["sdr_drums"] + found["sdr_vocals"]) / 2)
    assert found["usdr_vocals"] == pytest.approx(np.nanmean(usdr[:, 1]))
    assert (found["n_tracks"], found["n_unscored"]) == (7, 1)


@pytest.mark.parametrize("shards", [([0, 1, 2, 3], [4, 5, 6]), ([6, 4, 2, 0], [0, 1, 3, 5]), ([], range(7)), (range(7), [])])
def test_scores_are_the_same_for_uneven_ranks(shards):
    medians, usdr = drawn()
    whole = filled(range(7), medians, usdr)
    ranks = together([filled(shard, medians, usdr) for shard in shards])
    for rank, shard in zip(ranks, shards, strict=True):
        assert rank.compute() == whole.compute()
        np.testing.assert_array_equal(rank.track[0] if len(rank.track) == 1 else rank.held("track"), list(shard)[:7])


def test_rows_of_all_ranks_in_order_of_the_track():
    medians, usdr = drawn()
    ranks = together([filled(shard, medians, usdr) for shard in ([5, 1, 3], [0, 2, 4, 6, 5])])
    rows = ranks[1].scores()
    np.testing.assert_array_equal(rows.track, np.arange(7))
    np.testing.assert_array_equal(rows.medians, medians)
    np.testing.assert_array_equal(rows.usdr, usdr)


def test_scores_without_filters_do_not_claim_to_have_them():
    medians, usdr = drawn()
    medians[..., 1:] = np.nan
    found = filled(range(7), medians, usdr).compute()
    assert not any(name.startswith(("isr", "sir", "sar")) for name in found)
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        SeparationScores(SOURCES).update(0, medians[0].T, usdr[0])


def pieces(sound, seconds=1.0):
    """(pieces, sources, channels, samples) of (sources, samples, channels)."""
    size = int(seconds * RATE)
    return torch.from_numpy(np.stack([sound[:, i : i + size].swapaxes(1, 2) for i in range(0, sound.shape[1] - size + 1, size)]))


def test_frame_sdr_equals_the_evaluator_on_whole_tracks():
    metric, expected = FrameSDR(2, RATE), []
    for track in range(3):
        reference, estimate = sounds(4.0, track)
        reference[1, RATE : 2 * RATE] = 0  # this frame counts for no source
        expected.append(bss.evaluate(reference, estimate, RATE).medians()[:, 0])
        metric.update(pieces(estimate, 2.0), pieces(reference, 2.0), [f"track {track}"] * 2, torch.tensor([0.0, 2.0]))
    found = metric.compute(SOURCES)
    np.testing.assert_allclose([found["sdr_drums"], found["sdr_vocals"]], np.median(expected, axis=0), atol=2e-5)
    assert found["sdr"] == pytest.approx(np.mean([found["sdr_drums"], found["sdr_vocals"]]))


def test_a_silent_estimate_has_0_db_and_takes_no_frame_away():
    reference, estimate = sounds(3.0)
    estimate[1] = 0
    metric = FrameSDR(2, RATE)
    metric.update(pieces(estimate, 3.0), pieces(reference, 3.0), ["a"])
    found = metric.compute()
    assert found["sdr_1"] == 0
    assert found["sdr_0"] > 5


def test_frame_sdr_counts_a_piece_once_that_two_ranks_saw():
    reference, estimate = (pieces(x) for x in sounds(6.0))
    estimate[0] *= 0.5  # repeated, this piece would move the median
    start = torch.arange(6.0)

    def seen(which):
        metric = FrameSDR(2, RATE)
        if which:
            metric.update(estimate[which], reference[which], ["a"] * len(which), start[which])
        return metric

    whole = seen([0, 1, 2, 3, 4, 5]).compute()
    for shards in (([0, 2, 4], [1, 3, 5]), ([0, 1, 2, 3], [4, 5, 0, 0]), ([], [0, 1, 2, 3, 4, 5])):
        assert [rank.compute() for rank in together([seen(shard) for shard in shards])] == [whole] * 2
    twice = FrameSDR(2, RATE)
    for _ in range(2):
        twice.update(estimate[:1], reference[:1], ["a"])
    assert len(twice.held("track")) == 2  # without a start nothing tells them from two pieces
    assert np.isnan(FrameSDR(2, RATE).compute()["sdr"])


def evaluated(folder, processes=0, system="", broken=()):
    scoring = Scoring(SOURCES, RATE, system=system)
    scored = []
    with TrackEvaluator(folder, scoring, processes) as evaluator:
        for index, name in enumerate("cab"):
            if evaluator.done(name):
                evaluator.keep(name, index)
            else:
                reference, estimate = sounds(seed=index)
                evaluator.submit(name, index, reference, estimate[:1] if name in broken else estimate)
                scored.append(name)
        return evaluator.finish(), scored


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one[:2] == other[:2]
        # Libraries add up in another order with another number of threads.
        np.testing.assert_allclose(one.medians, other.medians, rtol=1e-9)
        np.testing.assert_allclose(one.usdr, other.usdr, rtol=1e-9)


def test_tracks_scored_before_are_kept_and_stale_ones_are_not(tmp_path):
    first, scored = evaluated(tmp_path)
    assert scored == ["c", "a", "b"] and [result.name for result in first] == scored
    again, scored = evaluated(tmp_path)
    assert scored == []
    assert_same(first, again)
    (tmp_path / "test" / "a.json").write_text("{")
    assert evaluated(tmp_path)[1] == ["a"]
    assert evaluated(tmp_path, system="another checkpoint")[1] == ["c", "a", "b"]


def test_other_processes_give_the_same_scores_and_one_bad_track_stops_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = dict(os.environ)
    here, _ = evaluated(tmp_path / "here")
    there, _ = evaluated(tmp_path / "there", processes=2, broken="a")
    assert [result.error is None for result in there] == [True, False, True]
    assert "samples, channels" in there[1].error
    assert_same([here[0], here[2]], [there[0], there[2]])
    assert not (tmp_path / "there" / "test" / "a.json").exists()
    assert os.environ == before


def test_a_silent_estimate_is_named_with_its_track(tmp_path):
    reference, estimate = sounds()
    estimate[1] = 0
    evaluator = TrackEvaluator(tmp_path, Scoring(SOURCES, RATE))
    with pytest.warns(UserWarning, match="a song: vocals: its estimate is silent"):
        evaluator.submit("a song", 0, reference, estimate)
    (result,) = evaluator.finish()
    assert result.error is None
    assert np.isfinite(result.medians[0, 0]) and np.isnan(result.medians[1, 0])
    assert result.usdr[1] == 0


def song(seconds=3.0):
    stems = np.stack([stem(name, seconds, seed=3, rate=RATE) for name in STEMS])
    stems = torch.from_numpy(stems).transpose(1, 2)
    return stems, stems.sum(0)


def test_baselines_by_their_definitions():
    stems, mixture = song()
    stft = STFT(256, 64)
    found = oracles.oracle_sdr(stems, mixture, RATE, stft, partial(wiener_windows, window=20, iterations=1), window=20)
    assert list(found) == ["silence", "mixture", "mixture / 4", "ideal ratio mask"]
    np.testing.assert_array_equal(found["silence"], 0)
    true = stems.transpose(1, 2).numpy()
    quarter = np.broadcast_to(mixture.T.numpy() / 4, true.shape)
    np.testing.assert_allclose(found["mixture / 4"], bss.evaluate(true, quarter, RATE).medians()[:, 0], atol=1e-9)
    assert (found["ideal ratio mask"] > np.maximum(found["mixture / 4"], 3)).all()


@pytest.mark.parametrize("seconds", [3.0, 2.57, 0.05])
def test_an_ideal_mask_has_no_seams(seconds, monkeypatch):
    stems, mixture = song(seconds)
    stft, wiener = STFT(256, 64), partial(wiener_windows, window=10, iterations=0)
    pieces = oracles.ideal_ratio(stems, mixture, stft, wiener, window=10)
    monkeypatch.setattr(oracles, "WINDOWS", 1000)
    whole = oracles.ideal_ratio(stems, mixture, stft, wiener, window=10)
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole.sum(0), mixture, atol=1e-5, rtol=0)  # shares add up to the mixture
