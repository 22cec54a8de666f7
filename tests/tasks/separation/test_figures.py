"""Pictures of separation: every signal where its name says, one colour scale, time and frequency right."""

import numpy as np
import pytest
import torch

from tasks.reporting.style import DEPTH
from tasks.separation.figures import estimate_grid, levels, score_boxes, stem_grid

RATE = 8000


def tones():
    """Three signals of 6 s: 500 Hz, then 2 kHz ten times weaker, then silence."""
    time = torch.arange(6 * RATE) / RATE
    one, two = torch.sin(2 * torch.pi * 500 * time), 0.1 * torch.sin(2 * torch.pi * 2000 * time)
    return torch.stack([one, two, torch.zeros_like(one)])[:, None].expand(-1, 2, -1)


def rows(figure):
    return [axes for axes in figure.axes if axes.images]


def test_mixture_and_stems_share_time_and_colour(tmp_path):
    values, hertz, step = levels(tones(), RATE)
    made = stem_grid(values, names=["mixture", "a_b", "$c$"], mel_hertz=hertz, hop_s=step, title="x.wav", start_s=2.0)
    cells = rows(made)
    assert [axes.texts[0].get_text() for axes in cells] == ["mixture", "a_b", "$c$"]
    assert cells[-1].get_xlabel() == "time (s)"
    assert {axes.images[0].get_clim() for axes in cells} == {(-DEPTH, 0.0)}
    for axes in cells:
        assert axes.get_xlim() == pytest.approx((2.0, 8.0), abs=2 * step)
    first, second, third = (axes.images[0].get_array().mean(axis=1) for axes in cells)
    assert hertz[first.argmax()] == pytest.approx(500, rel=0.06)
    assert hertz[second.argmax()] == pytest.approx(2000, rel=0.04)
    assert first.max() == pytest.approx(0, abs=1)
    assert -27 < second.max() - first.max() < -17  # bands get wider upwards
    assert third.max() < -100
    made.savefig(tmp_path / "x.png")
    from matplotlib.image import imread

    assert imread(tmp_path / "x.png").shape[1] == 1200


def test_the_grid_ends_with_the_song():
    about = {"names": ["mixture", "bass"], "mel_hertz": [60, 250, 1000, 4000], "hop_s": 0.1}
    figure = stem_grid(np.zeros((2, 4, 10)), title="a", end_s=0.95, **about)
    assert {axes.get_xlim() for axes in figure.axes[:2]} == {(0.0, 0.95)}


def test_frequency_labels_stand_at_their_bands():
    values, hertz, step = levels(tones(), RATE)
    axes = rows(stem_grid(values, names=["a", "b", "c"], mel_hertz=hertz, hop_s=step, title=""))[0]
    ticks = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    assert abs(ticks["500"] - values[0].mean(axis=1).argmax()) < 1
    assert abs(ticks["2 k"] - values[1].mean(axis=1).argmax()) < 1


def test_targets_stand_beside_their_estimates():
    values, hertz, step = levels(tones(), RATE)
    made = estimate_grid(values, values - 6, names=["a", "b", "c"], mel_hertz=hertz, hop_s=step, title="t", scores=[1.25, 2, -3])
    cells = rows(made)
    assert [axes.texts[0].get_text() for axes in cells[:2]] == ["a: target", "a: estimate, SDR 1.2 dB"]
    difference = cells[0].images[0].get_array() - cells[1].images[0].get_array()
    np.testing.assert_allclose(difference, 6, atol=1e-4)
    with pytest.raises(ValueError, match="targets are"):
        estimate_grid(values, values[..., :-1], names=["a", "b", "c"], mel_hertz=hertz, hop_s=step, title="t")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"2 names, 3 bands, columns\), got \(2, 4, 5\)"):
        stem_grid(np.zeros((2, 4, 5)), names=["a", "b"], mel_hertz=[1, 2, 3], hop_s=1.0, title="")


def test_boxes_show_median_quartiles_and_every_track():
    scores = {"drums": [1.0, 2.0, 3.0, 4.0, np.nan], "bass": [np.nan] * 5}
    axes = score_boxes(scores, title="t", marks={"drums": 6.0}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["drums (4)", "bass (0)"]
    assert {text.get_text() for text in axes.texts} == {"2.50", "no track scored"}
    [points] = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(points.get_ydata()) == [1, 2, 3, 4]
    [box] = axes.patches
    assert (box.get_y(), box.get_height()) == (1.75, 1.5)
    heights = {round(float(path.vertices[0, 1]), 6) for lines in axes.collections for path in lines.get_paths()}
    assert {2.5, 6.0} <= heights
