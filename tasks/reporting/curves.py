"""Figures of several runs: training curves averaged over seeds, and results beside published values."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LINE = 21  # px for one class
FRAME = 140  # px for title and axis

Curve = Mapping[str, NDArray[np.float64]]  # "epoch" and measures, all (epochs,)


def curves(
    runs: Mapping[str, Sequence[Curve]], measures: Mapping[str, str], *, title: str, marks: Sequence[float] = (), x: str = "epoch"
) -> "Figure":
    """One panel per measure, one colour per label: each seed thin, their mean thick.

    Args:
        runs: label -> one curve per seed, columns `x` and the measures
        measures: column -> label of its axis
        title: data set, subset, split, policy
        marks: epochs of optimizer switches
        x: column of the horizontal axis
    """
    labels = [f"{style.shorten(name, 100)} ({len(seeds)} seed{'s' * (len(seeds) > 1)})" for name, seeds in runs.items()]
    longest = max(map(len, labels), default=0)
    columns = 3 if longest < 36 else 2 if longest < 56 else 1
    figure = style.figure(520 + 24 * -(-len(labels) // columns), title)
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for axes, (column, label) in zip(panels, measures.items(), strict=True):
        for mark in marks:
            axes.axvline(mark, color=style.FAINT, linewidth=1, linestyle=":")
        for colour, name, seeds in zip(style.colours(len(runs)), labels, runs.values(), strict=True):
            for seed in seeds if len(seeds) > 1 else ():
                axes.plot(seed[x], seed[column], color=colour, alpha=0.35, linewidth=1)
            at, mean = _mean(seeds, x, column)
            # A marker, because a line of a single epoch is invisible.
            axes.plot(at, mean, color=colour, linewidth=2.2, marker="o" if len(at) < 3 else None, label=name)
        style.grid(axes)
        style.dress(axes, x, label)
    if runs:
        handles, _ = panels[0].get_legend_handles_labels()
        legend = figure.legend(handles=handles, fontsize=style.LABEL, loc="outside lower center", ncols=columns, frameon=False)
        for entry in legend.get_texts():
            entry.set_parse_math(False)
    return figure


def beside_paper(
    names: Sequence[str],
    paper: Sequence[float],
    ours: Sequence[float],
    deviation: Sequence[float] | None = None,
    *,
    title: str,
    measure: str = "AUROC (%)",
) -> "Figure":
    """Published value and ours of every class, joined by a line.

    Args:
        names: classes
        paper: published values
        ours: means over seeds; NaN if missing
        deviation: standard deviation over seeds, drawn as an error bar
        title: system and data
        measure: label of the axis
    """
    figure = style.figure(FRAME + LINE * max(len(names), 3), title)
    axes = figure.subplots()
    rows = np.arange(len(names))
    published, own = np.asarray(paper, dtype=float), np.asarray(ours, dtype=float)
    axes.hlines(rows, published, own, color=style.FAINT, linewidth=2.5)
    axes.plot(published, rows, "D", color=style.COLOURS[1], markersize=6, label="paper")
    spread = np.zeros(len(names)) if deviation is None else np.nan_to_num(np.asarray(deviation, dtype=float))
    axes.errorbar(own, rows, xerr=spread, fmt="o", color=style.COLOURS[0], markersize=6, capsize=3, label="ours")
    axes.set_yticks(rows, [style.shorten(name, 30) for name in names], parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    style.grid(axes)
    style.legend_above(axes)
    style.dress(axes, measure)
    return figure


def _mean(seeds: Sequence[Curve], x: str, column: str) -> tuple[NDArray, NDArray]:
    """Mean over the seeds at the epochs that all of them have."""
    if not seeds:
        return np.zeros(0), np.zeros(0)
    shared = seeds[0][x]
    for seed in seeds[1:]:
        shared = np.intersect1d(shared, seed[x])
    return shared, np.mean([seed[column][np.isin(seed[x], shared)] for seed in seeds], axis=0)
