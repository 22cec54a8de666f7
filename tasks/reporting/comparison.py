"""Results of runs for `compare`: run folders -> results grouped by config, averaged over seeds. Imports no torch."""

import argparse
import csv
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from datamodules.common.errors import DataError
from tasks.cli.departures import note
from tasks.cli.runs import REPLACED

RESULT = "metrics.json"


class Parser(argparse.ArgumentParser):
    """Argument parser with errors of one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


@dataclass(frozen=True)
class Result:
    """Scores of one run on one split, from its `metrics.json`."""

    folder: Path
    row: str  # name of the config
    seed: int
    data: Mapping[str, str]  # evaluation data: name, subset, split, policy and counts
    metrics: Mapping[str, float]
    content: Mapping[str, Any]  # whole metrics.json
    departures: Mapping[str, list[Any]] | None  # setting -> values of the row and of the run; None: not recorded


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed."""

    row: str
    note: str  # departures from the row's config
    data: Mapping[str, str]
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """Config and, in brackets, departures from it."""
        return f"{self.row} [{self.note}]" if self.note else self.row

    @property
    def seeds(self) -> list[int]:
        """Seeds, ascending."""
        return sorted(result.seed for result in self.results)

    def values(self, read: Callable[[Result], float | None]) -> list[float]:
        """Finite values over the seeds."""
        values = (read(result) for result in self.results)
        return [float(value) for value in values if value is not None and math.isfinite(value)]

    def mean(self, read: Callable[[Result], float | None]) -> float:
        """Mean over the seeds; NaN without values."""
        values = self.values(read)
        return statistics.fmean(values) if values else math.nan

    def deviation(self, read: Callable[[Result], float | None]) -> float:
        """Sample standard deviation over the seeds; NaN for fewer than two."""
        values = self.values(read)
        return statistics.stdev(values) if len(values) > 1 else math.nan


def load(patterns: Sequence[str], task: str) -> tuple[list[Result], list[str]]:
    """Read the results of run folders.

    Args:
        patterns: run folders, their metrics.json, folders of runs, or globs
        task: name of the task

    Returns:
        results, and one sentence for each skipped folder

    Raises:
        DataError: a folder does not exist, or no result can be read.
    """
    results, skipped = [], []
    for path in _folders(patterns, task):
        try:
            results.append(read_result(path, task))
        except DataError as error:
            skipped.append(str(error))
    if not results:
        raise DataError(
            f"no result of task {task} in {len(skipped)} run folder(s) ({skipped[0]}): "
            f"`python -m tasks.{task} test --ckpt_path RUN_FOLDER` writes one"
        )
    return results, skipped


def read_result(folder: Path, task: str) -> Result:
    """Read the result of one run folder.

    Raises:
        DataError: metrics.json is missing, invalid, or of another task.
    """
    path = folder / RESULT
    if not path.is_file():
        raise DataError(f"{folder} has no {RESULT}: run `python -m tasks.{task} test --ckpt_path {folder}` first")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        owner, row, seed = str(content["task"]), str(content["row"]), int(content["seed"])
        metrics = {name: float(value) for name, value in content["metrics"].items() if value is not None}
        data = {name: str(value) for name, value in content["data"].items()}
        departures = content.get("departures")
        note(departures)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, OverflowError) as error:
        raise DataError(f"{path} is not a {RESULT} written by `test` ({type(error).__name__}: {error})") from error
    if owner != task:
        raise DataError(f"{path} is a result of task {owner}, expected {task}")
    # Averages over different numbers of clips or classes are not comparable.
    data |= {name: f"{value:g}" for name, value in metrics.items() if name.startswith("n_")}
    return Result(folder, row, seed, data, metrics, content, departures)


def describe(data: Mapping[str, str]) -> str:
    """Data set, subset, split, policy and counts in one line."""
    named = [f"{key} {value}" for key, value in data.items() if key != "name" and not key.startswith("n_")]
    counts = [f"{value} {key[2:].replace('_', ' ')}" for key, value in data.items() if key.startswith("n_")]
    return ", ".join([data.get("name", "data"), *named, *counts])


def group(results: Iterable[Result], same: Mapping[str, str] | None = None) -> tuple[list[Group], list[str]]:
    """Group results by config, departures and data; of two runs with the same seed the newer is used.

    Args:
        results: results of `load`
        same: row -> row, for configs of one and the same training

    Returns:
        groups in order of row, and one sentence for each skipped run
    """
    bins: dict[tuple, dict[int, Result]] = {}
    skipped = []
    for result in sorted(results, key=lambda r: (r.folder / RESULT).stat().st_mtime):
        row = (same or {}).get(result.row, result.row)
        departures = json.dumps(result.departures, sort_keys=True)
        seeds = bins.setdefault((row, note(result.departures), departures, tuple(sorted(result.data.items()))), {})
        if result.seed in seeds:
            skipped.append(f"{seeds[result.seed].folder} has the config and seed {result.seed} of the newer {result.folder}")
        seeds[result.seed] = result
    groups = [Group(key[0], key[1], next(iter(seeds.values())).data, tuple(seeds.values())) for key, seeds in bins.items()]
    return sorted(groups, key=lambda g: (g.row, g.note)), skipped


def read_curves(folder: Path, columns: Sequence[str], x: str = "epoch") -> dict[str, Any]:
    """Logged values per epoch, arrays of equal length, from all `metrics.csv` under a run folder.

    A resumed run has several files and repeats an interrupted epoch; the last value is used.
    """
    import numpy as np

    rows: dict[float, list[float]] = {}
    paths = [path for path in folder.rglob("metrics.csv") if REPLACED not in path.relative_to(folder).parts]
    for path in sorted(paths, key=lambda p: p.stat().st_mtime):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                values = [row.get(column) for column in (x, *columns)]
                if all(values):
                    rows[float(values[0])] = [float(value) for value in values]
    table = np.array([rows[key] for key in sorted(rows)]).reshape(-1, 1 + len(columns))
    return {name: table[:, i] for i, name in enumerate((x, *columns))}


def fail(error: DataError) -> int:
    """Print an error; returns exit code 2."""
    sys.stderr.write(f"error: {error}\n")
    return 2


def _folders(patterns: Sequence[str], task: str) -> list[Path]:
    folders: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.exists():
            matches = _inside(path)
        elif set("*?[") & set(pattern):
            matches = sorted(match for match in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if match.is_dir())
            if not matches:
                raise DataError(f"no run folder matches {pattern}: train with `python -m tasks.{task} fit`, or name run folders")
        else:
            raise DataError(f"{pattern} does not exist: expected a run folder such as runs/{task}/NAME, or a glob in quotes")
        folders += [match for match in matches if match not in folders]
    return folders


def _inside(path: Path) -> list[Path]:
    """Run folder itself, or the runs in a folder of runs."""
    if path.is_file():
        return [path.parent]
    if (path / RESULT).exists():
        return [path]
    return sorted(child.parent for child in path.glob(f"*/{RESULT}") if child.parent.name != REPLACED) or [path]
