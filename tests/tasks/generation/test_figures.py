"""Pictures of music: notes where bars and pitches say, 1200 px wide, and every system beside the corpus."""

import re

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection

from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import Piece
from tasks.generation.figures import piano_roll, score_svg, self_similarity
from tasks.generation.figures_compared import likelihoods, novelty_figure, overlap_figure, profile_figure, rules_figure
from tasks.generation.metrics import structure
from tasks.generation.metrics.features import overlap
from tasks.generation.metrics.likelihood import FrameLikelihood
from tasks.generation.metrics.originality import originality
from tasks.generation.metrics.rules import RULES, check
from tasks.metrics.bootstrap import Interval
from tasks.reporting import style
from tasks.writers.output_files import write_figure
from tests.helpers.written_pieces import written

ROWS = [[72, 67, 64, 48], [74, 67, 59, 55], [72, 65, 57, 53], [71, 67, 62, 43], [72, 64, 60, 48]]
WALTZ = {"metres": np.array([[0, 3, 4]], np.int32), "pickup": 8, "tonic": 7, "mode": "minor"}


def waltz(times: int = 3) -> Piece:
    """Quarters in 3/4 after a pickup of two of them."""
    return written(ROWS * times, **WALTZ)


def words(figure) -> list[str]:
    figure.draw_without_rendering()
    return [found.get_text() for found in figure.findobj(mpl.text.Text) if found.get_text()]


def boxes(axes) -> dict[tuple[float, float], PolyCollection]:
    """Boxes of notes by onset and pitch."""
    found = {}
    for collection in axes.collections:
        if isinstance(collection, PolyCollection):
            for path in collection.get_paths():
                (left, low), (_, high) = path.vertices.min(0), path.vertices.max(0)
                found[round(left, 6), round((low + high) / 2, 6)] = collection
    return found


def sets() -> dict[str, list[Piece]]:
    random = np.random.default_rng(0)
    made = {}
    for name in ("test pieces", "a_b $c$", "Markov chain"):
        made[name] = [written((np.array(ROWS * 3) + random.integers(-1, 2, (15, 4))).tolist()) for _ in range(3)]
    return made


def scored(seed: int) -> FrameLikelihood:
    scores = FrameLikelihood()
    nll = torch.from_numpy(np.random.default_rng(seed).gamma(2.0, 1.0 + seed, (6, 9)))
    scores.update(range(6), nll, torch.ones(6, 9, dtype=torch.bool), 4)
    return scores


def every_figure():
    music, training = sets(), sets()["Markov chain"]
    return {
        "roll": piano_roll(waltz(), title="a_b $c$"),
        "long": piano_roll(waltz(60)),
        "empty": piano_roll(waltz().with_notes(np.zeros((0, 5)))),
        "returns": self_similarity(structure.self_similarity(waltz()), title="a_b $c$", beats=3, pickup=2),
        "nats": likelihoods({"a_b $c$": scored(0).rows(), "b": scored(1).rows(), "none": FrameLikelihood().rows()}, title="test"),
        "rules": rules_figure({name: check(pieces, resamples=20) for name, pieces in music.items()} | {"melody": {}}),
        "overlap": overlap_figure({name: overlap(pieces, training, resamples=20) for name, pieces in music.items()}),
        "novelty": novelty_figure({name: originality(p, training, resamples=20).novelty for name, p in music.items()}),
        "profile": profile_figure({name: structure.profile(pieces, 8) for name, pieces in music.items()}),
        "nothing": rules_figure({}),
    }


def test_every_picture_is_1200_pixels_wide_and_leaves_matplotlib_alone(tmp_path):
    from PIL import Image

    before, backend = dict(mpl.rcParams), mpl.get_backend()
    for name, figure in every_figure().items():
        with Image.open(write_figure(tmp_path / f"{name}.png", figure)) as picture:
            assert picture.size[0] == style.WIDTH and picture.size[1] < 2500, name
        if name in ("rules", "overlap", "novelty", "profile"):
            assert {"a_b $c$", "Markov chain", "test pieces"} <= set(words(figure)), name
    assert dict(mpl.rcParams) == before and mpl.get_backend() == backend


def test_notes_stand_at_their_onset_and_pitch_in_the_colour_of_their_voice():
    axes = piano_roll(waltz(1)).axes[0]
    found = boxes(axes)
    assert set(found) == {(4.0 * t, float(pitch)) for t, row in enumerate(ROWS) for pitch in row}
    for voice, pitch in enumerate(ROWS[0]):
        assert mpl.colors.to_hex(found[0.0, float(pitch)].get_facecolor()[0]).upper() == style.COLOURS[voice]
    assert axes.get_xlim() == (0, 20) and axes.get_ylim() == (40.5, 76.5)


def test_bars_are_numbered_after_the_pickup_and_the_metre_and_key_are_said():
    axes = piano_roll(waltz()).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4", "5"]
    assert axes.get_xticks().tolist() == [8, 20, 32, 44, 56] and axes.get_xlabel() == "bar (3/4, G minor)"


def test_bar_lines_follow_changes_of_metre():
    piece = written([[60]] * 12, metres=np.array([[0, 2, 4], [16, 6, 8]], np.int32))
    assert bar_edges(piece).tolist() == [0, 8, 16, 28, 40, 52]
    assert bar_edges(written([[60]], pickup=4)).tolist() == [4, 20], "a pickup alone"
    piece = written([[60]] * 9, metres=np.array([[0, 4, 4], [20, 3, 4]], np.int32))
    assert bar_edges(piece).tolist() == [0, 16, 20, 32, 44], "a change of metre begins a bar, as in the score"


def test_given_notes_are_darker_and_hatched():
    piece = waltz(1)
    figure = piano_roll(piece, piece.with_notes(piece.voice(0)).at(480), "harmonise")
    found = boxes(figure.axes[0])
    for t, row in enumerate(ROWS):
        assert found[4.0 * t, float(row[0])].get_hatch() and not found[4.0 * t, float(row[3])].get_hatch()
    assert "given" in words(figure) and "given" not in words(piano_roll(piece))
    assert sum(found[0.0, 72.0].get_facecolor()[0][:3]) < sum(mpl.colors.to_rgb(style.COLOURS[0]))


def test_a_long_piece_is_drawn_in_rows_of_one_scale():
    figure = piano_roll(waltz(60))
    starts, widths = zip(*((axes.get_xlim()[0], np.ptp(axes.get_xlim())) for axes in figure.axes), strict=True)
    assert len(figure.axes) == 4 and len(set(widths)) == 1 and list(starts) == sorted(starts)
    labels = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert labels[0] == "1" and len(set(labels)) == len(labels)
    assert sum(len(boxes(axes)) for axes in figure.axes) >= 60 * 20


def test_what_the_last_row_lacks_is_hatched():
    figure, bars = piano_roll(waltz(25)), bar_edges(waltz(25))
    hatched = [[patch for patch in axes.patches if patch.get_hatch() == "//"] for axes in figure.axes]
    assert [len(patches) for patches in hatched] == [0, 0, 0, 1]
    assert hatched[3][0].get_x() == bars[-1] and hatched[3][0].get_x() + hatched[3][0].get_width() == figure.axes[3].get_xlim()[1]


def test_beats_are_numbered_by_bars_and_a_matrix_must_be_square():
    figure = self_similarity(np.eye(14), title="", beats=3, pickup=2)
    assert figure.axes[0].get_xticks().tolist() == [2, 5, 8, 11]
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        self_similarity(np.zeros((3, 4)), title="")


def test_rates_stand_where_they_are_and_none_at_the_edge():
    rates = {name: Interval(2.0, 1.0, 4.0) for name in RULES}
    figure = rules_figure({"test pieces": rates | {"leaps": Interval(0, 0, 0)}, "ours": rates | {"leaps": [None, None, None]}})
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [name.replace("_", " ") for name in RULES]
    assert axes.get_xscale() == "log" and axes.get_xticklabels()[0].get_text() == "none"
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert dots[:-1] == [2.0] * (len(RULES) - 1) and np.isnan(dots[-1])


def test_a_score_is_drawn_the_same_each_time():
    pytest.importorskip("verovio")
    drawn = score_svg(waltz())
    assert drawn == score_svg(waltz()) and drawn.startswith("<svg")
    assert len(re.findall(r'class="note"', drawn)) == waltz().notes.shape[0]
