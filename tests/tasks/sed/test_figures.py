"""Pictures of sound events: events where they are in time, classes by name, readable at 1200 px."""

import numpy as np
import pytest

from tasks.reporting import style
from tasks.sed.figures import class_bars, timeline

CLASSES = ["Cat", "Dog", "Speech"]


def draw(**options):
    scores = np.zeros((50, 3))
    scores[10:20, 1] = 0.9
    events, true = [(0.8, 1.6, "Dog")], [(0.7, 1.5, "Dog"), (2.0, 3.0, "Speech")]
    return timeline(scores, classes=CLASSES, frame_s=0.08, events=events, title="a $file_$.wav", reference=true, **options)


def test_events_are_drawn_where_they_sound():
    made = draw()
    axes = made.axes[0]
    bars = [(round(bar.get_x(), 6), round(bar.get_width(), 6), bar.get_y() + bar.get_height() / 2) for bar in axes.patches]
    assert [(x, width) for x, width, _ in bars] == [(0.8, 0.8), (0.7, 0.8), (2.0, 1.0)]
    assert [round(y) for *_, y in bars] == [1, 1, 2]
    assert bars[0][2] < 1 < bars[1][2]  # what was found above what is there
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES
    assert axes.get_xlim() == (0, 4.0) and axes.get_xlabel() == "time (s)"
    assert made._suptitle.get_text() == "a $file_$.wav"


def test_the_spectrogram_lies_above_on_the_same_time():
    levels = np.random.default_rng(0).uniform(-60, 0, (16, 400))
    made = draw(spectrogram=levels, mel_hertz=np.linspace(50, 7000, 16), hop_s=0.01)
    above, below = made.axes[:2]
    assert above.get_ylabel() == "Hz" and above.get_xlim() == below.get_xlim()
    assert made.get_size_inches()[0] * style.DPI == style.WIDTH
    made.canvas.draw()


def test_the_picture_ends_with_the_recording():
    assert draw().axes[0].get_xlim()[1] > draw(duration_s=0.1).axes[0].get_xlim()[1] == 0.1


def test_scores_must_fit_the_classes():
    with pytest.raises(ValueError, match=r"expected scores .*3 classes"):
        timeline(np.zeros((5, 2)), classes=CLASSES, frame_s=0.1, events=[], title="x")


def test_bars_leave_out_what_could_not_be_scored():
    made = class_bars({"segment": [0.5, np.nan, 1.0], "event": [0.25, 0.0, 0.75]}, classes=CLASSES, title="F1")
    axes = made.axes[0]
    assert [round(bar.get_width(), 3) for bar in axes.patches] == [0.5, 0.0, 1.0, 0.25, 0.0, 0.75]
    assert [text.get_text() for text in axes.texts] == ["0.50", "-", "1.00", "0.25", "0.00", "0.75"]
