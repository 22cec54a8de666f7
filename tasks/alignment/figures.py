"""Figures of alignment: path over distances, error curves of systems, errors per piece, features and salience."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MATRIX, STRIP, FRAME = 760, 120, 130  # px
LINE = 24  # px, height of one piece
MARKS = (25, 50, 100, 200)  # ms, tolerances of the paper's Table II
DISTANCES = "gray"  # small distances are dark
PATH, TRUTH = style.COLOURS[1], style.COLOURS[4]
MOST_BARS, MOST_EVENTS = 16, 300  # largest numbers drawn separately
LEAST_MS = 1.0  # start of an error axis


def path_picture(
    distance: ArrayLike,
    *,
    extent: tuple[float, float],
    path: ArrayLike,
    title: str,
    bars: ArrayLike = (),
    confidence: ArrayLike | None = None,
    truth: ArrayLike | None = None,
) -> "Figure":
    """Path over the distances of all frames, and below it confidence and error of the events.

    Args:
        distance: (rows, columns) recording against score
        extent: duration of recording and score, s
        path: (cells, 2) s in the recording, s in the score
        title: name of the file
        bars: (bars,) starts of bars 1, 2, ..., s in the score
        confidence: (events, 2) s in the recording, probability of an error below 50 ms
        truth: (events, 2) s in the score, true s in the recording

    Raises:
        ValueError: `distance` is not a matrix.
    """
    distance, path = np.asarray(distance, dtype=np.float64), np.asarray(path, dtype=np.float64)
    if distance.ndim != 2 or not distance.size:
        raise ValueError(f"distance must be (rows of the recording, columns of the score), got {distance.shape}")
    strips = [name for name, values in (("confidence", confidence), ("error (ms)", truth)) if values is not None]
    figure = style.figure(MATRIX + STRIP * len(strips) + FRAME, title)
    rows = figure.subplots(1 + len(strips), 1, sharex=True, squeeze=False, height_ratios=[MATRIX] + [STRIP] * len(strips))[:, 0]
    _matrix(figure, rows[0], distance, extent)
    line = np.insert(path, np.flatnonzero(np.diff(path[:, 1]) < 0) + 1, np.nan, axis=0)  # gap at backward jumps
    rows[0].plot(line[:, 0], line[:, 1], color=PATH, linewidth=1.8, label="path")
    if truth is not None:
        truth = np.asarray(truth, dtype=np.float64)
        error = np.stack([truth[:, 1], _path_times(path, truth[:, 0]) - truth[:, 1]], 1)
        rows[0].plot(truth[:, 1], truth[:, 0], "o", color=TRUTH, markersize=4, label="true events")
        style.legend_above(rows[0])
    _bar_lines(rows[0], np.asarray(bars, dtype=np.float64))
    for axes, strip in zip(rows[1:], strips, strict=True):
        _confidence(axes, confidence) if strip == "confidence" else _errors(axes, error)
        style.grid(axes)
    for axes, label in zip(rows, ["score (s)", *strips], strict=True):
        style.dress(axes, "recording (s)" if axes is rows[-1] else None, label)
    rows[0].set_xlim(0, extent[0])
    return figure


def error_curves(errors: Mapping[str, ArrayLike], *, title: str, limit_ms: float = 200.0, log: bool = False) -> "Figure":
    """Share of events within each tolerance, one curve per system; the legend has the shares at 25, 50, 100 and 200 ms.

    Args:
        errors: system -> (events,) errors of either sign, s
        title: data set, split
        limit_ms: largest tolerance
        log: logarithmic axis from 1 ms
    """
    figure = style.figure(520 + 24 * len(errors), title)
    axes = figure.subplots()
    tolerance = np.geomspace(LEAST_MS, limit_ms, 400) if log else np.linspace(0, limit_ms, 401)
    for mark in MARKS:
        axes.axvline(mark, color=style.FAINT, linewidth=1, linestyle=":")
    for (name, values), colour in zip(errors.items(), style.colours(len(errors)), strict=True):
        sizes = np.sort(np.abs(np.asarray(values, dtype=np.float64))) * 1000
        marks = " / ".join(f"{_share(sizes, mark):.1f}" for mark in MARKS) if len(sizes) else "no events"
        label = f"{style.shorten(name, 60)}: {marks}"
        axes.plot(tolerance, _share(sizes, tolerance), color=colour, linewidth=2, label=label)
    if log:
        axes.set_xscale("log")
        axes.set_xticks(ticks := [t for t in (1, 2, 5, 10, *MARKS, 500, 1000) if t <= limit_ms], [f"{t}" for t in ticks])
        axes.minorticks_off()
    axes.set_xlim(tolerance[0], limit_ms)
    axes.set_ylim(0, 101)
    style.grid(axes)
    style.dress(axes, f"tolerance (ms); in the legend: % within {', '.join(map(str, MARKS))} ms", "events within it (%)")
    legend = figure.legend(fontsize=style.LABEL, loc="outside lower center", ncols=1, frameon=False)
    for entry in legend.get_texts():
        entry.set_parse_math(False)
    return figure


def per_piece(errors: Mapping[str, ArrayLike], *, title: str) -> "Figure":
    """Absolute errors of each piece, best first: events as points, quartiles as a box, median as text.

    Args:
        errors: piece -> (events,) errors of either sign, s; NaN is ignored
        title: system, data set, split
    """
    sizes = {name: np.abs(np.asarray(values, dtype=np.float64)) * 1000 for name, values in errors.items()}
    sizes = {name: values[np.isfinite(values)] for name, values in sizes.items()}
    order = sorted(sizes, key=lambda name: np.median(sizes[name]) if len(sizes[name]) else np.inf)
    figure = style.figure(FRAME + LINE * max(len(order), 6), title)
    axes, random = figure.subplots(), np.random.default_rng(0)
    for mark in MARKS:
        axes.axvline(mark, color=style.FAINT, linewidth=1, linestyle=":")
    for row, name in enumerate(order):
        _box(axes, row, np.maximum(sizes[name], LEAST_MS), random)
    axes.set_xscale("log")
    most = max([1000.0, *(values.max() * 1.2 for values in sizes.values() if len(values))])
    axes.set_xlim(LEAST_MS * 0.9, most)
    ticks = [t for t in (1, 2, 5, 10, *MARKS, 500, 1000, 5000, 20_000) if t <= most]
    axes.set_xticks(ticks, [f"{t}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(order)), [f"{style.shorten(name, 40)} ({len(sizes[name])})" for name in order], parse_math=False)
    axes.set_ylim(max(len(order), 1) - 0.4, -0.6)
    style.grid(axes, "y")
    style.dress(axes, "size of the error (ms); box: quartiles, line: median", "piece (events)")
    return figure


def similarity(
    recording: ArrayLike,
    score: ArrayLike,
    distance: ArrayLike,
    *,
    frame_s: float,
    title: str,
    truth: ArrayLike = (),
    bands: str = "dimension",
) -> "Figure":
    """Features of a recording (below) and a score (left), their distances, and the true path.

    Args:
        recording: (frames, bands) features, frame i centred at i * frame_s
        score: (frames, bands) features
        distance: (frames of the recording, frames of the score)
        frame_s: hop, s
        title: name of the excerpt
        truth: (events, 2) s in the score, s in the recording
        bands: label of the feature axis

    Raises:
        ValueError: `distance` has another shape.
    """
    recording, score, distance = (np.asarray(values, dtype=np.float64) for values in (recording, score, distance))
    if distance.shape != (len(recording), len(score)):
        raise ValueError(f"expected distances ({len(recording)}, {len(score)}), got {distance.shape}")
    figure = style.figure(900, title)
    (left, middle), (corner, below) = figure.subplots(2, 2, width_ratios=[1, 4], height_ratios=[4, 1], sharex="col", sharey="row")
    corner.remove()
    extents = [(len(values) - 0.5) * frame_s for values in (recording, score)]
    look = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "cmap": style.SPECTROGRAM}
    edges = (-0.5, score.shape[1] - 0.5)
    left.imshow(score, extent=(*edges, -frame_s / 2, extents[1]), **look)
    below.imshow(recording.T, extent=(-frame_s / 2, extents[0], *edges), **look)
    _matrix(figure, middle, distance, tuple(extents), -frame_s / 2)
    if len(truth := np.asarray(truth, dtype=np.float64)):
        middle.plot(truth[:, 1], truth[:, 0], color=PATH, linewidth=1.8, label="true path")
        style.legend_above(middle)
    style.dress(left, bands, "score (s)")
    style.dress(middle, None, None)
    middle.tick_params(labelleft=False)
    style.dress(below, "recording (s)", bands)
    below.tick_params(labelleft=True)
    return figure


def _matrix(figure: "Figure", axes: "Axes", distance: np.ndarray, extent: tuple[float, float], begin: float = 0.0) -> None:
    """Draw distances in grey, score upwards, with contrast between the 1st and the 99th percentile."""
    known = distance[np.isfinite(distance)]
    low, high = np.percentile(known, [1, 99]) if len(known) else (0.0, 1.0)
    limits = {"vmin": low, "vmax": max(high, low + 1e-9), "cmap": DISTANCES, "interpolation": "nearest"}
    image = axes.imshow(distance.T, aspect="auto", origin="lower", extent=(begin, extent[0], begin, extent[1]), **limits)
    style.colour_bar(figure, image, "distance", ax=axes, pad=0.01, fraction=0.03, aspect=40)


def _bar_lines(axes: "Axes", bars: np.ndarray) -> None:
    """Draw bar lines, and bar numbers at the right."""
    if not len(bars):
        return
    step = next(step for step in (1, 2, 4, 8, 16, 32, 64, 128, len(bars)) if len(bars) / step <= MOST_BARS)
    right = axes.secondary_yaxis("right")
    right.set_yticks(bars[::step], [str(number) for number in range(1, len(bars) + 1, step)])
    style.dress(right, None, "bar")
    for bar in bars[::step]:
        axes.axhline(bar, color="white", linewidth=0.6, alpha=0.5)


def _confidence(axes: "Axes", confidence: ArrayLike) -> None:
    time, level = np.asarray(confidence, dtype=np.float64).reshape(-1, 2).T
    if len(time) > MOST_EVENTS:  # means of equal intervals, as single events would fill the strip
        interval = np.minimum((time - time.min()) / (np.ptp(time) or 1.0) * MOST_EVENTS, MOST_EVENTS - 1).astype(int)
        count = np.bincount(interval)
        time, level = (np.bincount(interval, values)[count > 0] / count[count > 0] for values in (time, level))
    axes.fill_between(time, level, color=style.COLOURS[0], alpha=0.35, linewidth=0)
    axes.plot(time, level, color=style.COLOURS[0], linewidth=1.2)
    axes.set_ylim(0, 1.05)


def _path_times(path: np.ndarray, score_s: np.ndarray) -> np.ndarray:
    """Times in the recording of times in the score: mean of the cells of a score frame, linear in between."""
    columns, back = np.unique(path[:, 1], return_inverse=True)
    return np.interp(score_s, columns, np.bincount(back, path[:, 0]) / np.bincount(back))


def _errors(axes: "Axes", error: np.ndarray) -> None:
    axes.axhline(0.0, color=style.FAINT, linewidth=1.2)
    axes.plot(error[:, 0], error[:, 1] * 1000, ".", color=style.INK, markersize=5)


def _share(sizes: np.ndarray, within: Any) -> Any:
    """Percentage of sorted errors below a tolerance; NaN counts as above."""
    return 100 * np.searchsorted(sizes, within, side="left") / max(len(sizes), 1)


def _box(axes: "Axes", row: float, sizes: np.ndarray, random: np.random.Generator) -> None:
    if not len(sizes):
        style.text(axes, LEAST_MS, row, "no events", va="center")
        return
    colour, spread = style.COLOURS[0], 0.5 * (random.random(len(sizes)) - 0.5)
    axes.plot(sizes, row + spread, ".", color=colour, alpha=min(0.7, 60 / len(sizes) + 0.15), markersize=5, markeredgewidth=0)
    low, middle, high = np.percentile(sizes, [25, 50, 75])
    axes.barh(row, high - low, 0.62, low, facecolor="none", edgecolor=style.INK, linewidth=1.2)
    axes.vlines(middle, row - 0.31, row + 0.31, color=PATH, linewidth=3)
    style.text(axes, 1.005, row, f"{middle:.0f} ms", va="center", transform=axes.get_yaxis_transform())


# Salience

OUTLINE = style.COLOURS[4]


def salience_picture(
    spectrogram: ArrayLike,
    salience: ArrayLike,
    *,
    spectrogram_hertz: ArrayLike,
    salience_hertz: ArrayLike,
    frame_s: float,
    title: str,
    notes: ArrayLike = (),
) -> "Figure":
    """Spectrogram and pitch salience (Figure 2) with outlines of the true notes.

    Args:
        spectrogram: (bins, frames) dB, frame i centred at i * frame_s
        salience: (pitches, frames) in [0, 1]
        spectrogram_hertz: (bins,) increasing, Hz
        salience_hertz: (pitches,) evenly spaced in pitch, Hz
        frame_s: hop, s
        title: name of the file
        notes: (notes, 3) onset s, offset s, MIDI number

    Raises:
        ValueError: numbers of frames or pitches differ.
    """
    salience, hertz = np.asarray(salience, dtype=np.float64), np.asarray(salience_hertz, dtype=np.float64)
    frames = np.asarray(spectrogram).shape[-1]
    if salience.shape != (len(hertz), frames):
        raise ValueError(f"expected salience ({len(hertz)} pitches, {frames} frames), got {salience.shape}")
    figure = style.figure(820, title)
    above, below = figure.subplots(2, 1, sharex=True)
    image = style.spectrogram(above, spectrogram, spectrogram_hertz, frame_s, -frame_s / 2)
    style.colour_bar(figure, image, "dB below the loudest", ax=above, pad=0.01)
    extent = (-frame_s / 2, (frames - 0.5) * frame_s, -0.5, len(hertz) - 0.5)
    look = {"cmap": style.SPECTROGRAM, "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
    image = below.imshow(salience, aspect="auto", origin="lower", extent=extent, **look)
    style.colour_bar(figure, image, "salience", ax=below, pad=0.01)
    _octaves(below, hertz)
    _outline(below, np.asarray(notes, dtype=np.float64).reshape(-1, 3), hertz)
    below.set_xlim(0.0, extent[1])  # the first frame is centred at 0
    style.dress(above, None, "frequency (Hz)")
    style.dress(below, "time (s)", "fundamental frequency (Hz)")
    return figure


def _octaves(axes: "Axes", hertz: np.ndarray) -> None:
    """Draw a tick at every C."""
    ticks = {note: 440 * 2 ** ((note - 69) / 12) for note in range(12, 128, 12)}
    ticks = {note: value for note, value in ticks.items() if hertz[0] <= value <= hertz[-1]}
    axes.set_yticks(_positions(hertz, list(ticks.values())), [f"{v:.0f} (C{note // 12 - 1})" for note, v in ticks.items()])


def _outline(axes: "Axes", notes: np.ndarray, hertz: np.ndarray) -> None:
    """Draw a box with the height of a semitone around each note."""
    from matplotlib.patches import Rectangle

    look = {"facecolor": "none", "edgecolor": OUTLINE, "linewidth": 1.2}
    edges = [_positions(hertz, 440 * 2 ** ((notes[:, 2] + half - 69) / 12)) for half in (-0.5, 0.5)]
    for (onset, offset, _), low, high in zip(notes, *edges, strict=True):
        axes.add_patch(Rectangle((onset, low), offset - onset, high - low, **look))


def _positions(hertz: np.ndarray, values: ArrayLike) -> np.ndarray:
    """Fractional rows of frequencies on an axis that is linear in pitch, extrapolated beyond its ends."""
    pitch = np.log2(hertz)
    return (np.log2(values) - pitch[0]) / (pitch[-1] - pitch[0]) * (len(hertz) - 1)
