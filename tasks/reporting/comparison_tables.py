"""Subcommand `compare` of all tasks: runs -> tables beside the paper's as Markdown, CSV and figures. Imports no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datamodules.common.errors import DataError
from tasks.reporting.comparison import Group, Parser, Result, describe, fail, group, load
from tasks.reporting.tables import markdown, write_csv
from tasks.writers.output_files import write_text

Read = Callable[[Result], float | None]


@dataclass(frozen=True)
class Protocol:
    """Evaluation data of a number; numbers of different protocols are not compared."""

    name: str
    subset: str
    split: str
    policy: str

    def about(self) -> dict[str, str]:
        """Fields as in the results of runs."""
        return {"name": self.name, "subset": self.subset, "split": self.split, "policy": self.policy}

    def text(self) -> str:
        """Text for headings."""
        return f"{self.name}, subset {self.subset}, split {self.split}, policy {self.policy}"


@dataclass(frozen=True)
class Section:
    """Table with a heading that names the evaluation data, display rows, and CSV rows."""

    file: str
    title: str
    rows: list[dict[str, Any]]
    records: list[dict[str, Any]]

    def text(self) -> str:
        """Markdown text."""
        return f"## {self.title}\n\n{markdown(self.rows)}\n"


@dataclass(frozen=True)
class Comparison:
    """Definition of a task's `compare`."""

    task: str
    title: str  # of the written report
    description: str
    tables: tuple[str, ...]  # choices of --table besides `all`
    sections: Callable[[Sequence[Group], str], Iterable[Section]]  # groups, table -> sections
    pictures: Callable[[Path, Sequence[Group], str], list[Path]]  # folder, groups, table -> written figures
    same: Mapping[str, str] = field(default_factory=dict)  # row -> row of one and the same training
    select: Mapping[str, str] = field(default_factory=dict)  # choice of --select -> validation metric

    def main(self, argv: Sequence[str] | None) -> int:
        """Print and write the tables; returns exit code 0, or 2 after an error."""
        parser = Parser(prog=f"python -m tasks.{self.task} compare", description=self.description)
        runs = [f"runs/{self.task}/*"]
        parser.add_argument("runs", nargs="*", default=runs, help="run folders, folders of runs or globs")
        choices = (*self.tables, "all")
        parser.add_argument("--table", choices=choices, default="all", help="table of the paper (default: all)")
        parser.add_argument("--out", default=f"runs/compare/{self.task}", help="folder for Markdown, CSV and figures")
        if self.select:
            parser.add_argument("--select", choices=self.select, help="average only the best seeds by this validation metric")
            parser.add_argument("--best", type=int, default=5, help="number of seeds for --select (default: 5)")
        args = parser.parse_args(argv)
        try:
            results, skipped = load(args.runs, self.task)
            groups, repeated = group(results, self.same)
            if self.select and args.select:
                groups = [best(runs, self.select[args.select], args.best) for runs in groups]
            sections = list(self.sections(groups, args.table))
            report = "\n".join(section.text() for section in sections)
            print(report)
            written = _write(Path(args.out), sections, f"# {self.title}\n\n{report}")
            written += self.pictures(Path(args.out), groups, args.table)
        except DataError as error:
            return fail(error)
        for sentence in skipped + repeated:
            print(f"left out: {sentence}")
        print("written: " + ", ".join(map(str, written)))
        return 0


def best(runs: Group, metric: str, count: int) -> Group:
    """The best runs of a group by a validation metric.

    Raises:
        DataError: a run has no value of the metric.
    """
    if count < 1:
        raise DataError(f"--best must be at least 1, got {count}")
    unknown = [result for result in runs.results if result.content.get("validation", {}).get(metric) is None]
    if unknown:
        raise DataError(f"{unknown[0].folder} has no {metric} of its validation: train it with `fit`, then `test` it again")
    ranked = sorted(runs.results, key=lambda result: (-result.content["validation"][metric], result.seed))
    note = f"best {min(count, len(ranked))} of {len(ranked)} seeds by {metric}"
    return replace(runs, results=tuple(ranked[:count]), note=", ".join(filter(None, [runs.note, note])))


def by_data(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Description of evaluation data -> its groups."""
    by_description: dict[str, list[Group]] = {}
    for runs in groups:
        by_description.setdefault(describe(runs.data), []).append(runs)
    return by_description


def spread(runs: Group | None, read: Read) -> str | None:
    """Mean over the seeds and, from two seeds on, standard deviation, with two decimals."""
    if runs is None or not runs.values(read):
        return None
    mean, deviation = runs.mean(read), runs.deviation(read)
    return f"{mean:.2f}" if deviation != deviation else f"{mean:.2f} ± {deviation:.2f}"


def averages(runs: Group | None, reads: Mapping[str, Read]) -> dict[str, float | None]:
    """CSV cells: mean and standard deviation of every measure."""
    cells: dict[str, float | None] = {}
    for name, read in reads.items():
        cells[name] = runs.mean(read) if runs else None
        cells[f"{name}_deviation"] = runs.deviation(read) if runs else None
    return cells


def about(runs: Group | None, config: str, protocol: Protocol | None = None) -> dict[str, Any]:
    """CSV cells with the runs and the evaluation data of a number."""
    data = runs.data if runs else protocol.about() if protocol else {}
    return {
        "config": config,
        "departs": runs.note if runs else None,
        "seeds": " ".join(map(str, runs.seeds)) if runs else None,
        "parameters": (parameters(runs) or "").replace(",", "") if runs else None,
        **{"data" if key == "name" else key: value for key, value in data.items()},
    }


def parameters(runs: Group | None) -> str | None:
    """Number of trained parameters."""
    counts = {result.content.get("parameters") for result in runs.results} - {None} if runs else set()
    return " or ".join(f"{count:,}" for count in sorted(counts)) or None


def size(runs: Group | None) -> dict[str, Any]:
    """Last cells of every table: number of seeds and of parameters."""
    return {"seeds": len(runs.results) if runs else None, "parameters": parameters(runs)}


def _write(out: Path, sections: Sequence[Section], report: str) -> list[Path]:
    """compare.md and one CSV per section."""
    if not sections:
        return []
    write_text(out / "compare.md", report)
    return [out / "compare.md", *(write_csv(out / f"{section.file}.csv", section.records) for section in sections)]
