"""What listeners' answers say: whether they can tell, who is taken for human, who is preferred, how music is marked."""

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

# Strengths of systems from comparisons of two (Bradley and Terry 1952).

STEPS, CLOSE = 10_000, 1e-9
GHOST = 0.1
"""Of a win, that every system is given over every other: who never loses is strong, but not infinitely so."""


def bradley_terry(wins: NDArray[np.float64], ghost: float = GHOST) -> NDArray[np.float64]:
    """Log strengths (..., systems) of which the most likely explain the wins, their mean 0.

    System i is preferred to j with chance 1 / (1 + exp(strength j - strength i)). Iterated by minorisation (Hunter 2004).

    Args:
        wins: (..., systems, systems) how often the row was preferred to the column; several sets at once, as a bootstrap draws
        ghost: wins added between every two; with 0, wins must lead from every system to every other

    Raises:
        ValueError: wins that are no squares of counts.
    """
    wins = np.asarray(wins, np.float64)
    if wins.ndim < 2 or wins.shape[-1] != wins.shape[-2] or (wins < 0).any():
        raise ValueError(f"wins must be counts (systems, systems), got {wins.shape}")
    wins = np.where(np.eye(wins.shape[-1], dtype=bool), 0.0, wins + ghost)
    met, own = wins + wins.swapaxes(-1, -2), wins.sum(-1)
    log = np.zeros(own.shape)
    for _ in range(STEPS):
        strength, before = np.exp(log), log
        expected = (met / (strength[..., :, None] + strength[..., None, :])).sum(-1)
        log = np.log(np.maximum(own, 1e-300)) - np.log(np.maximum(expected, 1e-300))
        log -= log.mean(-1, keepdims=True)
        if np.abs(log - before).max(initial=0) < CLOSE:
            break
    return log


# Files that listeners send back, read and held against the key of their test.

BACKGROUND = {"training": 90, "listening": 4, "works": 2, "device": 2}
"""Questions about the listener, and the largest answer; answers are whole numbers from 0."""
SCALES = ("plausible", "pleasant")


def read_key(path: Path) -> dict[str, Any]:
    """The key of a test: its name and who wrote each excerpt. Raises DataError where it is none."""
    key = _json(path, "the key that was written beside the listening page")
    if not isinstance(key, dict) or not {"test", "human", "excerpts"} <= set(key):
        raise DataError(f"{path} is no key of a listening test: expected key.json as it was written beside the page")
    return key


def read_responses(paths: Sequence[Path], key: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Responses of a test, each listener once, and a sentence for each file that was left out.

    paths: files, or folders of .json files
    """
    found, left_out, known = [], [], {}
    files = [file for path in map(Path, paths) for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    for file in files:
        try:
            response = checked(_json(file, "answers downloaded from the listening page"), key, str(file))
            if response["listener"] in known:
                raise DataError(f"{file} holds the answers of {known[response['listener']]} again")
        except DataError as reason:
            left_out.append(str(reason))
            continue
        known[response["listener"]] = file
        found.append(response)
    return found, left_out


def checked(response: Any, key: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The response, if everything in it can be an answer to this test.

    Raises:
        DataError: it is not; the sentence has the name and what is wrong.
    """
    if wrong := _wrong(response, key):
        raise DataError(f"{name} is left out: {wrong}; expected the file as the listening page wrote it")
    return response


def _wrong(response: Any, key: Mapping[str, Any]) -> str | None:
    """What is wrong with a response; None where nothing is."""
    if not isinstance(response, dict) or not isinstance(response.get("listener"), str):
        return "it is no response"
    if response.get("test") != key["test"]:
        return "it belongs to another test"
    background = response.get("background")
    if not isinstance(background, dict) or any(not _whole(background.get(name), 0, most) for name, most in BACKGROUND.items()):
        return "what it says about the listener cannot be"
    for name, wrong in (("pairs", _wrong_pair), ("singles", _wrong_single)):
        answers = response.get(name)
        if not isinstance(answers, list) or any(not isinstance(answer, dict) for answer in answers):
            return f"its {name} are no list of answers"
        for number, answer in enumerate(answers, 1):
            if said := wrong(answer, key["excerpts"]):
                return f"number {number} of its {name} {said}"
    return None


def _wrong_pair(answer: Mapping[str, Any], excerpts: Mapping[str, Any]) -> str | None:
    two = [answer.get("first"), answer.get("second")]
    if any(not isinstance(name, str) or name not in excerpts for name in two) or two[0] == two[1]:
        return "compares no two pieces of this test"
    return None if answer.get("chosen") in two else "chooses neither piece"


def _wrong_single(answer: Mapping[str, Any], excerpts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer.get("id"), str) or answer["id"] not in excerpts:
        return "judges no piece of this test"
    if not isinstance(answer.get("real"), bool):
        return "does not say who wrote it"
    return None if all(_whole(answer.get(name), 1, 5) for name in SCALES) else "has a mark that is not 1 to 5"


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


# The analysis of a listening test as files and on screen.


def report(paths: Sequence[Path | str], out: Path, key: Path | None = None) -> str:
    """Analyse the files of listeners; write listening.json, .md and .csv to `out` and return what the screen shows.

    Args:
        paths: files that listeners sent, or folders of them
        out: folder of the test, and of the analysis
        key: default: `key.json` in `out`

    Raises:
        DataError: no key, or no file of answers that belongs to it.
    """
    held = read_key(out / KEY if key is None else key)
    responses, left_out = read_responses([Path(path) for path in paths], held)
    if not responses:
        raise DataError(
            f"no answers to this test among the files ({left_out[0] if left_out else 'a folder without .json files'})"
        )
    found = analyse(responses, held)
    lines = [*lines_of(found), *(f"- {sentence}" for sentence in left_out)]
    write_json(out / "listening.json", found | {"left_out": left_out})
    write_csv(out / "listening.csv", rows_of(found))
    write_text(out / "listening.md", "\n".join(["# Listening test", "", *lines, ""]))
    return "\n".join(lines)
