"""Training curves of several runs, averaged over seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Mapping[str, NDArray[np.float64]]  # "epoch" and measures, all (epochs,)


def curves(
    runs: Mapping[str, Sequence[Curve]], measures: Mapping[str, str], *, title: str, marks: Sequence[float] = (), x: str = "epoch"
) -> "Figure":
    """One panel per measure, one colour per label: each seed thin, their mean thick.

    Args:
        runs: label -> one curve per seed, columns `x` and the measures
        measures: column -> label of its axis
        title: data set, subset, split, policy
        marks: epochs at which the schedule switches
        x: column of the horizontal axis
    """
    made = style.figure(560, title)
    panels = made.subplots(1, len(measures), squeeze=False)[0]
    for axes, (column, label) in zip(panels, measures.items(), strict=True):
        for mark in marks:
            axes.axvline(mark, color=style.FAINT, linewidth=1, linestyle=":")
        for colour, (name, seeds) in zip(style.colours(len(runs)), runs.items(), strict=True):
            for seed in seeds if len(seeds) > 1 else ():
                axes.plot(seed[x], seed[column], color=colour, alpha=0.35, linewidth=1)
            at, mean = _mean(seeds, x, column)
            # A single epoch is a point, not an invisible line.
            named = f"{style.shorten(name, 40)} ({len(seeds)} seed{'s' * (len(seeds) > 1)})"
            axes.plot(at, mean, color=colour, linewidth=2.2, marker="o" if len(at) < 3 else None, label=named)
        axes.grid(color="#E5E5E5")
        axes.set_axisbelow(True)
        style.dress(axes, x, label)
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        made.legend(handles, labels, fontsize=style.LABEL, loc="outside lower center", ncols=min(len(handles), 3), frameon=False)
    return made


def _mean(seeds: Sequence[Curve], x: str, column: str) -> tuple[NDArray, NDArray]:
    """Mean over the seeds at the steps that all of them reached."""
    if not seeds:
        return np.zeros(0), np.zeros(0)
    at = seeds[0][x]
    for seed in seeds[1:]:
        at = np.intersect1d(at, seed[x])
    return at, np.mean([seed[column][np.isin(seed[x], at)] for seed in seeds], axis=0)
