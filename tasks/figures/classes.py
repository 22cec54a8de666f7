"""Pictures of scores class by class: intervals, and the published values beside ours."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 21  # px for one class
FRAME = 150  # px for title and axis


def intervals(rows: Sequence[Mapping[str, Any]], *, title: str, name: str = "tag") -> "Figure":
    """ROC area and average precision of every class with their intervals, best ROC area on top.

    The thin line in the right panel is the share of positives: what guessing would reach.

    Args:
        rows: as from `tasks.metrics.tagging.per_tag_table`: `name`, support, prevalence, auroc, ap, their _low and _high
        title: data set, subset, split, policy
        name: column that holds the class
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
        axes.grid(axis="x", color="#E5E5E5")
        axes.set_axisbelow(True)
        style.dress(axes, label)
    panels[0].axvline(0.5, color=style.FAINT, linewidth=1.5, label="guessing")
    chance = [row["prevalence"] for row in ranked]
    panels[1].plot(chance, place, "|", color=style.INK, markersize=10, label="guessing (share of positives)")
    panels[0].set_xlim(right=1.005)
    panels[1].set_xlim(left=-0.01, right=1.01)
    panels[0].set_yticks(place, [f"{style.shorten(row[name], 30)} ({row['support']})" for row in ranked])
    panels[0].set_ylim(len(ranked) - 0.4, -0.6)
    panels[0].set_ylabel(f"{name} (positives among {ranked[0]['clips'] if ranked else 0})", fontsize=style.LABEL)
    for axes in panels:
        axes.legend(fontsize=style.TICK - 1, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return made


def beside_paper(
    names: Sequence[str],
    paper: Sequence[float],
    ours: Sequence[float],
    deviation: Sequence[float] | None = None,
    *,
    title: str,
    measure: str = "AUROC (%)",
) -> "Figure":
    """Published value and ours for every class, in the order given, joined by a line.

    Args:
        names: classes
        paper: published values
        ours: mean over seeds; NaN where there is none
        deviation: over seeds, drawn as a bar
        title: whose values, on which data
        measure: label of the axis
    """
    made = style.figure(FRAME + LINE * max(len(names), 3), title)
    axes = made.subplots()
    place = np.arange(len(names))
    theirs, mine = np.asarray(paper, dtype=float), np.asarray(ours, dtype=float)
    axes.hlines(place, theirs, mine, color=style.FAINT, linewidth=2.5)
    axes.plot(theirs, place, "D", color=style.COLOURS[1], markersize=6, label="paper")
    spread = np.zeros(len(names)) if deviation is None else np.nan_to_num(np.asarray(deviation, dtype=float))
    axes.errorbar(mine, place, xerr=spread, fmt="o", color=style.COLOURS[0], markersize=6, capsize=3, label="ours")
    axes.set_yticks(place, [style.shorten(name, 30) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.legend(fontsize=style.LABEL, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    style.dress(axes, measure)
    return made
