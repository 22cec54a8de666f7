"""Metrics of sound events: equal to sed_eval, to decoding every threshold, to golden values, on one process and two."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.audio.windows import FrameGrid
from datamodules.sed.event_files import read_durations, read_events
from datamodules.sed.events import EventTable, merge_overlaps, table
from tasks.metrics.events import collar, decode, intersection, psds, sweep
from tasks.metrics.events import counts as segment
from tasks.sed.metrics import SedScores
from tests.helpers import forkserver
from tests.helpers.sed_cases import drawn, score_shards, scored

REAL = os.environ.get("QUINTET_DATA")
real = pytest.mark.skipif(not REAL, reason="QUINTET_DATA names no folder")
CLASSES = ["Cat", "Dog", "Speech"]


@pytest.fixture(scope="module")
def sed_eval():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("sed_eval").sound_event


def case(seed, clips=3):
    """Events that touch, repeat and overlap on a grid of 0.1 s; empty clips, empty predictions, absent classes."""
    random = np.random.default_rng(seed)

    def some(mean):
        n = random.poisson(mean)
        onset, length = random.integers(0, 60, n) / 10, random.integers(1, 25, n) / 10
        return random.integers(0, clips, n), random.integers(0, random.integers(1, 4), n), onset, onset + length

    true, said = some(random.choice([0, 2, 8])), some(random.choice([0, 2, 6]))
    keep = random.random(len(true[0])) < 0.7
    jitter = random.choice([-0.2, -0.1, 0.0, 0.1, 0.2], (2, keep.sum()))
    onset = np.abs(np.round(true[2][keep] + jitter[0], 3))
    near = true[0][keep], true[1][keep], onset, np.maximum(np.round(true[3][keep] + jitter[1], 3), onset + 0.05)
    said = tuple(np.concatenate(x) for x in zip(said, near, strict=True)) if random.random() < 0.8 else said
    return table(*true), table(*said)


def listed(events, clip):
    rows = zip(*(x.tolist() for x in events), strict=True)
    return [{"event_label": CLASSES[k], "onset": a, "offset": b, "filename": str(c)} for c, k, a, b in rows if c == clip]


def assert_as_sed_eval(theirs, ours):
    counts = ours.counts
    for k, name in enumerate(CLASSES):
        row = theirs.class_wise[name]
        assert (row["Nref"], row["Nsys"], row["Ntp"]) == (counts.reference[k], counts.predicted[k], counts.correct[k])
        np.testing.assert_allclose(counts.f1[k], theirs.class_wise_f_measure(name)["f_measure"], atol=1e-12)
    if counts.reference.sum() and counts.predicted.sum():
        assert counts.micro_f1 == pytest.approx(theirs.overall_f_measure()["f_measure"], abs=1e-12)
    if counts.reference.sum():
        average = theirs.results_class_wise_average_metrics()["f_measure"]["f_measure"]
        assert counts.macro_f1 == pytest.approx(average, abs=1e-12)
        assert ours.error_rate == pytest.approx(theirs.overall_error_rate()["error_rate"], abs=1e-12)


@pytest.mark.parametrize("block", range(16))
def test_event_and_segment_scores_equal_sed_eval(sed_eval, block):
    for seed in range(20 * block, 20 * block + 20):
        reference, predicted = case(seed)
        events = sed_eval.EventBasedMetrics(
            CLASSES, t_collar=0.2, percentage_of_length=0.2, empty_system_output_handling="zero_score"
        )
        segments = sed_eval.SegmentBasedMetrics(CLASSES, time_resolution=1.0)
        segments.empty_system_output_handling = "zero_score"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for clip in range(3):
                lists = listed(reference, clip), listed(predicted, clip)
                events.evaluate(*lists)
                segments.evaluate(*lists)
            assert_as_sed_eval(events, collar.score(reference, predicted, 3))
            assert_as_sed_eval(segments, segment.score(reference, predicted, 3))


def test_event_based_by_hand():
    reference = table([0, 0, 0, 1], [0, 0, 1, 2], [0, 3, 0, 1], [1, 8, 1, 2])
    #  near enough; offset 1 s off but within 20 %; another class in place; nothing for the fourth; one too many
    predicted = table([0, 0, 0, 1], [0, 0, 2, 0], [0.1, 3, 0.1, 5], [1.1, 7, 1, 6])
    found = collar.score(reference, predicted, 3)
    assert found.counts.correct.tolist() == [2, 0, 0]
    assert (found.substitutions, found.deletions, found.insertions) == (1, 1, 1)
    assert found.error_rate == 3 / 4
    assert found.counts.macro_f1 == pytest.approx((4 / 5) / 3)  # a class never predicted right is 0, not left out


def test_segment_based_by_hand():
    found = segment.score(table([0], [0], [0.9], [2.0]), table([0, 0], [0, 1], [0, 1.5], [1.0, 1.6]), 2)
    assert [x.tolist() for x in found.counts] == [[2, 0], [1, 1], [1, 0]]
    assert (found.substitutions, found.deletions, found.insertions) == (1, 0, 0)


def test_intersections_by_hand():
    reference = table([0, 0], [0, 1], [0, 5], [4, 7])
    predicted = table([0, 0, 0], [0, 0, 0], [0, 1.5, 5], [1, 3, 7])
    found = intersection.score(reference, predicted, 2)
    assert found.detected.tolist() == [1, 0]  # 2.5 s of 4 s, in two pieces
    assert found.false_positives.tolist() == [1, 0]
    assert found.cross_triggers.tolist() == [[0, 1], [0, 0]]
    assert found.counts.macro_f1 == pytest.approx(1 / 2 * 2 / 3)


@pytest.mark.parametrize("lengths", [7, [3, 1, 9], 31])
def test_median_then_threshold_equals_threshold_then_median(lengths):
    scores, _ = drawn(9, 25, 3, 2, 2)
    filtered = decode.median_filter(scores, lengths)
    for threshold in np.unique(scores.values)[::7]:
        decided = scores._replace(values=(scores.values >= threshold).astype(np.float32))
        np.testing.assert_array_equal(filtered.values >= threshold, decode.median_filter(decided, lengths).values > 0.5)


def test_a_clip_is_filtered_as_if_alone():
    from scipy.ndimage import median_filter

    scores, _ = drawn(9, 25, 3, 2, 2)
    filtered = decode.median_filter(scores, 7).values
    ends = np.cumsum(scores.lengths)
    for part, whole in zip(np.split(filtered, ends), np.split(scores.values, ends), strict=True):
        if len(whole):
            np.testing.assert_array_equal(part, median_filter(whole, (7, 1), mode="reflect"))
    with pytest.raises(ValueError, match="odd"):
        decode.median_filter(scores, 4)


def test_encoded_and_decoded_again_events_move_by_less_than_a_frame():
    grid = FrameGrid(22_100, 366, 4)
    events = merge_overlaps(table(np.zeros(3), [0, 1, 0], [0.3, 2.0, 5.0], [1.7, 2.9, 10.0])).events
    frames = grid.activity(events.label, events.onset, events.offset, 151, 2).astype(np.float32)
    again = decode.decode(decode.stack([frames], [10.0], grid.step))
    np.testing.assert_array_equal(again.label, events.label)
    assert np.abs(again.onset - events.onset).max() < grid.step
    assert np.abs(again.offset - events.offset).max() < grid.step
    assert again.offset.max() <= 10.0


@pytest.mark.parametrize("seed", range(6))
def test_a_sweep_equals_decoding_and_scoring_at_every_threshold(seed):
    scores, corpus = drawn(12, 40, 3, seed, 2, 0.15)
    scores = decode.median_filter(scores, [3, 1, 5])
    thresholds = np.unique(scores.values)[::-1]
    tables = [decode.decode(scores, t) for t in thresholds]
    truth = intersection.Truth(corpus.events, 3)
    criteria = intersection.Criteria(0.1, 0.7, 0.2)
    swept = [sweep.event_based(scores, corpus.events), sweep.segment_based(scores, corpus.events)]
    swept.append(sweep.intersection_based(scores, truth, criteria, cross_triggers=True))
    for threshold, events in zip(thresholds, tables, strict=True):
        whole = intersection.score(truth, events, 3, criteria)
        singly = [collar.score(corpus.events, events, 3).counts, segment.score(corpus.events, events, 3).counts, whole.counts]
        for curves, counts in zip(swept, singly, strict=True):
            for k, one in enumerate(curves):
                i = int(np.searchsorted(-one.thresholds, -threshold, side="right")) - 1
                found = (one.predicted[i], one.correct[i]) if i >= 0 else (0, 0)
                assert (one.reference, *found) == (counts.reference[k], counts.predicted[k], counts.correct[k])
                if i >= 0 and one.cross_triggers.size:
                    np.testing.assert_array_equal(one.cross_triggers[i], whole.cross_triggers[k])
    for scenario in (psds.PSDS1, psds.PSDS2):
        exact, singly = psds.from_scores(scores, corpus, scenario), psds.from_operating_points(tables, corpus, scenario)
        assert exact.value == pytest.approx(singly.value, abs=1e-12)
        assert "alpha_st 1, max eFPR 100 per hour; every distinct score" in str(exact)


def test_the_highest_f1_of_a_sweep_is_that_of_all_thresholds():
    scores, corpus = drawn(12, 40, 3, 3, 2, 0.15)
    every = [collar.score(corpus.events, decode.decode(scores, t), 3).counts.f1 for t in np.unique(scores.values)]
    best = [curve.f1.max() for curve in sweep.event_based(scores, corpus.events)]
    np.testing.assert_allclose(best, np.max(every, axis=0))


def test_batches_padding_and_repeated_clips_change_nothing():
    whole = scored(range(23)).compute()
    assert scored(list(range(23))[::-1], 7, 0.0).compute() == whole
    assert scored([*range(23), 3, 5], 1).compute() == whole
    assert scored([], 4).compute()["n_clips"] == 0


def test_a_diverged_network_scores_nothing_and_half_precision_is_refused():
    metric = SedScores(0.1)
    metric.corpus = EventTable(("a",), np.ones(1), ("x",), table([0], [0], [0.0], [0.5]))
    frames = torch.full((1, 10, 1), torch.nan)
    metric.update(frames, torch.ones(1, 10), frames[:, 0], torch.zeros(1, dtype=torch.int64))
    assert np.isnan(metric.compute()["event_f1_macro"])
    with pytest.raises(ValueError, match=r"logits\.float\(\)"):
        metric.update(frames.half(), torch.ones(1, 10), frames[:, 0], torch.zeros(1, dtype=torch.int64))


def test_two_processes_equal_one(tmp_path):
    every = list(range(23))
    shards = [[every[0::2], every[1::2]], [[*every[0::2], 1], [*every[1::2], 0]], [every, []]]
    other = forkserver.call(score_shards, 1, str(tmp_path), shards)
    score_shards(0, str(tmp_path), shards)
    assert other.wait(60) == 0
    one = scored(every)
    for name in sorted(tmp_path.glob("*-*.pt")):
        result, clip, values = torch.load(name, weights_only=False)
        assert result == one.compute(), name
        assert clip.tolist() == every
        np.testing.assert_array_equal(values, one.rows().frames.values)


@pytest.mark.realdata
@real
def test_golden_values_of_desed():
    folder = Path(REAL or "", "golden", "desed")
    labels, durations = read_events(folder / "validation.tsv"), read_durations(folder / "validation_durations.tsv")
    seconds = np.array([durations[name] for name in labels.names])
    corpus = EventTable(labels.names, seconds, labels.classes, labels.events)
    said = read_events(folder / "student_predictions_0.5.tsv", labels.classes, labels.names).events
    whole, segments = (metric.score(labels.events, said, 10).counts for metric in (collar, segment))
    assert whole.macro_f1 == pytest.approx(0.3987, abs=5e-4)
    assert whole.micro_f1 == pytest.approx(0.4095, abs=5e-4)
    assert segments.macro_f1 == pytest.approx(0.6935, abs=5e-4)
    assert segments.micro_f1 == pytest.approx(0.7547, abs=5e-4)
    assert intersection.score(labels.events, said, 10).counts.macro_f1 == pytest.approx(0.6374, abs=5e-4)
    paths = sorted((folder / "student_operating_points").glob("*.tsv"))
    points = [read_events(path, labels.classes, labels.names).events for path in paths]
    assert len(points) == 50
    assert psds.from_operating_points(points, corpus, psds.PSDS1).value == pytest.approx(0.3345, abs=0.002)
    assert psds.from_operating_points(points, corpus, psds.PSDS2).value == pytest.approx(0.5281, abs=0.002)
