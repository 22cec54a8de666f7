"""Analysis of a listening test: responses and key -> discrimination, preferences (Bradley-Terry ranking) and ratings."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError
from tasks.generation.listening.page import KEY
from tasks.metrics.bootstrap import draws, ratio
from tasks.reporting.tables import markdown, write_csv
from tasks.writers.output_files import write_json, write_text

STEPS, CLOSE = 10_000, 1e-9
GHOST = 0.1
"""Wins added between all systems, so that the strength of an unbeaten system is finite."""


def bradley_terry(wins: NDArray[np.float64], ghost: float = GHOST) -> NDArray[np.float64]:
    """Maximum-likelihood log strengths (..., systems) with mean 0 (Bradley and Terry 1952), by minorisation (Hunter 2004).

    System i is preferred to j with probability 1 / (1 + exp(strength j - strength i)).

    Args:
        wins: (..., systems, systems) number of preferences for the row over the column, such as bootstrap resamples
        ghost: wins added between all systems; with 0, wins must connect every system with every other

    Raises:
        ValueError: `wins` is no square matrix of counts.
    """
    wins = np.asarray(wins, np.float64)
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or (wins < 0).any():
        raise ValueError(f"wins must be counts (systems, systems), got {wins.shape}")
    wins = np.where(np.eye(wins.shape[-1], dtype=bool), 0.0, wins + ghost)
    met, own = wins + wins.swapaxes(-1, -2), wins.sum(-1)
    log = np.zeros(own.shape)
    for _ in range(STEPS):
        strength, previous = np.exp(log), log
        expected = (met / (strength[..., :, None] + strength[..., None, :])).sum(-1)
        log = np.log(np.maximum(own, 1e-300)) - np.log(np.maximum(expected, 1e-300))
        log -= log.mean(-1, keepdims=True)
        if np.abs(log - previous).max(initial=0) < CLOSE:
            break
    return log


# Responses

BACKGROUND = {"training": 90, "listening": 4, "works": 2, "device": 2}
"""Question about the listener -> largest answer; answers are whole numbers from 0."""
SCALES = ("plausible", "pleasant")


def read_key(path: Path) -> dict[str, Any]:
    """Read the key of a test: its name and the system of each excerpt.

    Raises:
        DataError: the file is no key.
    """
    key = _json(path, "the key.json that was written beside the page")
    if not isinstance(key, dict) or not {"test", "human", "excerpts"} <= set(key):
        raise DataError(f"{path} is not a key of a listening test: expected the key.json that was written beside the page")
    return key


def read_responses(paths: Sequence[Path], key: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Read responses of a test, each listener once, and messages about skipped files.

    Args:
        paths: files, or folders of .json files
        key: key of the test
    """
    responses, left_out, listeners = [], [], {}
    files = [file for path in map(Path, paths) for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    for file in files:
        try:
            response = checked(_json(file, "answers downloaded from the listening page"), key, str(file))
            if response["listener"] in listeners:
                raise DataError(f"{file} repeats the answers of {listeners[response['listener']]}")
        except DataError as reason:
            left_out.append(str(reason))
            continue
        listeners[response["listener"]] = file
        responses.append(response)
    return responses, left_out


def checked(response: Any, key: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a response if it is valid for a test.

    Raises:
        DataError: the response is invalid.
    """
    if error := _error(response, key):
        raise DataError(f"{name} is left out: {error}; expected the file as the listening page wrote it")
    return response


def _error(response: Any, key: Mapping[str, Any]) -> str | None:
    """Reason why a response is invalid, or None."""
    if not isinstance(response, dict) or not isinstance(response.get("listener"), str):
        return "it is not a response"
    if response.get("test") != key["test"]:
        return "it belongs to another test"
    background = response.get("background")
    if not isinstance(background, dict) or any(not _whole(background.get(name), 0, most) for name, most in BACKGROUND.items()):
        return "an answer about the listener is out of range"
    for name, check in (("pairs", _error_of_pair), ("singles", _error_of_single)):
        answers = response.get(name)
        if not isinstance(answers, list) or any(not isinstance(answer, dict) for answer in answers):
            return f"its {name} are not a list of answers"
        for number, answer in enumerate(answers, 1):
            if error := check(answer, key["excerpts"]):
                return f"number {number} of its {name} {error}"
    return None


def _error_of_pair(answer: Mapping[str, Any], excerpts: Mapping[str, Any]) -> str | None:
    pair = [answer.get("first"), answer.get("second")]
    if any(not isinstance(name, str) or name not in excerpts for name in pair) or pair[0] == pair[1]:
        return "does not compare two pieces of this test"
    return None if answer.get("chosen") in pair else "chooses neither piece"


def _error_of_single(answer: Mapping[str, Any], excerpts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer.get("id"), str) or answer["id"] not in excerpts:
        return "rates an unknown piece"
    if not isinstance(answer.get("real"), bool):
        return "does not name the composer as human or machine"
    return None if all(_whole(answer.get(name), 1, 5) for name in SCALES) else "has a rating outside 1 to 5"


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _json(path: Path, expected: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: expected {expected}") from error


RESAMPLES = 1000
GROUPS: dict[str, Callable[[Mapping[str, int]], bool]] = {
    "no training": lambda background: background["training"] == 0,
    "1 to 5 years of training": lambda background: 1 <= background["training"] <= 5,
    "more than 5 years": lambda background: background["training"] > 5,
    "does not know the works": lambda background: background["works"] == 0,
    "has heard some": lambda background: background["works"] == 1,
    "has sung, played or studied some": lambda background: background["works"] == 2,
}
"""Group of listeners -> condition on their background."""


def analyse(responses: Sequence[Mapping[str, Any]], key: Mapping[str, Any], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Analyse responses; plain types, None without answers.

    Shares have Wilson's 95 % intervals, discrimination an exact two-sided binomial test against one half (half of the singles
    are real, answers are assumed independent); strengths and ratings have bootstrap intervals over listeners.

    Args:
        responses: valid responses (`checked`)
        key: key of the test
        resamples: number of bootstrap resamples
    """
    excerpts = key["excerpts"]
    systems = sorted({excerpt["system"] for excerpt in excerpts.values()})
    groups = {name: [answers for answers in responses if belongs(answers["background"])] for name, belongs in GROUPS.items()}
    return {
        "human": key["human"],
        "listeners": len(responses),
        "discrimination": discrimination(responses, excerpts),
        "taken_for_human": {system: _taken(responses, excerpts, system) for system in systems},
        "ranking": ranking(responses, excerpts, resamples),
        "marks": {system: _marks(responses, excerpts, system, resamples) for system in systems},
        "by_background": {
            name: {"listeners": len(members), **discrimination(members, excerpts)} for name, members in groups.items() if members
        },
    }


def share(part: int, total: int) -> dict[str, Any]:
    """Share with Wilson's 95 % interval."""
    from scipy.stats import binomtest

    if not total:
        return {"yes": 0, "of": 0, "share": None, "low": None, "high": None}
    low, high = binomtest(part, total).proportion_ci(method="wilson")
    return {"yes": part, "of": total, "share": part / total, "low": float(low), "high": float(high)}


def discrimination(responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any]) -> dict[str, Any]:
    """Share of correct answers about the composer, and p-value of a two-sided binomial test against one half."""
    from scipy.stats import binomtest

    right = [answer["real"] == excerpts[answer["id"]]["real"] for each in responses for answer in each["singles"]]
    return share(sum(right), len(right)) | {"p_value": float(binomtest(sum(right), len(right)).pvalue) if right else None}


def ranking(responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any], resamples: int) -> list[dict[str, Any]]:
    """Systems by Bradley-Terry strength, strongest first; empty without comparisons."""
    systems = sorted({excerpt["system"] for excerpt in excerpts.values()})
    by_listener = np.zeros((len(responses), len(systems), len(systems)))
    for number, response in enumerate(responses):
        for pair in response["pairs"]:
            other = pair["second"] if pair["chosen"] == pair["first"] else pair["first"]
            winner, loser = (systems.index(excerpts[name]["system"]) for name in (pair["chosen"], other))
            by_listener[number, winner, loser] += winner != loser
    wins = by_listener.sum(0)
    if not wins.any():
        return []
    strength = bradley_terry(wins)
    samples = bradley_terry(np.array([by_listener[sample].sum(0) for sample in draws(len(responses), resamples)]))
    low, high = np.quantile(samples, (0.025, 0.975), axis=0)
    rows = [
        {"system": system, "strength": float(strength[k]), "low": float(low[k]), "high": float(high[k])}
        | {"preferred": int(wins[k].sum()), "of": int(wins[k].sum() + wins[:, k].sum())}
        for k, system in enumerate(systems)
    ]
    return sorted(rows, key=lambda row: -row["strength"])


def lines_of(analysis: Mapping[str, Any]) -> list[str]:
    """Lines of an analysis in Markdown."""
    human, right = analysis["human"], analysis["discrimination"]
    count, chance = analysis["listeners"], _chance(right["p_value"])
    lines = [f"{count} listeners; right about who wrote a piece: {_share(right)}, by guessing {chance}", ""]
    rows = [
        {
            "system": row["system"],
            f"taken for {human}": _share(analysis["taken_for_human"][row["system"]]),
            "preferred": f"{row['preferred']} of {row['of']}" if "of" in row else None,
            "strength": f"{row['strength']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if "of" in row else None,
        }
        | {name: _mark(analysis["marks"][row["system"]][name]) for name in SCALES}
        for row in analysis["ranking"] or [{"system": system} for system in analysis["taken_for_human"]]
    ]
    background = [
        {"listeners": name, "number": group["listeners"], "right": _share(group), "by guessing": _chance(group["p_value"])}
        for name, group in analysis["by_background"].items()
    ]
    return [*lines, *markdown(rows).splitlines(), "", *markdown(background).splitlines()]


def rows_of(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """CSV rows, one per system."""
    ranked = {row["system"]: row for row in analysis["ranking"]}
    rows = []
    for system, taken in analysis["taken_for_human"].items():
        row = {"system": system} | {f"taken_{name}": value for name, value in taken.items()}
        row |= {f"strength_{name}": ranked.get(system, {}).get(name) for name in ("strength", "low", "high")}
        for name in SCALES:
            row |= {f"{name}_{part}": value for part, value in analysis["marks"][system][name].items()}
        rows.append(row)
    return rows


def _taken(responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any], system: str) -> dict[str, Any]:
    answers = [a["real"] for each in responses for a in each["singles"] if excerpts[a["id"]]["system"] == system]
    return share(sum(answers), len(answers))


def _marks(
    responses: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Any], system: str, resamples: int
) -> dict[str, dict[str, Any]]:
    """Mean ratings of a system, with intervals over listeners."""
    by_listener = [[a for a in each["singles"] if excerpts[a["id"]]["system"] == system] for each in responses]
    counts = [len(answers) for answers in by_listener]
    marks = {}
    for name in SCALES:
        sums: NDArray[np.float64] = np.array([sum(answer[name] for answer in answers) for answers in by_listener], np.float64)
        mean = ratio(sums, counts, resamples) if sum(counts) else (None, None, None)
        marks[name] = dict(zip(("mean", "low", "high"), mean, strict=True)) | {"of": sum(counts)}
    return marks


def _share(value: Mapping[str, Any]) -> str | None:
    if value["share"] is None:
        return None
    return f"{value['share']:.0%} [{value['low']:.0%}, {value['high']:.0%}] of {value['of']}"


def _mark(value: Mapping[str, Any]) -> str | None:
    return None if value["mean"] is None else f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def _chance(p_value: float | None) -> str:
    return "–" if p_value is None else f"p = {p_value:.4f}"


def report(paths: Sequence[Path | str], out: Path, key: Path | None = None) -> str:
    """Analyse responses; write listening.json, .md and .csv to `out`.

    Args:
        paths: files of listeners, or folders of them
        out: folder of the test, and of the analysis
        key: default: `key.json` in `out`

    Returns:
        Text to print.

    Raises:
        DataError: no key, or no valid response.
    """
    content = read_key(out / KEY if key is None else key)
    responses, left_out = read_responses([Path(path) for path in paths], content)
    if not responses:
        raise DataError(f"no answers to this test found ({left_out[0] if left_out else 'a folder without .json files'})")
    analysis = analyse(responses, content)
    lines = [*lines_of(analysis), *(f"- {sentence}" for sentence in left_out)]
    write_json(out / "listening.json", analysis | {"left_out": left_out})
    write_csv(out / "listening.csv", rows_of(analysis))
    write_text(out / "listening.md", "\n".join(["# Listening test", "", *lines, ""]))
    return "\n".join(lines)
