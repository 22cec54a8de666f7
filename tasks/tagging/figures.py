"""Figures of tagging: attention maps, contribution maps, tags over time, and scores per tag."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ROW = 52  # px, height of one heat row
SPECTROGRAM = 270  # px, height of the spectrogram
FLAT = 0.02  # minimum range of the colour scale, so that rounding noise does not look like structure
LINE = 21  # px, height of one tag in a chart
FRAME = 140  # px, for title and axis


def attention_map(
    spectrogram: ArrayLike,
    attention: ArrayLike,
    *,
    mel_hertz: ArrayLike,
    hop_s: float,
    title: str,
    start_s: float = 0.0,
    token_s: float | None = None,
    end_s: float | None = None,
    per_head: bool = False,
) -> "Figure":
    """Attention of the [CLS] token in the last layer below the spectrogram (Figures 6 and 8-11).

    The heads are summed, as in the paper. The box on the left is the attention of [CLS] to itself.

    Args:
        spectrogram: (mels, frames) dB
        attention: (heads, 1 + tokens), softmax scores, [CLS] first
        mel_hertz: (mels,) centre frequencies, Hz
        hop_s: time between frames, s
        title: file and tag
        start_s: time of the first frame, s
        token_s: time between tokens, s, if other than `hop_s` (raw front end)
        end_s: end of the recording, s; padding behind it is hatched
        per_head: add one row per head

    Raises:
        ValueError: another shape.
    """
    attention = np.asarray(attention, dtype=np.float64)
    if attention.ndim != 2 or attention.shape[1] < 2:
        raise ValueError(f"attention must be (heads, 1 + tokens), got {attention.shape}")
    total = attention.sum(axis=0)
    rows = [("all heads" if len(attention) > 1 else "attention", total)]
    if per_head:
        rows += [(f"head {i + 1}", head) for i, head in enumerate(attention)]
    figure, top, cells = _stack(title, spectrogram, mel_hertz, hop_s, start_s, len(rows), extra=True)
    for (name, values), (side, axes, bar) in zip(rows, cells, strict=True):
        # One colour scale for the heads, another for their sum; [CLS] may saturate so that the tokens stay visible.
        scale = [total] if values is total else list(attention)
        limits = {"vmin": 0.0, "vmax": max(float(v[1:].max()) for v in scale) or 1.0}
        image = _heat(axes, values[1:], start_s, token_s or hop_s, limits)
        _cls_box(side, name, values[0], limits)
        side.set_xticks([0], ["[CLS]"] if axes is cells[-1][1] else [""])
        _two_ticks(figure, image, bar, ("0", f"{limits['vmax']:.2g}"))
    _hatch([top, *(axes for _, axes, _ in cells)], end_s)
    return figure


def contribution_map(
    spectrogram: ArrayLike,
    contribution: ArrayLike,
    *,
    tags: Sequence[str],
    mel_hertz: ArrayLike,
    hop_s: float,
    title: str,
    start_s: float = 0.0,
    token_s: float | None = None,
    end_s: float | None = None,
    boundary_s: float | None = None,
    halves: Sequence[str] = (),
) -> "Figure":
    """Contribution of each frame to each tag, below the spectrogram (Figures 7 and 12).

    All rows share one colour scale, so that a nearly constant row looks flat. (The paper scales each row by itself.)

    Args:
        spectrogram: (mels, frames) dB, two clips joined in Figures 7 and 12
        contribution: (frames, tags) probability with all attention on that frame
        tags: names of the columns, one row each
        mel_hertz: (mels,) centre frequencies, Hz
        hop_s: time between frames, s
        title: file or files
        start_s: time of the first frame, s
        token_s: time between tokens, s, if other than `hop_s` (raw front end)
        end_s: end of the recording, s; padding behind it is hatched
        boundary_s: start of the second clip, s
        halves: names of the two clips, written above the spectrogram

    Raises:
        ValueError: the number of names differs from the number of columns.
    """
    contribution = np.asarray(contribution, dtype=np.float64)
    if contribution.ndim != 2 or contribution.shape[1] != len(tags):
        raise ValueError(f"contribution must be (frames, {len(tags)} tags), got {contribution.shape}")
    figure, top, cells = _stack(title, spectrogram, mel_hertz, hop_s, start_s, len(tags))
    low, high = float(contribution.min()), float(contribution.max())
    limits = {"vmin": low, "vmax": max(high, low + FLAT)}
    for name, values, (_, axes, bar) in zip(tags, contribution.T, cells, strict=True):
        image = _heat(axes, values, start_s, token_s or hop_s, limits)
        axes.set_yticks([0], [style.shorten(name, 18)], parse_math=False)
        _two_ticks(figure, image, bar, (f"{limits['vmin']:.2f}", f"{limits['vmax']:.2f}"))
    _hatch([top, *(axes for _, axes, _ in cells)], end_s)
    if boundary_s is not None:
        _divide([top, *(axes for _, axes, _ in cells)], boundary_s, halves)
    return figure


def timeline(
    probabilities: ArrayLike, *, tags: Sequence[str], centres_s: ArrayLike, end_s: float, title: str, top: int | None = 15
) -> "Figure":
    """Tag probabilities over time ("taggram"), sorted by their mean.

    Args:
        probabilities: (steps, tags)
        tags: names of the columns
        centres_s: (steps,) centre of the chunk of each step, s, ascending; a step extends half-way to its neighbours
        end_s: length of the recording, s
        title: file
        top: number of tags; None: all

    Raises:
        ValueError: the number of names or centres does not match the probabilities.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(tags):
        raise ValueError(f"probabilities must be (steps, {len(tags)} tags), got {probabilities.shape}")
    centres = np.asarray(centres_s, dtype=np.float64)
    if centres.shape != probabilities.shape[:1]:
        raise ValueError(f"expected {len(probabilities)} centres, one per step, got {centres.shape}")
    edges = np.concatenate([[0.0], np.clip((centres[1:] + centres[:-1]) / 2, 0.0, end_s), [end_s]])
    order = np.argsort(-probabilities.mean(axis=0), kind="stable")[:top]
    figure = style.figure(FRAME + 24 * max(len(order), 4), title)
    axes, bar = figure.subplots(1, 2, width_ratios=[1.0, 0.014])
    rows = np.arange(len(order) + 1) - 0.5
    look = {"cmap": style.HEAT, "vmin": 0.0, "vmax": 1.0, "rasterized": True}
    image = axes.pcolormesh(edges, rows, probabilities[:, order].T, **look)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(0.0, end_s)
    names = [f"{style.shorten(tags[i], 28)}  {probabilities[:, i].mean():.2f}" for i in order]
    axes.set_yticks(range(len(order)), names, parse_math=False)
    for edge in range(1, len(order)):
        axes.axhline(edge - 0.5, color="white", linewidth=1)
    style.dress(axes, "time (s)", "tag and its mean")
    style.colour_bar(figure, image, "probability", cax=bar)
    return figure


def per_tag_bars(rows: Sequence[Mapping[str, Any]], *, title: str) -> "Figure":
    """ROC AUC and average precision of every tag with confidence intervals, sorted by ROC AUC.

    The mark in the right panel is the share of positives, the average precision of a random ranking.

    Args:
        rows: table of `tasks.tagging.metrics.per_tag_table`
        title: data set, subset, split, policy
    """
    ranked = sorted(rows, key=lambda row: -row["auroc"] if np.isfinite(row["auroc"]) else np.inf)
    figure = style.figure(FRAME + LINE * max(len(ranked), 8), title)
    y = np.arange(len(ranked))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, label, colour in zip(panels, ("auroc", "ap"), ("AUROC", "average precision"), style.COLOURS[:2], strict=True):
        value, low, high = (np.array([row[key + end] for row in ranked], dtype=float) for end in ("", "_low", "_high"))
        axes.hlines(y, low, high, color=colour, alpha=0.35, linewidth=7)
        axes.plot(value, y, "o", color=colour, markersize=5)
        if np.isfinite(value).any():
            mean = float(np.nanmean(value))
            axes.axvline(mean, color=style.INK, linewidth=1, linestyle="--", label=f"mean {mean:.3f}")
        for i in np.flatnonzero(~np.isfinite(value)):
            style.text(axes, 0.99, i, "not scored", ha="right", va="center", transform=axes.get_yaxis_transform())
        style.grid(axes, "x")
        style.dress(axes, label)
    panels[0].axvline(0.5, color=style.FAINT, linewidth=1.5, label="guessing")
    chance = [row["prevalence"] for row in ranked]
    panels[1].plot(chance, y, "|", color=style.INK, markersize=10, label="guessing (share of positives)")
    panels[0].set_xlim(right=1.005)
    panels[1].set_xlim(left=-0.01, right=1.01)
    panels[0].set_yticks(y, [f"{style.shorten(row['tag'], 30)} ({row['support']})" for row in ranked], parse_math=False)
    panels[0].set_ylim(len(ranked) - 0.4, -0.6)
    panels[0].set_ylabel(f"tag (positives among {ranked[0]['clips'] if ranked else 0})", fontsize=style.LABEL, color=style.INK)
    for axes in panels:
        style.legend_above(axes, style.TICK - 1)
    return figure


def _stack(
    title: str, spectrogram: ArrayLike, mel_hertz: ArrayLike, hop_s: float, start_s: float, rows: int, extra: bool = False
) -> tuple["Figure", "Axes", list[tuple["Axes", "Axes", "Axes"]]]:
    """Spectrogram above `rows` heat rows; each row is (left box or the row itself, row, colour bar)."""
    figure = style.figure(FRAME + SPECTROGRAM + ROW * rows, title)
    figure.get_layout_engine().set(hspace=0.0, h_pad=0.04)
    widths = [0.045, 1.0, 0.014] if extra else [1.0, 0.014]
    grid = figure.add_gridspec(1 + rows, len(widths), width_ratios=widths, height_ratios=[SPECTROGRAM] + [ROW] * rows)
    main = len(widths) - 2
    top = figure.add_subplot(grid[0, main])
    image = style.spectrogram(top, spectrogram, mel_hertz, hop_s, start_s)
    top.set_xlim(start_s, start_s + np.asarray(spectrogram).shape[1] * hop_s)  # tokens may end elsewhere
    style.dress(top, y="frequency (Hz)")
    style.colour_bar(figure, image, "dB below peak", cax=figure.add_subplot(grid[0, -1]))
    cells = []
    for i in range(1, 1 + rows):
        axes = figure.add_subplot(grid[i, main], sharex=top)
        style.dress(axes, "time (s)" if i == rows else None)
        axes.set_yticks([])
        cells.append((figure.add_subplot(grid[i, 0]) if extra else axes, axes, figure.add_subplot(grid[i, -1])))
    return figure, top, cells


def _heat(axes: "Axes", values: ArrayLike, start_s: float, step_s: float, limits: Mapping[str, float]) -> Any:
    """Heat row of values over time."""
    extent = (start_s, start_s + len(values) * step_s, -0.5, 0.5)
    return axes.imshow(values[None], aspect="auto", cmap=style.HEAT, interpolation="nearest", extent=extent, **limits)


def _hatch(stack: Sequence["Axes"], end_s: float | None) -> None:
    """Hatch the padding behind the end of the recording."""
    for axes in stack if end_s is not None else ():
        style.hatch_padding(axes, end_s, axes.get_xlim()[1])


def _cls_box(axes: "Axes", name: str, score: float, limits: Mapping[str, float]) -> None:
    """Attention of [CLS] to itself, as colour and number."""
    axes.imshow([[score]], aspect="auto", cmap=style.HEAT, **limits)
    axes.set_yticks([0], [name])
    style.dress(axes, x="")
    colour, digits = "white" if score > 0.6 * limits["vmax"] else style.INK, 2 if score >= 0.1 else 3
    style.text(axes, 0, 0, f"{score:.{digits}f}", ha="center", va="center", fontsize=10, color=colour)


def _two_ticks(figure: "Figure", image: Any, bar: "Axes", ends: tuple[str, str]) -> None:
    """Colour bar of a row with ticks at its two ends."""
    style.colour_bar(figure, image, "", cax=bar)
    bar.set_yticks([image.norm.vmin, image.norm.vmax], ends)


def _divide(stack: Sequence["Axes"], boundary_s: float, halves: Sequence[str]) -> None:
    """Vertical line at the start of the second recording, and the names of both above the first axes."""
    for axes in stack:
        axes.axvline(boundary_s, color="white", linewidth=3)
        axes.axvline(boundary_s, color=style.INK, linewidth=1.2, linestyle=(0, (4, 3)))
    top = stack[0]
    start, end = top.get_xlim()
    for name, centre in zip(halves, ((start + boundary_s) / 2, (boundary_s + end) / 2), strict=False):
        style.text(top, centre, 1.02, style.shorten(name, 55), transform=top.get_xaxis_transform(), ha="center", va="bottom")
