"""Frames and seconds: the paper's 151 output frames of a clip of 10 s, their centres, and events on them."""

import numpy as np
import pytest

from datamodules.audio.windows import FrameGrid

PAPER = FrameGrid(22_100, 366, 4)


def test_the_papers_clip_has_151_frames():
    assert 1 + 221_000 // PAPER.hop == 604
    assert PAPER.count(221_000) == 151
    assert PAPER.step == pytest.approx(0.06624, abs=1e-5)
    centres = PAPER.centres(221_000)
    assert centres[0] == pytest.approx(0.0248, abs=1e-4) and centres[-1] == pytest.approx(9.961, abs=1e-3)


@pytest.mark.parametrize(("hop", "frames"), [(366, 603), (365, 605)])
def test_another_rate_does_not_give_604(hop, frames):
    assert 1 + 220_500 // hop == frames


def test_an_event_turns_on_the_frames_it_half_covers():
    grid = FrameGrid(100, 10, 1)  # 0.1 s
    on = grid.activity(np.array([1]), np.array([0.16]), np.array([0.34]), 6, 2)
    assert on[:, 1].tolist() == [0, 0, 1, 0, 0, 0] and not on[:, 0].any()
    on = grid.activity(np.array([0]), np.array([0.14]), np.array([0.36]), 6, 2)
    assert on[:, 0].tolist() == [0, 1, 1, 1, 0, 0]


def test_a_short_event_is_not_lost_and_a_late_one_is_cut():
    grid = FrameGrid(100, 10, 1)
    on = grid.activity(np.array([0, 1]), np.array([0.22, 0.5]), np.array([0.24, 9.0]), 6, 2)
    assert on[:, 0].tolist() == [0, 0, 1, 0, 0, 0] and on[:, 1].tolist() == [0, 0, 0, 0, 0, 1]
