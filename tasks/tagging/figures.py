"""Pictures of a tagger: where it looks, what each moment says about each tag, and how well it does per tag."""

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
FLAT = 0.02  # least span of contributions: rounding noise must not look like structure
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
    """Attention of the [CLS] token in the last layer under its spectrogram (Figures 6 and 8-11).

    The heads are summed, as in the paper. The score that [CLS] gives itself is the box on the left.

    Args:
        spectrogram: (mels, frames) dB
        attention: (heads, 1 + tokens), softmax scores, [CLS] first
        mel_hertz: (mels,) centre frequencies, Hz
        hop_s: time from frame to frame, s
        title: the file, and the tag
        start_s: time of the first frame, s
        token_s: time from token to token, s, where it differs from `hop_s` (raw front-end)
        end_s: where the recording ends, s; what is drawn behind is padding, which is hatched
        per_head: add one row per head

    Raises:
        ValueError: a shape other than these.
    """
    attention = np.asarray(attention, dtype=np.float64)
    if attention.ndim != 2 or attention.shape[1] < 2:
        raise ValueError(f"attention must be (heads, 1 + tokens), got {attention.shape}")
    total = attention.sum(axis=0)
    rows = [("all heads" if len(attention) > 1 else "attention", total)]
    if per_head:
        rows += [(f"head {i + 1}", head) for i, head in enumerate(attention)]
    made, top, cells = _stack(title, spectrogram, mel_hertz, hop_s, start_s, len(rows), extra=True)
    for (name, values), (side, axes, bar) in zip(rows, cells, strict=True):
        # One colour scale for the heads, another for their sum; [CLS] may saturate so that the tokens stay visible.
        among = [total] if values is total else list(attention)
        limits = {"vmin": 0.0, "vmax": max(float(v[1:].max()) for v in among) or 1.0}
        image = _heat(axes, values[1:], start_s, token_s or hop_s, limits)
        _cls_box(side, name, values[0], limits)
        side.set_xticks([0], ["[CLS]"] if axes is cells[-1][1] else [""])
        _two_ticks(made, image, bar, ("0", f"{limits['vmax']:.2g}"))
    _hatch([top, *(axes for _, axes, _ in cells)], end_s)
    return made


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
    """What each moment alone says about each tag, under the spectrogram (Figures 7 and 12).

    All rows share one colour scale, from the lowest to the highest probability of any, so that a row which hardly changes
    looks flat. (The paper colours each row from its own lowest to its own highest.)

    Args:
        spectrogram: (mels, frames) dB, two clips joined in Figures 7 and 12
        contribution: (frames, tags) probability with all attention on that frame
        tags: names of the columns, one row each
        mel_hertz: (mels,) centre frequencies, Hz
        hop_s: time from frame to frame, s
        title: the file or the two files
        start_s: time of the first frame, s
        token_s: time from token to token, s, where it differs from `hop_s` (raw front-end)
        end_s: where the recording ends, s; what is drawn behind is padding, which is hatched
        boundary_s: where the second clip begins, s
        halves: names of the two clips, written above the spectrogram

    Raises:
        ValueError: as many names as columns are needed.
    """
    contribution = np.asarray(contribution, dtype=np.float64)
    if contribution.ndim != 2 or contribution.shape[1] != len(tags):
        raise ValueError(f"contribution must be (frames, {len(tags)} tags), got {contribution.shape}")
    made, top, cells = _stack(title, spectrogram, mel_hertz, hop_s, start_s, len(tags))
    low, high = float(contribution.min()), float(contribution.max())
    limits = {"vmin": low, "vmax": max(high, low + FLAT)}
    for name, values, (_, axes, bar) in zip(tags, contribution.T, cells, strict=True):
        image = _heat(axes, values, start_s, token_s or hop_s, limits)
        axes.set_yticks([0], [style.shorten(name, 18)], parse_math=False)
        _two_ticks(made, image, bar, (f"{limits['vmin']:.2f}", f"{limits['vmax']:.2f}"))
    _hatch([top, *(axes for _, axes, _ in cells)], end_s)
    if boundary_s is not None:
        _divide([top, *(axes for _, axes, _ in cells)], boundary_s, halves)
    return made


def timeline(
    probabilities: ArrayLike, *, tags: Sequence[str], centres_s: ArrayLike, end_s: float, title: str, top: int | None = 15
) -> "Figure":
    """Tags against time ("taggram"), the tag with the highest mean on top, from the recording's beginning to its end.

    Args:
        probabilities: (steps, tags)
        tags: names of the columns
        centres_s: (steps,) middle of the chunk of each step, s, rising; a step is drawn half-way to its neighbours
        end_s: length of the recording, s
        title: the file
        top: number of tags to show; None shows all

    Raises:
        ValueError: as many names as columns, and centres as steps, are needed.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(tags):
        raise ValueError(f"probabilities must be (steps, {len(tags)} tags), got {probabilities.shape}")
    centres = np.asarray(centres_s, dtype=np.float64)
    if centres.shape != probabilities.shape[:1]:
        raise ValueError(f"{len(probabilities)} steps need as many centres, got {centres.shape}")
    edges = np.concatenate([[0.0], np.clip((centres[1:] + centres[:-1]) / 2, 0.0, end_s), [end_s]])
    order = np.argsort(-probabilities.mean(axis=0), kind="stable")[:top]
    made = style.figure(FRAME + 24 * max(len(order), 4), title)
    axes, bar = made.subplots(1, 2, width_ratios=[1.0, 0.014])
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
    style.colour_bar(made, image, "probability", cax=bar)
    return made


def per_tag_bars(rows: Sequence[Mapping[str, Any]], *, title: str) -> "Figure":
    """ROC area and average precision of every tag with their intervals, best ROC area on top.

    The mark in the right panel is the share of positives: what guessing would reach.

    Args:
        rows: as from `tasks.tagging.metrics.per_tag_table`
        title: data set, subset, split, policy
    """
    ranked = sorted(rows, key=lambda row: -row["auroc"] if np.isfinite(row["auroc"]) else np.inf)
    made = style.figure(FRAME + LINE * max(len(ranked), 8), title)
    place = np.arange(len(ranked))
    panels = made.subplots(1, 2, sharey=True)
    for axes, key, label, colour in zip(panels, ("auroc", "ap"), ("AUROC", "average precision"), style.COLOURS[:2], strict=True):
        value, low, high = (np.array([row[key + end] for row in ranked], dtype=float) for end in ("", "_low", "_high"))
        axes.hlines(place, low, high, color=colour, alpha=0.35, linewidth=7)
        axes.plot(value, place, "o", color=colour, markersize=5)
        # A macro average is meaningless where nothing could be scored.
        if np.isfinite(value).any():
            mean = float(np.nanmean(value))
            axes.axvline(mean, color=style.INK, linewidth=1, linestyle="--", label=f"mean {mean:.3f}")
        for i in np.flatnonzero(~np.isfinite(value)):
            where = {"ha": "right", "va": "center", "transform": axes.get_yaxis_transform()}
            style.text(axes, 0.99, i, "cannot be scored", **where)
        style.grid(axes, "x")
        style.dress(axes, label)
    panels[0].axvline(0.5, color=style.FAINT, linewidth=1.5, label="guessing")
    chance = [row["prevalence"] for row in ranked]
    panels[1].plot(chance, place, "|", color=style.INK, markersize=10, label="guessing (share of positives)")
    panels[0].set_xlim(right=1.005)
    panels[1].set_xlim(left=-0.01, right=1.01)
    panels[0].set_yticks(place, [f"{style.shorten(row['tag'], 30)} ({row['support']})" for row in ranked], parse_math=False)
    panels[0].set_ylim(len(ranked) - 0.4, -0.6)
    panels[0].set_ylabel(f"tag (positives among {ranked[0]['clips'] if ranked else 0})", fontsize=style.LABEL, color=style.INK)
    for axes in panels:
        style.legend_above(axes, style.TICK - 1)
    return made


def _stack(
    title: str, spectrogram: ArrayLike, mel_hertz: ArrayLike, hop_s: float, start_s: float, rows: int, extra: bool = False
) -> tuple["Figure", "Axes", list[tuple["Axes", "Axes", "Axes"]]]:
    """Spectrogram on top, `rows` heat rows below; each row is (box at the left or itself, row, colour bar)."""
    made = style.figure(FRAME + SPECTROGRAM + ROW * rows, title)
    made.get_layout_engine().set(hspace=0.0, h_pad=0.04)
    widths = [0.045, 1.0, 0.014] if extra else [1.0, 0.014]
    grid = made.add_gridspec(1 + rows, len(widths), width_ratios=widths, height_ratios=[SPECTROGRAM] + [ROW] * rows)
    main = len(widths) - 2
    top = made.add_subplot(grid[0, main])
    image = style.spectrogram(top, spectrogram, mel_hertz, hop_s, start_s)
    top.set_xlim(start_s, start_s + np.asarray(spectrogram).shape[1] * hop_s)  # tokens may end elsewhere
    style.dress(top, y="frequency (Hz)")
    style.colour_bar(made, image, "dB below peak", cax=made.add_subplot(grid[0, -1]))
    cells = []
    for i in range(1, 1 + rows):
        axes = made.add_subplot(grid[i, main], sharex=top)
        style.dress(axes, "time (s)" if i == rows else None)
        axes.set_yticks([])
        cells.append((made.add_subplot(grid[i, 0]) if extra else axes, axes, made.add_subplot(grid[i, -1])))
    return made, top, cells


def _heat(axes: "Axes", values: ArrayLike, start_s: float, step_s: float, limits: Mapping[str, float]) -> Any:
    """One row of colour over time."""
    extent = (start_s, start_s + len(values) * step_s, -0.5, 0.5)
    return axes.imshow(values[None], aspect="auto", cmap=style.HEAT, interpolation="nearest", extent=extent, **limits)


def _hatch(stack: Sequence["Axes"], end_s: float | None) -> None:
    """Hatch what lies behind the recording's end in each axes."""
    for axes in stack if end_s is not None else ():
        style.hatch_padding(axes, end_s, axes.get_xlim()[1])


def _cls_box(axes: "Axes", name: str, score: float, limits: Mapping[str, float]) -> None:
    """The score that [CLS] gives itself, as a colour and in digits."""
    axes.imshow([[score]], aspect="auto", cmap=style.HEAT, **limits)
    axes.set_yticks([0], [name])
    style.dress(axes, x="")
    colour, digits = "white" if score > 0.6 * limits["vmax"] else style.INK, 2 if score >= 0.1 else 3
    style.text(axes, 0, 0, f"{score:.{digits}f}", ha="center", va="center", fontsize=10, color=colour)


def _two_ticks(made: "Figure", image: Any, bar: "Axes", ends: tuple[str, str]) -> None:
    """Colour bar of a row: room for its two ends alone."""
    style.colour_bar(made, image, "", cax=bar)
    bar.set_yticks([image.norm.vmin, image.norm.vmax], ends)


def _divide(stack: Sequence["Axes"], boundary_s: float, halves: Sequence[str]) -> None:
    """Line through a stack of axes where the second recording begins; names of both above the first axes."""
    for axes in stack:
        axes.axvline(boundary_s, color="white", linewidth=3)
        axes.axvline(boundary_s, color=style.INK, linewidth=1.2, linestyle=(0, (4, 3)))
    top = stack[0]
    start, end = top.get_xlim()
    for name, centre in zip(halves, ((start + boundary_s) / 2, (boundary_s + end) / 2), strict=False):
        style.text(top, centre, 1.02, style.shorten(name, 55), transform=top.get_xaxis_transform(), ha="center", va="bottom")
