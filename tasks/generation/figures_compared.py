"""Figures of several systems and the corpus: likelihood, voice-leading errors, overlap, originality, structure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.generation.metrics.likelihood import LikelihoodRows


FRAME, LINE, DOT = 170, 26, 13  # px: margin, least height of a row, height per system
FLOOR = 0.03  # errors per 100 changes, position of zero on a logarithmic axis
HUMAN = style.INK

LEGEND = 110
"""Characters per line of a legend."""


def likelihoods(by_system: Mapping[str, "LikelihoodRows"], *, title: str) -> "Figure":
    """Nats per frame of each system, best first: pieces as points, quartiles as a box, mean of all frames as a line."""
    figure = style.figure(FRAME + 60 * len(by_system), title)
    axes, random = figure.subplots(), np.random.default_rng(0)
    order = sorted(by_system, key=lambda name: _nats(by_system[name]))
    for row, (name, colour) in enumerate(zip(order, style.colours(len(order)), strict=True)):
        pieces = by_system[name]
        if not len(pieces.piece):
            continue
        nats, mean = pieces.nats / np.maximum(pieces.frames, 1), _nats(pieces)
        look = {"color": colour, "alpha": 0.5, "markersize": 6, "markeredgewidth": 0}
        axes.plot(nats, row + 0.5 * (random.random(len(nats)) - 0.5), ".", **look)
        low, high = np.percentile(nats, [25, 75])
        axes.barh(row, high - low, 0.6, low, facecolor="none", edgecolor=style.INK, linewidth=1.2)
        axes.vlines(mean, row - 0.38, row + 0.38, color=style.INK, linewidth=3)
        style.text(axes, 1.005, row, f"{mean:.3f}", va="center", transform=axes.get_yaxis_transform())
    _rows(axes, order, "nats per frame, lower is better; box: quartiles of pieces, line: all frames")
    return figure


def rules_figure(rates: Mapping[str, Mapping[str, Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """Voice-leading errors per 100 chord changes by rule: systems as dots with intervals, the corpus as a black line.

    Args:
        rates: system -> rule -> (value, low, high)
        human: name of the corpus among the systems
        title: title
    """
    rates = {name: by_rule for name, by_rule in rates.items() if by_rule}
    names = list(next(iter(rates.values()), {}))
    figure, axes = _dots(rates, names, human, title or "Voice-leading faults", FLOOR)
    axes.set_xscale("log")
    highs = [high for by_rule in rates.values() for _, _, high in map(_triple, by_rule.values())]
    top = max([1.0, *(high for high in highs if np.isfinite(high))])
    axes.set_xlim(FLOOR * 0.8, max(top, 10) * 1.3)
    ticks = [tick for tick in (FLOOR, 0.1, 0.3, 1, 3, 10, 30, 100, 300) if tick <= max(top, 10) * 1.3]
    axes.set_xticks(ticks, ["none", *(f"{tick:g}" for tick in ticks[1:])])
    axes.minorticks_off()
    _rows(axes, [name.replace("_", " ") for name in names], "errors per 100 chord changes")
    return figure


def overlap_figure(overlaps: Mapping[str, Mapping[str, Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """Overlap of features with the training set: systems as dots with intervals, unseen pieces as a black line.

    Args:
        overlaps: system -> feature -> `Overlap`, or (value, low, high) of its area
        human: name of the corpus among the systems
        title: title
    """
    overlaps = {name: by_feature for name, by_feature in overlaps.items() if by_feature}
    names = list(next(iter(overlaps.values()), {}))
    figure, axes = _dots(overlaps, names, human, title or "Similarity to the training set")
    axes.set_xlim(-0.01, 1.01)
    _rows(axes, [name.replace("_", " ") for name in names], "overlap of distances (1: as within the training set)")
    return figure


def novelty_figure(novelty: Mapping[str, Sequence[Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """Share of sequences of 1, 2, ... chord changes that no training piece has in any key; unseen pieces in black.

    Args:
        novelty: system -> estimate (value, low, high) for each length
        human: name of the corpus among the systems
        title: title
    """
    figure = style.figure(600, title or "Originality")
    axes = figure.subplots()
    _curves(axes, novelty, human)
    axes.set_ylim(-0.02, 1.02)
    _lines(figure, axes, "successive chord changes", "share not in the training set")
    return figure


def profile_figure(profiles: Mapping[str, Sequence[Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """Similarity of beats by lag, one curve per system, the corpus in black.

    Args:
        profiles: system -> estimate (value, low, high) for each lag in beats
        human: name of the corpus among the systems
        title: title
    """
    figure = style.figure(600, title or "Structure")
    axes = figure.subplots()
    _curves(axes, profiles, human)
    axes.set_ylim(0, None)
    longest = max((len(values) for values in profiles.values()), default=1)
    axes.set_xticks(list(range(4, longest + 1, 4)) or [1])
    _lines(figure, axes, "lag (beats)", "similarity")
    return figure


def _dots(
    estimates: Mapping[str, Mapping[str, Any]], names: Sequence[str], human: str, title: str, floor: float = -np.inf
) -> tuple["Figure", "Axes"]:
    """Draw one row per name with the systems' values and intervals below each other, and the corpus' value as a line."""
    systems = [name for name in estimates if name != human]
    height = max(LINE, DOT * (len(systems) + 1))
    figure = style.figure(FRAME + height * max(len(names), 4) + 24 * (len(estimates) // 4), title)
    axes = figure.subplots()
    columns = list(zip(systems, style.colours(len(systems)), _offsets(len(systems)), strict=True))
    for row, name in enumerate(names):
        if human in estimates:
            value, low, high = np.maximum(_triple(estimates[human].get(name)), floor)
            axes.fill_betweenx([row - 0.42, row + 0.42], low, high, color=style.FAINT, alpha=0.5, linewidth=0)
            axes.vlines(value, row - 0.42, row + 0.42, color=HUMAN, linewidth=2.2, label=human if not row else None)
        for system, colour, offset in columns:
            value, low, high = np.maximum(_triple(estimates[system].get(name)), floor)
            axes.hlines(row + offset, low, high, color=colour, linewidth=1.8)
            axes.plot(value, row + offset, "o", color=colour, markersize=6, label=system if not row else None)
        if row:
            axes.axhline(row - 0.5, color=style.GRID, linewidth=1)
    _legend(figure, axes)
    return figure, axes


def _curves(axes: "Axes", curves: Mapping[str, Sequence[Any]], human: str) -> None:
    systems = [name for name in curves if name != human]
    looks = {name: {"color": colour} for name, colour in zip(systems, style.colours(len(systems)), strict=True)}
    for name, look in (looks | ({human: {"color": HUMAN, "linestyle": "--"}} if human in curves else {})).items():
        values = np.array([_triple(estimate) for estimate in curves[name]], np.float64).reshape(-1, 3)
        length = np.arange(1, len(values) + 1)
        axes.fill_between(length, values[:, 1], values[:, 2], color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(length, values[:, 0], marker="o", markersize=4, linewidth=2, label=name, **look)


def _lines(figure: "Figure", axes: "Axes", x: str, y: str) -> None:
    style.grid(axes)
    style.dress(axes, x, y)
    _legend(figure, axes)


def _rows(axes: "Axes", names: Sequence[str], x: str) -> None:
    axes.set_yticks(range(len(names)), [style.shorten(name, 40) for name in names], parse_math=False)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    style.grid(axes, "x")
    style.dress(axes, x)
    axes.tick_params(axis="y", length=0)


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        labels = [style.shorten(label, 40) for label in labels]
        columns = max(1, min(4, LEGEND // (max(map(len, labels)) + 8)))
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=style.LABEL)
        for entry in legend.get_texts():
            entry.set_parse_math(False)


def _offsets(count: int) -> list[float]:
    """Vertical offsets of systems in a row of height 1."""
    return [(k + 1) / (count + 1) * 0.84 - 0.42 for k in range(count)]


def _triple(estimate: Any) -> tuple[float, float, float]:
    """Value and interval of an estimate, `Overlap` or number; NaN for unknown values."""
    estimate = getattr(estimate, "overlap", estimate)
    numbers = np.array([estimate] * 3 if estimate is None or np.isscalar(estimate) else list(estimate), object)
    return tuple(float("nan") if value is None else float(value) for value in numbers)


def _nats(rows: "LikelihoodRows") -> float:
    return float(rows.nats.sum() / max(rows.frames.sum(), 1)) if len(rows.piece) else float("inf")
