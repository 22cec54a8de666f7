"""Pictures of systems beside each other and beside the corpus: likelihood, rules, likeness, originality, structure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.reporting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.generation.metrics.likelihood import LikelihoodRows


FRAME, LINE, DOT = 170, 26, 13  # px: around, least height of a row, of one system in it
FLOOR = 0.03  # per 100 changes, what a logarithmic axis shows in the place of none
HUMAN = style.INK


LEGEND = 110
"""Letters that stand beside each other below a picture."""


def likelihoods(found: Mapping[str, "LikelihoodRows"], *, title: str) -> "Figure":
    """Nats per frame of every piece as points, a row a system, the best above; box: quartiles, line and number: of all frames."""
    made = style.figure(FRAME + 60 * len(found), title)
    axes, random = made.subplots(), np.random.default_rng(0)
    order = sorted(found, key=lambda name: _nats(found[name]))
    for place, (name, colour) in enumerate(zip(order, style.colours(len(order)), strict=True)):
        rows = found[name]
        if not len(rows.piece):
            continue
        each, whole = rows.nats / np.maximum(rows.frames, 1), _nats(rows)
        look = {"color": colour, "alpha": 0.5, "markersize": 6, "markeredgewidth": 0}
        axes.plot(each, place + 0.5 * (random.random(len(each)) - 0.5), ".", **look)
        low, high = np.percentile(each, [25, 75])
        axes.barh(place, high - low, 0.6, low, facecolor="none", edgecolor=style.INK, linewidth=1.2)
        axes.vlines(whole, place - 0.38, place + 0.38, color=style.INK, linewidth=3)
        style.text(axes, 1.005, place, f"{whole:.3f}", va="center", transform=axes.get_yaxis_transform())
    _rows(axes, order, "nats per frame, lower is better; box: quartiles of pieces, line: all frames")
    return made


def rules_figure(rates: Mapping[str, Mapping[str, Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """Faults per 100 changes of chord by rule, a dot with its interval a system, a black line for the corpus' own pieces.

    Args:
        rates: system -> rule -> (value, low, high)
        human: which of the systems is the corpus
        title: data, and what was written
    """
    rates = {name: one for name, one in rates.items() if one}
    names = list(next(iter(rates.values()), {}))
    made, axes = _dots(rates, names, human, title or "Voice-leading faults", FLOOR)
    axes.set_xscale("log")
    top = max([1.0, *(high for one in rates.values() for _, _, high in map(_triple, one.values()) if np.isfinite(high))])
    axes.set_xlim(FLOOR * 0.8, max(top, 10) * 1.3)
    ticks = [tick for tick in (FLOOR, 0.1, 0.3, 1, 3, 10, 30, 100, 300) if tick <= max(top, 10) * 1.3]
    axes.set_xticks(ticks, ["none", *(f"{tick:g}" for tick in ticks[1:])])
    axes.minorticks_off()
    _rows(axes, [_spoken(name) for name in names], "faults per 100 changes of chord")
    return made


def overlap_figure(found: Mapping[str, Mapping[str, Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """How much each feature of the music overlaps with the training set's, beside the black line that unseen pieces reach.

    Args:
        found: system -> feature -> `Overlap`, or (value, low, high) of its area
        human: which of the systems is the corpus
        title: data, and what was written
    """
    found = {name: one for name, one in found.items() if one}
    names = list(next(iter(found.values()), {}))
    made, axes = _dots(found, names, human, title or "Likeness to the training set")
    axes.set_xlim(-0.01, 1.01)
    _rows(axes, [_spoken(name) for name in names], "overlap of distances, 1 is like the training set among itself")
    return made


def novelty_figure(found: Mapping[str, Sequence[Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """Share of runs of 1, 2, ... changes of chord that no training piece has in any key, beside that of unseen pieces in black.

    Args:
        found: system -> an estimate (value, low, high) for each length
        human: which of the systems is the corpus
        title: data, and what was written
    """
    made = style.figure(600, title or "Originality")
    axes = made.subplots()
    _curves(axes, found, human)
    axes.set_ylim(-0.02, 1.02)
    _lines(made, axes, "changes of chord in a row", "share not in the training set")
    return made


def profile_figure(found: Mapping[str, Sequence[Any]], human: str = "test pieces", *, title: str = "") -> "Figure":
    """How alike beats 1, 2, ... apart are, a curve a system, the corpus' own in black.

    Args:
        found: system -> an estimate (value, low, high) for each lag in beats
        human: which of the systems is the corpus
        title: data, and what was written
    """
    made = style.figure(600, title or "Structure")
    axes = made.subplots()
    _curves(axes, found, human)
    axes.set_ylim(0, None)
    longest = max((len(values) for values in found.values()), default=1)
    axes.set_xticks(list(range(4, longest + 1, 4)) or [1])
    _lines(made, axes, "beats apart", "likeness")
    return made


def _dots(
    found: Mapping[str, Mapping[str, Any]], names: Sequence[str], human: str, title: str, floor: float = -np.inf
) -> tuple["Figure", "Axes"]:
    """A row a name with the systems' values below each other, intervals as whiskers, and the corpus' value across the row."""
    systems = [name for name in found if name != human]
    height = max(LINE, DOT * (len(systems) + 1))
    made = style.figure(FRAME + height * max(len(names), 4) + 24 * (len(found) // 4), title)
    axes = made.subplots()
    drawn = list(zip(systems, style.colours(len(systems)), _places(len(systems)), strict=True))
    for row, name in enumerate(names):
        if human in found:
            value, low, high = np.maximum(_triple(found[human].get(name)), floor)
            axes.fill_betweenx([row - 0.42, row + 0.42], low, high, color=style.FAINT, alpha=0.5, linewidth=0)
            axes.vlines(value, row - 0.42, row + 0.42, color=HUMAN, linewidth=2.2, label=human if not row else None)
        for system, colour, place in drawn:
            value, low, high = np.maximum(_triple(found[system].get(name)), floor)
            axes.hlines(row + place, low, high, color=colour, linewidth=1.8)
            axes.plot(value, row + place, "o", color=colour, markersize=6, label=system if not row else None)
        if row:
            axes.axhline(row - 0.5, color=style.GRID, linewidth=1)
    _legend(made, axes)
    return made, axes


def _curves(axes: "Axes", found: Mapping[str, Sequence[Any]], human: str) -> None:
    systems = [name for name in found if name != human]
    looks = {name: {"color": colour} for name, colour in zip(systems, style.colours(len(systems)), strict=True)}
    for name, look in (looks | ({human: {"color": HUMAN, "linestyle": "--"}} if human in found else {})).items():
        values = np.array([_triple(one) for one in found[name]], np.float64).reshape(-1, 3)
        length = np.arange(1, len(values) + 1)
        axes.fill_between(length, values[:, 1], values[:, 2], color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(length, values[:, 0], marker="o", markersize=4, linewidth=2, label=name, **look)


def _lines(made: "Figure", axes: "Axes", x: str, y: str) -> None:
    style.grid(axes)
    style.dress(axes, x, y)
    _legend(made, axes)


def _rows(axes: "Axes", names: Sequence[str], x: str) -> None:
    axes.set_yticks(range(len(names)), [style.shorten(name, 40) for name in names], parse_math=False)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    style.grid(axes, "x")
    style.dress(axes, x)
    axes.tick_params(axis="y", length=0)


def _legend(made: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        shown = [style.shorten(label, 40) for label in labels]
        columns = max(1, min(4, LEGEND // (max(map(len, shown)) + 8)))
        legend = made.legend(handles, shown, loc="outside lower center", ncols=columns, frameon=False, fontsize=style.LABEL)
        for entry in legend.get_texts():
            entry.set_parse_math(False)


def _places(count: int) -> list[float]:
    """Where in a row of height 1 each system stands."""
    return [(k + 1) / (count + 1) * 0.84 - 0.42 for k in range(count)]


def _triple(found: Any) -> tuple[float, float, float]:
    """Value and interval of an estimate, of an `Overlap`, or of a number alone; what nobody knows is NaN."""
    found = getattr(found, "overlap", found)
    numbers = np.array([found] * 3 if found is None or np.isscalar(found) else list(found), object)
    return tuple(float("nan") if one is None else float(one) for one in numbers)


def _nats(rows: "LikelihoodRows") -> float:
    return float(rows.nats.sum() / max(rows.frames.sum(), 1)) if len(rows.piece) else float("inf")


def _spoken(name: str) -> str:
    return name.replace("_", " ")
