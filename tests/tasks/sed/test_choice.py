"""Decisions tuned on few clips: plateaus, limits, cross-validation, masks by tags."""

import numpy as np
import pytest
import torch

from datamodules.sed.events import EventTable, table
from tasks.metrics.events import sweep, tuning
from tasks.metrics.events.decode import FrameScores, decode, median_filter
from tasks.sed.metrics import SedRows, Tuned, fixed, summary, tune, within_tags
from tests.helpers.sed_cases import drawn


def rows_of(scores, corpus):
    ends = np.cumsum(scores.lengths)
    clips = [scores.values[end - length : end] for end, length in zip(ends, scores.lengths, strict=True)]
    return SedRows(np.arange(len(clips)), np.stack([clip.max(0) for clip in clips]), scores, corpus)


def clip_sweep(probabilities, tags):
    return lambda some: sweep.clip_based(probabilities[some], tags[some])


def thresholds(probabilities, tags):
    return tuning.clip_thresholds(clip_sweep(probabilities, tags), len(tags))


def test_a_lone_low_positive_does_not_drag_the_threshold_down():
    """The threshold of highest F1 is .0138 here: one clip of five positives, and by luck no negative above it."""
    tags = np.zeros((40, 1), bool)
    tags[:5] = True
    probabilities = np.full((40, 1), 0.002)
    probabilities[:5, 0] = (0.9, 0.8, 0.85, 0.95, 0.0138)
    (curve,) = sweep.clip_based(probabilities, tags)
    assert curve.thresholds[curve.f1.argmax()] == 0.0138
    assert thresholds(probabilities, tags)[0] == 0.5


def test_noise_keeps_the_fixed_decision():
    random = np.random.default_rng(0)
    tags = random.random((60, 8)) < 0.3
    chosen = thresholds(random.random((60, 8)), tags)
    assert ((chosen >= tuning.GRID[0]) & (chosen <= tuning.GRID[-1])).all()
    sure = np.where(tags, 0.9, 0.1)
    assert (thresholds(sure, tags) == 0.5).all()


def test_a_shift_of_all_scores_is_found_in_the_middle_of_its_plateau():
    random = np.random.default_rng(1)
    tags = random.random((60, 1)) < 0.4
    low = np.where(tags, 0.35, 0.05) + random.uniform(-0.04, 0.04, (60, 1))
    assert 0.12 < thresholds(low, tags)[0] < 0.29
    high = np.where(tags, 0.97, 0.75) + random.uniform(-0.02, 0.02, (60, 1))
    assert 0.8 < thresholds(high, tags)[0] <= 0.95


def test_classes_that_never_occur_and_few_clips_keep_the_fixed_decision():
    assert thresholds(np.full((3, 2), 0.7), np.zeros((3, 2), bool)).tolist() == [0.5, 0.5]
    scores, corpus = drawn(2, 20, 3)
    found = tune(rows_of(scores, corpus))
    assert np.isfinite(found.event.thresholds).all() and found.clip.shape == (3,)


def test_the_grid_counts_what_decoding_counts():
    scores, corpus = drawn(7, 40, 3, 4, 2, 0.15)
    scores = median_filter(scores, 3)
    for kind, counted in enumerate(sweep.event_based(scores, corpus.events)):
        predicted, correct = tuning._on_grid(counted)
        for place in range(0, 181, 20):
            events = decode(scores, tuning.GRID[place])
            assert predicted[place] == (events.label == kind).sum()
            assert correct[place] <= predicted[place]


@pytest.mark.parametrize("seed", range(3))
def test_tuned_decisions_do_not_lose_on_other_clips(seed):
    """Chosen on 30 clips, scored on 400 others: never much worse than fixed."""
    scores, corpus = drawn(430, 60, 4, seed, step=0.08)
    few, many = (scores.select(np.arange(*span)) for span in ((0, 30), (30, 430)))
    tuned = tune(rows_of(few, corpus.select(np.arange(30))))
    rows = rows_of(many, corpus.select(np.arange(30, 430)))
    ours, theirs = summary(rows, tuned), summary(rows, fixed(4))
    for name in ("clip_f1_micro", "segment_f1_micro", "event_f1_macro"):
        assert ours[name] > theirs[name] - 0.015, name
    for decision in (tuned.segment, tuned.event):
        assert ((decision.thresholds >= 0.05) & (decision.thresholds <= 0.95)).all()


def test_scores_of_some_clips():
    scores, _ = drawn(9, 30, 2, 3, 2)
    some = scores.select(np.array([7, 2]))
    ends = np.cumsum(scores.lengths)
    expected = np.concatenate([scores.values[ends[k] - scores.lengths[k] : ends[k]] for k in (7, 2)])
    np.testing.assert_array_equal(some.values, expected)
    assert some.lengths.tolist() == scores.lengths[[7, 2]].tolist()


def masked_case():
    """Two clips; the frames of the second hold a class that its clip probability denies."""
    values = np.zeros((20, 2), np.float32)
    values[2:8, 0] = values[12:18, 1] = 0.9
    scores = FrameScores(values, np.array([10, 10]), np.array([1.0, 1.0]), 0.1)
    corpus = EventTable(("a", "b"), np.array([1.0, 1.0]), ("x", "y"), table([0], [0], [0.2], [0.8]))
    return SedRows(np.arange(2), np.float32([[0.9, 0.0], [0.0, 0.1]]), scores, corpus)


def test_events_outside_the_tags_are_dropped_where_that_is_better():
    rows = masked_case()
    how = fixed(2, length=1)
    plain, masked = summary(rows, how), summary(rows, how._replace(segment_masked=True, event_masked=True))
    assert (plain["event_f1_micro"], masked["event_f1_micro"]) == (pytest.approx(2 / 3), 1.0)
    assert (plain["segment_f1_micro"], masked["segment_f1_micro"]) == (pytest.approx(2 / 3), 1.0)
    assert {name: value for name, value in plain.items() if name.startswith("clip")} == {
        name: value for name, value in masked.items() if name.startswith("clip")
    }
    assert tune(rows).segment_masked and not tune(rows, mask=False).segment_masked
    kept = within_tags(table([0, 1], [0, 1], [0.2, 0.2], [0.8, 0.8]), np.array([[True, False], [False, False]]))
    assert kept.clip.tolist() == [0]


def test_a_diverged_network_keeps_the_fixed_decision():
    rows = masked_case()
    rows.frames.values[3] = np.nan
    found = tune(rows)
    assert found.clip.tolist() == [0.5, 0.5] and not found.event_masked


def test_masks_are_kept_with_the_weights_and_older_checkpoints_have_none():
    tuned = Tuned(2)
    tuned.keep(tune(masked_case()))
    state = tuned.state_dict()
    again = Tuned(2)
    again.load_state_dict(state)
    assert again.tuning().segment_masked
    older = {name: value for name, value in state.items() if not name.endswith("masked")}
    again.load_state_dict(older)
    assert not again.tuning().segment_masked and torch.equal(again.clip, tuned.clip)
