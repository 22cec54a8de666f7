"""What listeners' answers say: whether they can tell, who is taken for human, who is preferred, how music is marked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.generation.listening.ranking import bradley_terry
from tasks.generation.listening.responses import SCALES
from tasks.metrics.generation.resampled import draws, ratio
from tasks.tables import markdown

RESAMPLES = 1000
GROUPS: dict[str, Callable[[Mapping[str, int]], bool]] = {
    "no training": lambda background: background["training"] == 0,
    "1 to 5 years of training": lambda background: 1 <= background["training"] <= 5,
    "more than 5 years": lambda background: background["training"] > 5,
    "does not know the works": lambda background: background["works"] == 0,
    "has heard some": lambda background: background["works"] == 1,
    "has sung, played or studied some": lambda background: background["works"] == 2,
}
"""Listeners by their background."""


def analyse(responses: Sequence[Mapping[str, Any]], key: Mapping[str, Any], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Everything as plain types; None where there is no answer.

    Shares have Wilson's 95 % intervals, the discrimination an exact two-sided binomial test against one half (half of what a
    listener hears is real, answers are taken as independent); strengths and marks have bootstrap intervals over listeners.

    Args:
        responses: as `checked`
        key: the test's
        resamples: of the bootstrap
    """
    excerpts = key["excerpts"]
    systems = sorted({one["system"] for one in excerpts.values()})
    groups = {name: [one for one in responses if belongs(one["background"])] for name, belongs in GROUPS.items()}
    return {
        "human": key["human"],
        "listeners": len(responses),
        "discrimination": discrimination(responses, excerpts),
        "taken_for_human": {system: _taken(responses, excerpts, system) for system in systems},
        "ranking": ranking(responses, excerpts, resamples),
        "marks": {system: _marks(responses, excerpts, system, resamples) for system in systems},
        "by_background": {
            name: {"listeners": len(some), **discrimination(some, excerpts)} for name, some in groups.items() if some
        },
    }


def share(part: int, of: int) -> dict[str, Any]:
    """A share with Wilson's 95 % interval."""
    from scipy.stats import binomtest

    if not of:
        return {"yes": 0, "of": 0, "share": None, "low": None, "high": None}
    low, high = binomtest(part, of).proportion_ci(method="wilson")
    return {"yes": part, "of": of, "share": part / of, "low": float(low), "high": float(high)}


def discrimination(responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any]) -> dict[str, Any]:
    """How often listeners were right about who wrote a piece, and the chance of being as far off one half by guessing."""
    from scipy.stats import binomtest

    right = [answer["real"] == excerpts[answer["id"]]["real"] for one in responses for answer in one["singles"]]
    return share(sum(right), len(right)) | {"p_value": float(binomtest(sum(right), len(right)).pvalue) if right else None}


def ranking(responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any], resamples: int) -> list[dict[str, Any]]:
    """Systems by how often they are preferred, the strongest first; without comparisons an empty list."""
    systems = sorted({one["system"] for one in excerpts.values()})
    each = np.zeros((len(responses), len(systems), len(systems)))
    for number, one in enumerate(responses):
        for pair in one["pairs"]:
            other = pair["second"] if pair["chosen"] == pair["first"] else pair["first"]
            winner, loser = (systems.index(excerpts[name]["system"]) for name in (pair["chosen"], other))
            each[number, winner, loser] += winner != loser
    wins = each.sum(0)
    if not wins.any():
        return []
    strength = bradley_terry(wins)
    drawn = bradley_terry(np.array([each[some].sum(0) for some in draws(len(responses), resamples)]))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    rows = [
        {"system": system, "strength": float(strength[k]), "low": float(low[k]), "high": float(high[k])}
        | {"preferred": int(wins[k].sum()), "of": int(wins[k].sum() + wins[:, k].sum())}
        for k, system in enumerate(systems)
    ]
    return sorted(rows, key=lambda row: -row["strength"])


def lines_of(found: Mapping[str, Any]) -> list[str]:
    """The analysis as Markdown."""
    human, told = found["human"], found["discrimination"]
    lines = [
        f"{found['listeners']} listeners; right about who wrote a piece: {_share(told)}, by guessing {_chance(told['p_value'])}",
        "",
    ]
    rows = [
        {
            "system": row["system"],
            f"taken for {human}": _share(found["taken_for_human"][row["system"]]),
            "preferred": f"{row['preferred']} of {row['of']}" if "of" in row else None,
            "strength": f"{row['strength']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if "of" in row else None,
        }
        | {name: _mark(found["marks"][row["system"]][name]) for name in SCALES}
        for row in found["ranking"] or [{"system": system} for system in found["taken_for_human"]]
    ]
    background = [
        {"listeners": name, "number": group["listeners"], "right": _share(group), "by guessing": _chance(group["p_value"])}
        for name, group in found["by_background"].items()
    ]
    return [*lines, *markdown(rows).splitlines(), "", *markdown(background).splitlines()]


def rows_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a system, for CSV."""
    ranked = {row["system"]: row for row in found["ranking"]}
    rows = []
    for system, taken in found["taken_for_human"].items():
        row = {"system": system} | {f"taken_{name}": value for name, value in taken.items()}
        row |= {f"strength_{name}": ranked.get(system, {}).get(name) for name in ("strength", "low", "high")}
        for name in SCALES:
            row |= {f"{name}_{part}": value for part, value in found["marks"][system][name].items()}
        rows.append(row)
    return rows


def _taken(responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any], system: str) -> dict[str, Any]:
    said = [a["real"] for one in responses for a in one["singles"] if excerpts[a["id"]]["system"] == system]
    return share(sum(said), len(said))


def _marks(
    responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any], system: str, resamples: int
) -> dict[str, dict[str, Any]]:
    """Mean marks of a system, with intervals over listeners."""
    theirs = [[a for a in one["singles"] if excerpts[a["id"]]["system"] == system] for one in responses]
    counts = [len(answers) for answers in theirs]
    found = {}
    for name in SCALES:
        sums: NDArray[np.float64] = np.array([sum(answer[name] for answer in answers) for answers in theirs], np.float64)
        mean = ratio(sums, counts, resamples)
        known = dict(zip(("mean", "low", "high"), mean, strict=True)) if sum(counts) else dict.fromkeys(("mean", "low", "high"))
        found[name] = known | {"of": sum(counts)}
    return found


def _share(found: Mapping[str, Any]) -> str | None:
    if found["share"] is None:
        return None
    return f"{found['share']:.0%} [{found['low']:.0%}, {found['high']:.0%}] of {found['of']}"


def _mark(found: Mapping[str, Any]) -> str | None:
    return None if found["mean"] is None else f"{found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _chance(p_value: float | None) -> str:
    return "–" if p_value is None else f"p = {p_value:.4f}"
