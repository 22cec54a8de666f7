"""Figures of sound event detection: timelines of scores and events below a spectrogram, and scores per class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from datamodules.common.progress import progress
from models.blocks.features import LogMel
from tasks.reporting import style
from tasks.sed.metrics import SedRows, Tuning, decode_events
from tasks.sed.tables import per_class
from tasks.writers.output_files import unique_stem, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Span = tuple[float, float, str]  # onset s, offset s, class

ROW = 26  # px, height of one class
TOP, SPECTRUM, BOTTOM = 60, 200, 70  # px
BAR = 0.32  # of a row, thickness of an event


def timeline(
    scores: ArrayLike,
    *,
    classes: Sequence[str],
    frame_s: float,
    events: Sequence[Span],
    title: str,
    reference: Sequence[Span] | None = None,
    spectrogram: ArrayLike | None = None,
    mel_hertz: ArrayLike | None = None,
    hop_s: float = 0.0,
    duration_s: float | None = None,
) -> "Figure":
    """Timeline: spectrogram above the scores of each class with detected and, if known, reference events.

    Args:
        scores: (frames, classes) probabilities
        classes: names
        frame_s: time between frames, s
        events: detected events
        title: file
        reference: reference events, drawn below the detected ones
        spectrogram: (bands, columns) dB; None: no spectrogram
        mel_hertz: (bands,) centre frequency of each band, Hz
        hop_s: time between columns of the spectrogram, s
        duration_s: length of the recording, s, if shorter than its frames

    Raises:
        ValueError: the number of classes differs from the columns of scores.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        raise ValueError(f"expected scores (frames, {len(classes)} classes), got {scores.shape}")
    heights = [SPECTRUM, ROW * len(classes)] if spectrogram is not None else [ROW * len(classes)]
    figure = style.figure(TOP + sum(heights) + BOTTOM, title)
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    if spectrogram is not None:
        image = style.spectrogram(rows[0], spectrogram, mel_hertz, hop_s)
        style.dress(rows[0], None, "Hz")
        style.colour_bar(figure, image, "dB", ax=rows[0], pad=0.01)
    image = _scores(rows[-1], scores, classes, frame_s)
    style.colour_bar(figure, image, "probability", ax=rows[-1], pad=0.01)
    _bars(rows[-1], events, classes, 0.25 if reference is not None else 0.0, style.COLOURS[0], "found")
    if reference is not None:
        _bars(rows[-1], reference, classes, -0.25, style.COLOURS[2], "true")
    if events or reference:
        style.legend_above(rows[-1])
    end_s = len(scores) * frame_s
    rows[-1].set_xlim(0, end_s if duration_s is None else min(duration_s, end_s))
    style.dress(rows[-1], "time (s)")
    return figure


def _scores(axes: "Axes", scores: np.ndarray, classes: Sequence[str], frame_s: float):
    """Heat map of probabilities, one row per class, the first at the top."""
    extent = (0, len(scores) * frame_s, len(classes) - 0.5, -0.5)
    image = axes.imshow(
        scores.T, aspect="auto", cmap=style.HEAT, vmin=0.0, vmax=1.0, extent=extent, interpolation="nearest", alpha=0.8
    )
    axes.set_yticks(range(len(classes)), [style.shorten(name, 28) for name in classes], parse_math=False)
    for edge in range(1, len(classes)):
        axes.axhline(edge - 0.5, color=style.GRID, linewidth=0.8)
    return image


def _bars(axes: "Axes", events: Sequence[Span], classes: Sequence[str], shift: float, colour: str, name: str) -> None:
    rows = {label: k for k, label in enumerate(classes)}
    for number, (onset, offset, label) in enumerate(events):
        axes.barh(
            rows[label] - shift, offset - onset, BAR, onset, color=colour, label=None if number else name, edgecolor="white"
        )


def class_bars(values: Mapping[str, Sequence[float]], *, classes: Sequence[str], title: str, label: str = "F1") -> "Figure":
    """Bars of each measure per class, such as segment-based and event-based F1 in [0, 1]; NaN is left blank."""
    figure = style.figure(TOP + (ROW + 10 * len(values)) * len(classes) + BOTTOM, title)
    axes = figure.subplots()
    thick = 0.8 / max(1, len(values))
    for k, (name, colour) in enumerate(zip(values, style.colours(len(values)), strict=True)):
        positions = np.arange(len(classes)) + (k - (len(values) - 1) / 2) * thick
        heights = np.asarray(values[name], dtype=np.float64)
        axes.barh(positions, np.nan_to_num(heights), thick * 0.9, color=colour, label=name)
        for y, value in zip(positions, heights, strict=True):
            style.text(axes, np.nan_to_num(value) + 0.005, y, "-" if np.isnan(value) else f"{value:.2f}", va="center")
    axes.set_yticks(range(len(classes)), list(classes), parse_math=False)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(0, 1.05)
    style.grid(axes, "x")
    style.legend_above(axes)
    style.dress(axes, label)
    return figure


COLUMNS = 1200  # maximum of a spectrogram, about its width in pixels


def spectrogram(audio: Tensor | np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Log-mel (64 bands, columns) in dB of audio (samples,), band centres in Hz, and time between columns in s."""
    hop = max(sample_rate // 100, -(-len(audio) // COLUMNS))
    log_mel = LogMel(sample_rate, 2048, hop, 64, db="power", center=True)
    with torch.no_grad():
        levels = log_mel(torch.as_tensor(audio)[None])[0]
    return levels.numpy(), log_mel.hertz().numpy(), hop / sample_rate


def draw(bars: Path, trainer: Trainer, detector: LightningModule, split: str, count: int) -> int:
    """Draw F1 per class, and timelines of the `count` clips with the most classes; return the number of figures."""
    rows, decision = detector.rows[detector.evaluate], detector.decision("tuned")
    table = per_class(rows, decision)
    values = {name: [row[key] for row in table] for name, key in (("segment", "segment_f1"), ("event", "event_f1"))}
    title = f"F1 per class, {split} split, thresholds tuned on validation"
    write_figure(bars, class_bars(values, classes=rows.corpus.classes, title=title))
    busiest = np.argsort(-rows.corpus.tags().sum(1), kind="stable")[:count]
    for clip in progress(busiest.tolist(), "drawing timelines", unit="picture"):
        picture = clip_timeline(trainer, detector, rows, clip, decision, split)
        write_figure(bars.parent / f"timeline-{unique_stem(rows.corpus.names[clip])}.png", picture)
    return 1 + len(busiest)


def clip_timeline(trainer: Trainer, detector: LightningModule, rows: SedRows, clip: int, decision: Tuning, split: str):
    """Timeline of one evaluated clip with its reference events."""
    corpus = rows.corpus.select([clip])
    begin = int(rows.frames.lengths[:clip].sum())
    values = rows.frames.values[begin : begin + int(rows.frames.lengths[clip])]
    frames = rows.frames._replace(values=values, lengths=rows.frames.lengths[[clip]], durations=corpus.durations)
    _, events = decode_events(SedRows(rows.clip[[clip]], rows.probabilities[[clip]], frames, corpus), decision)
    spans = [
        [(float(a), float(b), corpus.classes[k]) for a, b, k in zip(table.onset, table.offset, table.label, strict=True)]
        for table in (events, corpus.events)
    ]
    audio = trainer.datamodule.clips(split).item(int(rows.clip[clip])).audio
    levels, hertz, hop_s = spectrogram(audio, detector.net.sample_rate)
    return timeline(
        values,
        classes=corpus.classes,
        frame_s=frames.frame_s,
        events=spans[0],
        reference=spans[1],
        title=corpus.names[0],
        spectrogram=levels,
        mel_hertz=hertz,
        hop_s=hop_s,
        duration_s=float(corpus.durations[0]),
    )
