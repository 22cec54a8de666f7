"""Pictures of alignment: every number where the axes say, 1200 px wide, labels that can be read."""

import matplotlib as mpl
import numpy as np
import pytest

from models.alignment.costs import FeatureCosts, MatrixCosts
from tasks.alignment.figures import error_curves, path_picture, per_piece, salience_picture, similarity
from tasks.alignment.pictures import pooled
from tasks.writers.output_files import write_figure

FRAME_S = 0.02
SLOW = np.stack([np.arange(200) * 2 * FRAME_S, np.arange(200) * FRAME_S], 1)  # half as fast as its score
TRUTH = np.array([[1.0, 2.0], [2.0, 4.1], [3.0, 5.95]])  # the path is 0, 100 ms early and 50 ms late


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def a_path(**options):
    sure = np.array([[2.0, 0.9], [4.1, 0.5]])
    return path_picture(noise(80, 40), extent=(8.0, 4.0), path=SLOW, title="a $file_$.wav", confidence=sure, **options)


def a_salience():
    hertz = 65.4064 * 2 ** (np.arange(60) / 12)  # semitones from C2
    levels, salience = -80 * noise(40, 100), noise(60, 100)
    notes = [(0.5, 1.5, 60), (1.0, 2.0, 40)]
    look = {"spectrogram_hertz": np.linspace(0, 8000, 40), "salience_hertz": hertz, "frame_s": FRAME_S, "title": "a.wav"}
    return salience_picture(levels, salience, notes=notes, **look), salience


def every_figure():
    errors = {"DTW_chroma": noise(50) * 0.1, "SCNN": noise(50, seed=1) * 0.05}
    features, truth = (noise(90, 12), noise(70, 12)), [[0.1, 0.2], [1.0, 1.5]]
    compared = similarity(*features, noise(90, 70), frame_s=FRAME_S, title="a.wav", truth=truth)
    return {
        "path": a_path(bars=[0.0, 1.0, 2.0], truth=TRUTH),
        "curves": error_curves(errors, title="demo, test split"),
        "log": error_curves(errors, title="demo, test split", limit_ms=1000, log=True),
        "pieces": per_piece(errors | {"none": []}, title="demo, test split"),
        "salience": a_salience()[0],
        "similarity": compared,
    }


def words(figure):
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text()]


def ticks(axes, side):
    axes.figure.draw_without_rendering()
    axis = getattr(axes, f"{side}axis")
    return dict(zip([label.get_text() for label in axis.get_ticklabels()], axis.get_ticklocs(), strict=True))


def test_pictures_are_1200_px_wide_with_labels_that_the_eye_can_read(tmp_path):
    from PIL import Image

    settings = dict(mpl.rcParams)
    for name, figure in every_figure().items():
        with Image.open(write_figure(tmp_path / "picture.png", figure)) as picture:
            assert picture.size[0] == 1200 and 200 < picture.size[1] < 1300, name
        sizes = [t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text().strip() and t.get_visible()]
        assert min(sizes) >= 10, name
    assert dict(mpl.rcParams) == settings


def test_axes_say_what_they_are():
    said = {name: set(words(figure)) for name, figure in every_figure().items()}
    assert {"a $file_$.wav", "recording (s)", "score (s)", "bar", "confidence", "error (ms)", "distance"} <= said["path"]
    assert {"events within it (%)", "tolerance (ms); in the legend: % within 25, 50, 100, 200 ms"} <= said["curves"] & said["log"]
    assert {"size of the error (ms); box: quartiles, line: median", "none (0)", "no events"} <= said["pieces"]
    assert {"frequency (Hz)", "fundamental frequency (Hz)", "time (s)", "262 (C4)"} <= said["salience"]
    assert {"recording (s)", "score (s)", "dimension", "true path"} <= said["similarity"]


def test_the_path_lies_over_its_distances():
    distance = noise(80, 40)
    main = a_path(bars=[0.0, 1.0, 2.0]).axes[0]
    image = main.images[0]
    np.testing.assert_array_equal(image.get_array(), distance.T)
    assert image.get_extent() == [0, 8.0, 0, 4.0] and image.origin == "lower"
    np.testing.assert_allclose(main.lines[0].get_xydata(), SLOW)
    assert [line.get_ydata()[0] for line in main.lines[1:]] == [0.0, 1.0, 2.0]
    right = next(child for child in main.child_axes)
    assert ticks(right, "y") == {"1": 0.0, "2": 1.0, "3": 2.0}


def test_numbers_of_many_bars_do_not_overlap():
    right = a_path(bars=np.linspace(0, 4, 100)).axes[0].child_axes[0]
    assert list(ticks(right, "y")) == [str(number) for number in range(1, 101, 8)]


def test_errors_are_those_of_the_path_below_their_true_times():
    made = a_path(truth=TRUTH)
    main, sure, error = [axes for axes in made.axes if axes.get_ylabel() in ("score (s)", "confidence", "error (ms)")]
    np.testing.assert_allclose(error.lines[1].get_xydata(), [[2.0, 0.0], [4.1, -100.0], [5.95, 50.0]], atol=1e-9)
    np.testing.assert_allclose(main.lines[1].get_xydata(), TRUTH[:, ::-1])
    np.testing.assert_allclose(sure.lines[0].get_xydata(), [[2.0, 0.9], [4.1, 0.5]])
    assert main.get_xlim() == sure.get_xlim() == error.get_xlim() == (0, 8.0)
    assert sure.get_ylim() == (0, 1.05)


def test_of_many_events_the_strip_shows_means():
    many = np.stack([np.linspace(0, 8, 30_000), np.tile([0.2, 0.6], 15_000)], 1)
    many[15_000:, 1] += 0.3
    made = path_picture(noise(8, 8), extent=(8, 4), path=SLOW, title="", confidence=many)
    line = next(axes for axes in made.axes if axes.get_ylabel() == "confidence").lines[0].get_xydata()
    assert len(line) == 300 and (np.diff(line[:, 0]) > 0).all()
    np.testing.assert_allclose(line[:149, 1], 0.4, atol=0.01)
    np.testing.assert_allclose(line[151:, 1], 0.7, atol=0.01)


def test_no_line_is_drawn_along_a_jump_back():
    jumping = np.concatenate([SLOW[:100], SLOW[100:] - [0, 1.0]])
    line = path_picture(noise(8, 8), extent=(8, 4), path=jumping, title="").axes[0].lines[0].get_xydata()
    assert np.flatnonzero(np.isnan(line).any(1)).tolist() == [100]
    np.testing.assert_allclose(line[~np.isnan(line).any(1)], jumping)


def test_a_distance_without_contrast_and_one_with_infinity_are_drawn(tmp_path):
    endless = noise(8, 8)
    endless[0] = np.inf
    for distance in (np.zeros((8, 8)), endless, np.full((8, 8), np.nan)):
        write_figure(tmp_path / "x.png", path_picture(distance, extent=(1, 1), path=[[0, 0], [1, 1]], title=""))
    with pytest.raises(ValueError, match=r"got \(0, 3\)"):
        path_picture(np.zeros((0, 3)), extent=(1, 1), path=[[0, 0]], title="")


def test_curves_are_shares_of_all_events():
    errors = np.array([0.0, -0.01, 0.024, 0.025, 0.049, -0.15, 0.3, np.nan])
    made = error_curves({"a_b": errors, "none": []}, title="")
    curve = made.axes[0].lines[4].get_xydata()  # after the marks
    for within, share in ((5, 12.5), (24.9, 37.5), (25.5, 50.0), (50, 62.5), (200, 75.0)):
        assert np.interp(within, *curve.T) == pytest.approx(share), within
    # An error of exactly 25 ms is not below 25 ms.
    assert {"a_b: 37.5 / 62.5 / 62.5 / 75.0", "none: no events"} <= set(words(made))
    assert [line.get_xdata()[0] for line in made.axes[0].lines[:4]] == [25, 50, 100, 200]
    assert made.axes[0].get_xlim() == (0, 200)


def test_curves_on_a_logarithmic_axis():
    axes = error_curves({"a": [0.01, 0.5]}, title="", limit_ms=1000, log=True).axes[0]
    assert axes.get_xscale() == "log" and axes.get_xlim() == (1, 1000)
    assert ticks(axes, "x")["200"] == 200
    assert np.interp(100, *axes.lines[4].get_xydata().T) == 50


def test_pieces_are_ordered_by_their_median():
    made = per_piece({"worst": [0.2, -0.3], "none": [np.nan], "best": [0.001, 0.002, 0.009], "$m$": [0.05]}, title="")
    axes = made.axes[0]
    assert list(ticks(axes, "y")) == ["best (3)", "$m$ (1)", "worst (2)", "none (0)"]
    assert [text.get_text() for text in axes.texts] == ["2 ms", "50 ms", "250 ms", "no events"]
    boxes = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    np.testing.assert_allclose(boxes, [(1.5, 5.5), (50, 50), (225, 275)])
    points = [np.sort(line.get_xdata()) for line in axes.lines[4:]]
    np.testing.assert_allclose(np.concatenate(points), [1, 2, 9, 50, 200, 300])


def test_true_notes_are_outlined_in_the_salience():
    made, salience = a_salience()
    above, below = [axes for axes in made.axes if "frequency" in axes.get_ylabel()]
    np.testing.assert_array_equal(below.images[0].get_array(), salience)
    assert below.images[0].get_clim() == (0, 1)
    boxes = [(box.get_x(), box.get_x() + box.get_width(), box.get_y(), box.get_y() + box.get_height()) for box in below.patches]
    np.testing.assert_allclose(boxes, [(0.5, 1.5, 23.5, 24.5), (1.0, 2.0, 3.5, 4.5)], atol=1e-3)  # C4 and E2 over C2
    assert ticks(below, "y")["262 (C4)"] == pytest.approx(24, abs=1e-3)
    # The frame of index 0 is centred at 0 s in both.
    assert above.images[0].get_extent()[:2] == below.images[0].get_extent()[:2] == pytest.approx((-0.01, 1.99))


def test_what_is_compared_stands_at_the_sides_of_its_distances():
    recording, score, distance = noise(90, 12), noise(70, 12, seed=1), noise(90, 70, seed=2)
    made = similarity(recording, score, distance, frame_s=FRAME_S, title="a.wav", truth=[[0.1, 0.2], [1.0, 1.5]], bands="pitch")
    left, middle, below = [axes for axes in made.axes if axes.images and axes.get_label() != "<colorbar>"]
    np.testing.assert_array_equal(left.images[0].get_array(), score)
    np.testing.assert_array_equal(middle.images[0].get_array(), distance.T)
    np.testing.assert_array_equal(below.images[0].get_array(), recording.T)
    assert middle.images[0].get_extent() == pytest.approx([-0.01, 1.79, -0.01, 1.39])
    assert left.images[0].get_extent()[2:] == pytest.approx([-0.01, 1.39])
    assert below.images[0].get_extent()[:2] == pytest.approx([-0.01, 1.79])
    np.testing.assert_allclose(middle.lines[0].get_xydata(), [[0.2, 0.1], [1.5, 1.0]])


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"expected distances \(90, 70\), got \(70, 90\)"):
        similarity(noise(90, 12), noise(70, 12), noise(70, 90), frame_s=FRAME_S, title="")
    look = {"spectrogram_hertz": np.ones(4), "salience_hertz": np.ones(5), "frame_s": FRAME_S, "title": ""}
    with pytest.raises(ValueError, match=r"\(5 pitches, 9 frames\), got \(5, 8\)"):
        salience_picture(noise(4, 9), noise(5, 8), **look)


def test_distances_are_averaged_to_pixels():
    random = np.random.default_rng(0)
    costs = FeatureCosts(random.normal(size=(13, 4)), random.normal(size=(7, 4)))
    whole = costs.block(0, 13)
    found = pooled(costs, 7)
    assert found.shape == (7, 7)
    assert found[:6] == pytest.approx((whole[0:12:2] + whole[1:12:2]) / 2, abs=1e-6)
    assert found[6] == pytest.approx(whole[12], abs=1e-6)
    # Of many frames some are enough: the picture of a slope is the same.
    slope = np.linspace(0, 1, 5000)[:, None]
    exact = pooled(MatrixCosts(np.abs(slope - slope[::2].T)), 100)
    assert pooled(FeatureCosts(slope, slope[::2]), 100) == pytest.approx(exact, abs=0.02)
