"""Verdicts of the alignment benchmarks on claims with known places and times."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.alignment_material import RATE, Excerpt, Recording
from benchmarks.alignment_truth import judge
from datamodules.alignment.score import Score, notes_of
from tasks.alignment.aligned import ScoreSegment

PACE = 1.25
"""Duration of a second of the score in the recording."""


def score() -> Score:
    """Sixteen bars of four beats of 0.5 s; bars 9 to 12 have the notes of bars 1 to 4."""
    pitch = np.random.default_rng(0).integers(60, 72, 64)
    pitch[32:48] = pitch[:16]
    beats = 0.5 * np.arange(64)
    return Score(notes_of(beats, beats + 0.5, pitch), beats, beats[::4], "x.mid")


SCORE = score()
TRUTH = np.stack([SCORE.beats, PACE * SCORE.beats], 1)


def verdict(first: int, last: int, claimed: tuple[int, int], start_s: float = 0.0):
    """Verdict on the claim that bars `claimed` are played from `start_s` on, where bars first to last are (from 0)."""
    begin, end = 2 * PACE * first, 2 * PACE * last
    recording = Recording("kind", "x", lambda: np.zeros(round(32 * PACE * RATE), np.float32), [("", SCORE)], lambda: TRUTH)

    def times(score_s):
        inside = (2 * claimed[0] <= score_s) & (score_s < 2 * claimed[1])
        return np.where(inside, start_s + PACE * (score_s - 2 * claimed[0]), np.nan)

    notes, segment = SCORE.notes, ScoreSegment(2 * claimed[0], 2 * claimed[1], start_s, end - begin)
    aligned = SimpleNamespace(
        score=SCORE,
        segments=[segment],
        notes_s=np.stack([times(notes.onset), times(notes.onset) + 0.5], 1),
        bars_s=times(SCORE.bars),
        note_confidence=np.ones(64),
        bar_confidence=np.ones(16),
        duration_s=end - begin,
    )
    return judge(aligned, Excerpt(recording, begin, end))


@pytest.mark.parametrize("claimed", [(1, 4), (9, 12)])  # the true place, and one with the same notes
def test_a_place_with_the_same_notes_is_located(claimed):
    result = verdict(1, 4, claimed)
    assert result.located and result.error == pytest.approx(0)
    assert result.true == "bars 2-4"


def test_times_are_measured_to_the_true_events():
    result = verdict(1, 4, (1, 4), start_s=0.1)
    assert result.located and result.error[:-1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("claimed", "start_s", "fault"),
    [
        ((4, 7), 0.0, "were not played"),
        ((0, 4), 0.0, "starts"),
        ((1, 6), 0.0, "ends"),
        ((1, 3), 0.0, "ends"),
        ((1, 4), 1.5, "start placed"),
    ],
)
def test_other_claims_are_not_located(claimed, start_s, fault):
    assert any(fault in reason for reason in verdict(1, 4, claimed, start_s).faults)


def test_a_passage_played_once_has_one_place():
    assert not verdict(4, 7, (12, 15)).located
    assert verdict(3, 6, (3, 6)).located
    assert not verdict(3, 6, (11, 14)).located  # equal for one bar alone
