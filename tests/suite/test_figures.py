"""Pictures: the arrays arrive where the axes say, 1200 px wide, and nothing global is touched."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from tasks.reporting import style
from tasks.reporting.curves import beside_paper, curves
from tasks.tagging.figures import attention_map, contribution_map, per_tag_bars, timeline
from tasks.writers.output_files import write_figure

HOP = 256 / 16000
HERTZ = np.geomspace(60, 7800, 96)
AXES = {"mel_hertz": HERTZ, "hop_s": HOP}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def images(figure):
    """Data of all pictures in a figure, by axes, colour bars left out."""
    return [a for axes in figure.axes for a in axes.images if isinstance(a, AxesImage)]


def drawn(figure, tmp_path):
    """Width and height in px of the written picture."""
    from PIL import Image

    with Image.open(write_figure(tmp_path / "picture.png", figure)) as picture:
        return picture.size


def words(figure):
    """Every text in a figure."""
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text()]


def rows_of_tags(count=3):
    return [
        {"tag": f"tag {i}", "clips": 90, "support": 9, "prevalence": 0.1}
        | {"auroc": 0.9 - 0.1 * i, "auroc_low": 0.4, "auroc_high": 0.95, "ap": 0.5, "ap_low": 0.4, "ap_high": 0.6}
        for i in range(count)
    ]


def every_figure():
    spectrogram = -80 * noise(96, 256)
    curve = {"epoch": np.arange(4.0), "auroc": noise(4), "ap": noise(4)}
    return {
        "attention": attention_map(spectrogram, noise(8, 257), title="a.mp3", per_head=True, **AXES),
        "contribution": contribution_map(spectrogram, noise(256, 2), tags=["piano", "flute"], title="a.mp3", **AXES),
        "timeline": timeline(noise(9, 30), tags=[*map(str, range(30))], centres_s=np.arange(9) + 0.5, end_s=9.2, title="a.mp3"),
        "bars": per_tag_bars(rows_of_tags(), title="demo, subset all, split test, policy cover"),
        "curves": curves({"Adam": [curve, curve]}, {"auroc": "AUROC", "ap": "AP"}, title="demo", marks=(1, 2)),
        "beside": beside_paper(["a", "b"], [90, 80], [91, np.nan], [0.1, np.nan], title="Table 5"),
    }


def test_pictures_are_1200_px_wide_and_leave_no_global_state(tmp_path):
    backend, settings = mpl.get_backend(), dict(mpl.rcParams)
    for name, figure in every_figure().items():
        width, height = drawn(figure, tmp_path)
        assert width == 1200, name
        assert 200 < height < 1300, name
    assert mpl.get_backend() == backend
    assert dict(mpl.rcParams) == settings


def test_labels_are_not_smaller_than_the_eye_at_1200_px():
    for name, figure in every_figure().items():
        figure.draw_without_rendering()
        sizes = [t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text().strip() and t.get_visible()]
        assert min(sizes) >= 10, name


def test_attention_is_summed_over_heads_without_the_cls_key():
    attention = noise(8, 257)
    figure = attention_map(-80 * noise(96, 256), attention, title="a.mp3", start_s=3.0, **AXES)
    top, heat, own = images(figure)
    np.testing.assert_allclose(heat.get_array()[0], attention.sum(0)[1:])
    np.testing.assert_allclose(own.get_array(), attention[:, 0].sum())
    assert heat.get_extent()[:2] == top.get_extent()[:2] == [3.0, 3.0 + 256 * HOP]
    assert top.get_array().max() == 0.0
    assert f"{attention[:, 0].sum():.2f}" in words(figure)
    assert "frequency (Hz)" in words(figure)
    assert {"time (s)", "500", "1 k", "4 k"} <= set(words(figure))


def test_a_row_per_head_on_request():
    attention = noise(3, 257)
    figure = attention_map(-80 * noise(96, 256), attention, title="a.mp3", per_head=True, **AXES)
    rows = [a.get_array()[0] for a in images(figure) if a.get_array().shape == (1, 256)]
    np.testing.assert_allclose(rows, [attention[:, 1:].sum(0), *attention[:, 1:]])
    limits = [a.get_clim() for a in images(figure) if a.get_array().shape == (1, 256)]
    assert limits[1] == limits[2] == limits[3] == (0.0, attention[:, 1:].max())


def test_tokens_of_the_raw_front_end_keep_their_own_clock():
    figure = attention_map(-80 * noise(96, 256), noise(8, 271), title="a.mp3", token_s=243 / 16000, **AXES)
    assert images(figure)[1].get_extent()[1] == pytest.approx(270 * 243 / 16000)


def test_contribution_rows_follow_the_tags_and_share_one_scale():
    contribution = np.stack([np.linspace(0.1, 0.9, 256), np.linspace(0.5, 0.2, 256)], 1)
    figure = contribution_map(
        -80 * noise(96, 256),
        contribution,
        tags=["piano", "flute"],
        title="piano + flute",
        boundary_s=128 * HOP,
        halves=("a.mp3", "b.mp3"),
        **AXES,
    )
    first, second = images(figure)[1:3]
    np.testing.assert_allclose(first.get_array()[0], contribution[:, 0])
    np.testing.assert_allclose(second.get_array()[0], contribution[:, 1])
    assert first.get_clim() == second.get_clim() == (0.1, 0.9)
    assert {"piano", "flute", "a.mp3", "b.mp3", "0.10", "0.90"} <= set(words(figure))
    marked = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines]
    assert marked == [128 * HOP] * 6


def test_a_flat_contribution_stays_pale():
    figure = contribution_map(-80 * noise(96, 256), 0.3 + 1e-6 * noise(256, 1), tags=["a"], title="", **AXES)
    low, high = images(figure)[1].get_clim()
    assert high - low == pytest.approx(0.02)


def test_silence_is_dark():
    image = style.spectrogram(Figure().subplots(), np.full((4, 9), -100.0), np.linspace(100, 4000, 4), 0.01)
    assert image.get_array().max() == image.get_clim()[0]


def test_timeline_orders_tags_by_their_mean_and_ends_with_the_file():
    probabilities = np.tile([0.1, 0.9, 0.5], (3, 1))
    about = {"tags": ["low", "high", "middle"], "title": "a.mp3", "top": 2}
    figure = timeline(probabilities, centres_s=[1.5, 2.0, 2.4], end_s=2.6, **about)
    (mesh,) = figure.axes[0].collections
    np.testing.assert_allclose(mesh.get_array(), [[0.9] * 3, [0.5] * 3])
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [0.0, 1.75, 2.2, 2.6])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["high  0.90", "middle  0.50"]
    assert figure.axes[0].get_xlim() == (0.0, 2.6)
    short = timeline(probabilities[:1], centres_s=[1.5], end_s=0.5, **about)  # a file shorter than the network's chunk
    assert short.axes[0].get_xlim() == (0.0, 0.5)
    assert short.axes[0].collections[0].get_coordinates()[0, :, 0].tolist() == [0.0, 0.5]


def test_padding_behind_the_end_of_a_recording_is_hatched():
    spectrogram = -80 * noise(96, 256)
    for figure in (
        attention_map(spectrogram, noise(8, 257), title="a.mp3", end_s=1.5, **AXES),
        contribution_map(spectrogram, noise(256, 2), tags=["a", "b"], title="a.mp3", end_s=1.5, **AXES),
    ):
        hatched = [patch for axes in figure.axes for patch in axes.patches if patch.get_hatch()]
        assert len(hatched) >= 2
        assert {(round(p.get_x(), 6), round(p.get_x() + p.get_width(), 6)) for p in hatched} == {(1.5, round(256 * HOP, 6))}
    whole = attention_map(spectrogram, noise(8, 257), title="a.mp3", end_s=30.0, **AXES)
    assert not [patch for axes in whole.axes for patch in axes.patches if patch.get_hatch()]


def test_titles_and_names_in_any_script_are_drawn_without_warnings(tmp_path, monkeypatch):
    title, tags = "東京 カラオケ 노래\t\udcff.mp3", ["静か", "ピアノ"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(contribution_map(-80 * noise(96, 256), noise(256, 2), tags=tags, title=title, **AXES), tmp_path)
        monkeypatch.setattr(style, "installed", tuple)
        style.fonts_for.cache_clear()
        figure = contribution_map(-80 * noise(96, 256), noise(256, 2), tags=tags, title=title, **AXES)
        drawn(figure, tmp_path)
    assert "?? karaoke norae ?.mp3" in words(figure) and {"?ka", "piano"} <= set(words(figure))
    style.fonts_for.cache_clear()


def test_a_font_that_has_the_glyphs_is_used(monkeypatch):
    (name, path), character = ("STIXGeneral", font_manager.findfont("STIXGeneral")), None
    character = min(style.glyphs(path) - style.base_glyphs() - {chr(0)})
    monkeypatch.setattr(style, "installed", lambda: ((name, path),))
    style.fonts_for.cache_clear()
    assert style.spelling([f"a {character} 東"]) == ([f"a {character} ?"], ["DejaVu Sans", "STIXGeneral"])
    style.fonts_for.cache_clear()


def test_bars_show_support_and_say_what_cannot_be_scored():
    rows = rows_of_tags()
    rows[1] |= {"auroc": np.nan, "auroc_low": np.nan, "auroc_high": np.nan, "ap": np.nan, "ap_low": np.nan, "ap_high": np.nan}
    figure = per_tag_bars(rows, title="demo")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["tag 0 (9)", "tag 2 (9)", "tag 1 (9)"]
    assert words(figure).count("not scored") == 2
    assert "mean 0.800" in words(figure)


def test_curves_average_the_seeds_where_all_have_a_value():
    first, second = ({"epoch": e + np.arange(3.0), "a": a + np.arange(3.0)} for e, a in ((0, 1), (1, 4)))
    seeds = [first, second]
    figure = curves({"Adam": seeds, "SGD": seeds[:1]}, {"a": "AUROC"}, title="demo")
    mean = figure.axes[0].lines[2]
    assert mean.get_xdata().tolist() == [1, 2]
    assert mean.get_ydata().tolist() == [3, 4]
    assert {"Adam (2 seeds)", "SGD (1 seed)"} <= set(words(figure))


def test_names_with_dollars_and_long_names_survive(tmp_path):
    title = "$x_{$/" + "long/" * 60 + "end.mp3"
    figure = contribution_map(-80 * noise(96, 9), noise(9, 1), tags=["$\\frac$"], title=title, **AXES)
    assert drawn(figure, tmp_path)[0] == 1200
    assert len(figure.get_suptitle()) == 110
    assert figure.get_suptitle().endswith("end.mp3")


def test_shapes_that_do_not_fit_are_named():
    spectrogram = -80 * noise(96, 256)
    with pytest.raises(ValueError, match="2 tags"):
        contribution_map(spectrogram, noise(256, 3), tags=["a", "b"], title="", **AXES)
    with pytest.raises(ValueError, match=r"1 \+ tokens"):
        attention_map(spectrogram, noise(257), title="", **AXES)
    with pytest.raises(ValueError, match="2 tags"):
        timeline(noise(4, 3), tags=["a", "b"], centres_s=np.arange(4), end_s=4.0, title="")
    with pytest.raises(ValueError, match="96 band"):
        attention_map(spectrogram[:50], noise(8, 257), title="", **AXES)
