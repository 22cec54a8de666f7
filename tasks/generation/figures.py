"""Figures of one piece: piano roll, self-similarity of beats, and score as SVG."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece
from datamodules.generation.writing.musicxml import musicxml_bytes
from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FRAME, SEMITONE = 120, 9.0  # px: around the rows, height of a pitch
LEAST_PITCHES, MOST_PITCHES = 18, 60  # limits of a row's height
BARS_IN_ROW, MOST_ROWS = 12, 4
MOST_LABELS = 16  # numbered bars per row
NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
BLACK = (1, 3, 6, 8, 10)
CHOIR = ("soprano", "alto", "tenor", "bass")
VOICES = (*style.COLOURS[:4], *style.COLOURS[4:6])


def piano_roll(piece: Piece, fixed: Piece | None = None, title: str = "") -> "Figure":
    """Piano roll over numbered bars and beats in rows, one colour per voice; bar 1 follows the pickup.

    Args:
        piece: piece
        fixed: input notes, drawn darker and hatched
        title: title
    """
    bars = bar_edges(piece)
    rows = min(MOST_ROWS, -(-max(len(bars) - 1, 1) // BARS_IN_ROW))
    each = -(-max(len(bars) - 1, 1) // rows)
    low, high = _span(piece)
    height = SEMITONE * min(max(high - low, LEAST_PITCHES), MOST_PITCHES)
    figure = style.figure(round(FRAME + rows * (height + 40)), title or piece.title or piece.name)
    for row, axes in enumerate(figure.subplots(rows, 1, squeeze=False)[:, 0]):
        begin, end = bars[row * each], bars[min((row + 1) * each, len(bars) - 1)]
        begin = begin if row else 0
        _staff(axes, piece, bars, (begin, end), (low, high))
        _notes(axes, piece, fixed, (begin, end))
        # All rows have the same scale: the missing part of the last one is hatched.
        limit = begin + max(bars[each], 1)
        axes.set_xlim(begin, limit)
        if row == rows - 1:
            style.hatch_padding(axes, end, limit)
        style.dress(axes, _frame(piece) if row == rows - 1 else "", "pitch")
    _legend(figure, piece, fixed)
    return figure


def self_similarity(similarity: ArrayLike, *, title: str, beats: int = 4, pickup: float = 0.0) -> "Figure":
    """Self-similarity matrix of the beats of a piece, dark where they are equal, with bar numbers on both axes.

    Args:
        similarity: (beats, beats) in [0, 1], from `tasks.generation.metrics.structure.self_similarity`
        title: name of the piece
        beats: beats per bar
        pickup: beats before the first downbeat

    Raises:
        ValueError: the matrix is not square.
    """
    similarity = np.asarray(similarity, np.float64)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not similarity.size:
        raise ValueError(f"similarity must be (beats, beats), got {similarity.shape}")
    figure = style.figure(1000, title)
    axes = figure.subplots()
    count = len(similarity)
    look = {"cmap": "Greys", "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
    image = axes.imshow(similarity, origin="lower", extent=(0, count, 0, count), **look)
    starts = np.arange(np.ceil(pickup), count, beats)
    ticks = starts[:: max(1, -(-len(starts) // MOST_LABELS))]
    labels = [f"{1 + round((start - np.ceil(pickup)) / beats)}" for start in ticks]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    style.dress(axes, "bar", "bar")
    style.colour_bar(figure, image, "similarity of beats", ax=axes, pad=0.01, fraction=0.03, aspect=40)
    return figure


def score_svg(piece: Piece) -> str | None:
    """Score as SVG; None if verovio (extra `score`) is not installed or cannot draw it.

    Raises:
        ValueError: the piece cannot be written as a score.
    """
    try:
        import verovio
    except ImportError:
        return None
    verovio.enableLog(verovio.LOG_OFF)
    drawing = verovio.toolkit()
    page = {"pageWidth": 2400, "pageHeight": 60_000, "adjustPageHeight": True, "scale": 50, "breaks": "auto"}
    # Without a seed the identifiers of elements change between runs.
    drawing.setOptions(page | {"footer": "none", "xmlIdSeed": 1, "svgViewBox": True})
    if not drawing.loadData(musicxml_bytes(piece).decode()):
        return None
    return drawing.renderToSVG(1)


def _span(piece: Piece) -> tuple[int, int]:
    """Range of drawn pitches [low, high)."""
    pitches = piece.notes[:, PITCH] if len(piece.notes) else np.array([60, 72])
    return int(pitches.min()) - 2, int(pitches.max()) + 3


def _staff(axes: "Axes", piece: Piece, bars: NDArray[np.int64], time: tuple[int, int], pitches: tuple[int, int]) -> None:
    """Draw black keys in grey, lines of beats and bars, pitch names and bar numbers."""
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
    labelled = (inside < end) & ((number - 1) % step == 0)
    axes.set_xticks(inside[labelled], [str(bar) for bar in number[labelled]])
    named = [pitch for pitch in range(low, high) if pitch % 12 in ((0, 7) if high - low > 30 else (0, 4, 7))]
    axes.set_yticks(named, [f"{NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in named])
    axes.set_ylim(low - 0.5, high - 0.5)


def _notes(axes: "Axes", piece: Piece, fixed: Piece | None, time: tuple[int, int]) -> None:
    """Draw the notes of a row as boxes, and those that continue in the next row in both."""
    notes = piece.notes[(piece.notes[:, ONSET] < time[1]) & (piece.notes[:, ONSET] + piece.notes[:, DURATION] > time[0])]
    mask = _is_fixed(notes, fixed, piece.ticks)
    # A gap separates successive notes of equal pitch.
    gap = (time[1] - time[0]) / 1000
    for voice in np.unique(notes[:, VOICE])[::-1]:
        for is_fixed in (False, True):
            boxes = notes[(notes[:, VOICE] == voice) & (mask == is_fixed)]
            look = {"facecolor": _colour(voice), "linewidth": 0.5, "edgecolor": "white", "zorder": 2}
            if is_fixed:
                look |= {"facecolor": _darker(_colour(voice)), "hatch": "////"}
            for pitch in np.unique(boxes[:, PITCH]):
                row = boxes[boxes[:, PITCH] == pitch]
                spans = [(onset, max(duration - gap, duration * 0.7)) for onset, duration in row[:, [ONSET, DURATION]]]
                axes.broken_barh(spans, (pitch - 0.42, 0.84), **look)
    if not len(piece.notes) and not time[0]:
        style.text(axes, 0.5, 0.5, "no notes", ha="center", va="center", transform=axes.transAxes)


def _is_fixed(notes: NDArray[np.int32], fixed: Piece | None, ticks: int) -> NDArray[np.bool_]:
    """Mask (n,) of notes with onset and pitch of a fixed note."""
    if fixed is None:
        return np.zeros(len(notes), bool)
    known = {(int(onset), int(pitch)) for onset, pitch in fixed.at(ticks).notes[:, [ONSET, PITCH]]}
    return np.array([(int(onset), int(pitch)) in known for onset, pitch in notes[:, [ONSET, PITCH]]], bool)


def _legend(figure: "Figure", piece: Piece, fixed: Piece | None) -> None:
    """Draw a legend of voices and hatching below the axes."""
    from matplotlib.patches import Patch

    names: Sequence[str] = CHOIR if piece.voices == len(CHOIR) else [f"voice {k + 1}" for k in range(piece.voices)]
    keys = [Patch(color=_colour(voice), label=name) for voice, name in enumerate(names[: len(VOICES)]) if piece.voices > 1]
    if fixed is not None and _is_fixed(piece.notes, fixed, piece.ticks).any():
        keys.append(Patch(facecolor="#555555", edgecolor="white", hatch="////", label="given"))
    if keys:
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=style.LABEL)


def _frame(piece: Piece) -> str:
    """Label of the bar axis with time signature and key."""
    key = "" if piece.tonic is None else f", {NAMES[piece.tonic]} {piece.mode}"
    return f"bar ({piece.beats}/{piece.beat_type}{key})"


def _colour(voice: int) -> str:
    return VOICES[int(voice) % len(VOICES)]


def _darker(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.62 * part for part in to_rgb(colour))
