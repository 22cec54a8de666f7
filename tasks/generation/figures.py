"""Pictures of one piece: its notes over bars and beats, what returns in it, and its score."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece
from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FRAME, SEMITONE = 120, 9.0  # px: around the rows, height of a pitch
LEAST_PITCHES, MOST_PITCHES = 18, 60  # that a row is as high as
BARS_IN_ROW, MOST_ROWS = 12, 4
MOST_LABELS = 16  # bars of a row that are numbered
NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
BLACK = (1, 3, 6, 8, 10)
CHOIR = ("soprano", "alto", "tenor", "bass")
VOICES = (*style.COLOURS[:4], *style.COLOURS[4:6])


def piano_roll(piece: Piece, given: Piece | None = None, title: str = "") -> "Figure":
    """All notes over numbered bars and beats, a colour a voice, in rows of so many bars; bar 1 follows the pickup.

    Args:
        piece: to draw
        given: what of it was given: notes that it holds too are darker and hatched
        title: above the picture
    """
    bars = bar_edges(piece)
    rows = min(MOST_ROWS, -(-max(len(bars) - 1, 1) // BARS_IN_ROW))
    each = -(-max(len(bars) - 1, 1) // rows)
    low, high = _span(piece)
    height = SEMITONE * min(max(high - low, LEAST_PITCHES), MOST_PITCHES)
    made = style.figure(round(FRAME + rows * (height + 40)), title or piece.title or piece.name)
    for row, axes in enumerate(made.subplots(rows, 1, squeeze=False)[:, 0]):
        begin, end = bars[row * each], bars[min((row + 1) * each, len(bars) - 1)]
        begin = begin if row else 0
        _staff(axes, piece, bars, (begin, end), (low, high))
        _notes(axes, piece, given, (begin, end))
        # One scale for all rows: what the last one lacks is hatched.
        limit = begin + max(bars[each], 1)
        axes.set_xlim(begin, limit)
        if row == rows - 1:
            style.hatch_padding(axes, end, limit)
        style.dress(axes, _frame(piece) if row == rows - 1 else "", "pitch")
    _legend(made, piece, given)
    return made


def self_similarity(likeness: ArrayLike, *, title: str, beats: int = 4, pickup: float = 0.0) -> "Figure":
    """How alike the beats of a piece are, dark where they are the same; bars are numbered along both sides.

    Args:
        likeness: (beats, beats) in [0, 1], as `tasks.generation.metrics.structure.self_similarity` finds it
        title: the piece
        beats: of a bar
        pickup: beats before the first downbeat

    Raises:
        ValueError: a likeness that is no square.
    """
    likeness = np.asarray(likeness, np.float64)
    if likeness.ndim != 2 or likeness.shape[0] != likeness.shape[1] or not likeness.size:
        raise ValueError(f"likeness must be (beats, beats), got {likeness.shape}")
    made = style.figure(1000, title)
    axes = made.subplots()
    count = len(likeness)
    look = {"cmap": "Greys", "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
    image = axes.imshow(likeness, origin="lower", extent=(0, count, 0, count), **look)
    starts = np.arange(np.ceil(pickup), count, beats)
    shown = starts[:: max(1, -(-len(starts) // MOST_LABELS))]
    labels = [f"{1 + round((start - np.ceil(pickup)) / beats)}" for start in shown]
    axes.set_xticks(shown, labels)
    axes.set_yticks(shown, labels)
    style.dress(axes, "bar", "bar")
    style.colour_bar(made, image, "likeness of beats", ax=axes, pad=0.01, fraction=0.03, aspect=40)
    return made


def score_svg(piece: Piece) -> str | None:
    """The score as one SVG picture; None where verovio (extra `score`) is not installed or cannot draw it.

    Raises:
        ValueError: a piece that cannot be written as a score.
    """
    try:
        import verovio
    except ImportError:
        return None
    from datamodules.generation.writing.musicxml import musicxml_bytes

    verovio.enableLog(verovio.LOG_OFF)
    drawing = verovio.toolkit()
    page = {"pageWidth": 2400, "pageHeight": 60_000, "adjustPageHeight": True, "scale": 50, "breaks": "auto"}
    # Without a seed the elements' names change from run to run.
    drawing.setOptions(page | {"footer": "none", "xmlIdSeed": 1, "svgViewBox": True})
    if not drawing.loadData(musicxml_bytes(piece).decode()):
        return None
    return drawing.renderToSVG(1)


def _span(piece: Piece) -> tuple[int, int]:
    """Lowest pitch that is shown and the one above the highest."""
    pitches = piece.notes[:, PITCH] if len(piece.notes) else np.array([60, 72])
    return int(pitches.min()) - 2, int(pitches.max()) + 3


def _staff(axes: "Axes", piece: Piece, bars: NDArray[np.int64], time: tuple[int, int], pitches: tuple[int, int]) -> None:
    """Rows of black keys in grey, lines of beats and bars, names of pitches and numbers of bars."""
    low, high = pitches
    for pitch in range(low, high):
        if pitch % 12 in BLACK:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color="#F3F3F3", zorder=0, linewidth=0)
    begin, end = time
    inside = bars[(bars >= begin) & (bars <= end)]
    beat = 4 * piece.ticks // piece.beat_type
    if len(inside) <= 2 * MOST_LABELS:
        beats = np.arange(piece.pickup - piece.pickup // beat * beat, end, beat)
        axes.vlines(beats[beats >= begin], low - 0.5, high - 0.5, color=style.GRID, linewidth=0.6, zorder=0.5)
    axes.vlines(inside, low - 0.5, high - 0.5, color=style.FAINT, linewidth=1.0, zorder=1)
    number = np.searchsorted(bars, inside) + 1
    step = max(1, -(-len(inside) // MOST_LABELS))
    shown = (inside < end) & ((number - 1) % step == 0)
    axes.set_xticks(inside[shown], [str(bar) for bar in number[shown]])
    named = [pitch for pitch in range(low, high) if pitch % 12 in ((0, 7) if high - low > 30 else (0, 4, 7))]
    axes.set_yticks(named, [f"{NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in named])
    axes.set_ylim(low - 0.5, high - 0.5)


def _notes(axes: "Axes", piece: Piece, given: Piece | None, time: tuple[int, int]) -> None:
    """Notes of the row as boxes; of a note that goes on in the next row each has its part."""
    notes = piece.notes[(piece.notes[:, ONSET] < time[1]) & (piece.notes[:, ONSET] + piece.notes[:, DURATION] > time[0])]
    fixed = _given(notes, given, piece.ticks)
    # A sliver of white parts a note from the next one on its pitch.
    gap = (time[1] - time[0]) / 1000
    for voice in np.unique(notes[:, VOICE])[::-1]:
        for is_given in (False, True):
            chosen = notes[(notes[:, VOICE] == voice) & (fixed == is_given)]
            look = {"facecolor": _colour(voice), "linewidth": 0.5, "edgecolor": "white", "zorder": 2}
            if is_given:
                look |= {"facecolor": _darker(_colour(voice)), "hatch": "////"}
            for pitch in np.unique(chosen[:, PITCH]):
                some = chosen[chosen[:, PITCH] == pitch]
                spans = [(onset, max(duration - gap, duration * 0.7)) for onset, duration in some[:, [ONSET, DURATION]]]
                axes.broken_barh(spans, (pitch - 0.42, 0.84), **look)
    if not len(piece.notes) and not time[0]:
        style.text(axes, 0.5, 0.5, "no notes", ha="center", va="center", transform=axes.transAxes)


def _given(notes: NDArray[np.int32], given: Piece | None, ticks: int) -> NDArray[np.bool_]:
    """Which notes (n,) begin as a given one does, at its pitch."""
    if given is None:
        return np.zeros(len(notes), bool)
    known = {(int(onset), int(pitch)) for onset, pitch in given.at(ticks).notes[:, [ONSET, PITCH]]}
    return np.array([(int(onset), int(pitch)) in known for onset, pitch in notes[:, [ONSET, PITCH]]], bool)


def _legend(made: "Figure", piece: Piece, given: Piece | None) -> None:
    """Names of the voices, and what hatching means, below the picture."""
    from matplotlib.patches import Patch

    names: Sequence[str] = CHOIR if piece.voices == len(CHOIR) else [f"voice {k + 1}" for k in range(piece.voices)]
    keys = [Patch(color=_colour(voice), label=name) for voice, name in enumerate(names[: len(VOICES)]) if piece.voices > 1]
    if given is not None and _given(piece.notes, given, piece.ticks).any():
        keys.append(Patch(facecolor="#555555", edgecolor="white", hatch="////", label="given"))
    if keys:
        made.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=style.LABEL)


def _frame(piece: Piece) -> str:
    """What stands at the bar axis: metre and key."""
    key = "" if piece.tonic is None else f", {NAMES[piece.tonic]} {piece.mode}"
    return f"bar ({piece.beats}/{piece.beat_type}{key})"


def _colour(voice: int) -> str:
    return VOICES[int(voice) % len(VOICES)]


def _darker(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.62 * part for part in to_rgb(colour))
