"""The `compare` verb of every task: tables of runs beside the paper's, as Markdown, CSV and pictures. Imports no torch."""

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
    """What a number was measured on; numbers of different protocols are not compared."""

    name: str
    subset: str
    split: str
    policy: str

    def about(self) -> dict[str, str]:
        """As runs say it."""
        return {"name": self.name, "subset": self.subset, "split": self.split, "policy": self.policy}

    def text(self) -> str:
        """For headings."""
        return f"{self.name}, subset {self.subset}, split {self.split}, policy {self.policy}"


@dataclass(frozen=True)
class Section:
    """One table: a heading that says what its numbers were measured on, display rows, and CSV rows."""

    file: str
    title: str
    rows: list[dict[str, Any]]
    records: list[dict[str, Any]]

    def text(self) -> str:
        """Markdown."""
        return f"## {self.title}\n\n{markdown(self.rows)}\n"


@dataclass(frozen=True)
class Comparison:
    """What a task's `compare` says of itself."""

    task: str
    title: str  # of the written report
    description: str
    tables: tuple[str, ...]  # that --table offers besides `all`
    sections: Callable[[Sequence[Group], str], Iterable[Section]]  # of the table asked for
    pictures: Callable[[Path, Sequence[Group], str], list[Path]]  # draws into a folder
    same: Mapping[str, str] = field(default_factory=dict)  # names of one and the same training
    select: Mapping[str, str] = field(default_factory=dict)  # what --select offers -> the validation metric that it means

    def main(self, argv: Sequence[str] | None) -> int:
        """Print and write the tables; exit code 0, or 2 after one sentence on stderr."""
        parser = Parser(prog=f"python -m tasks.{self.task} compare", description=self.description)
        runs = [f"runs/{self.task}/*"]
        parser.add_argument("runs", nargs="*", default=runs, help="run folders, folders of runs or globs")
        choices = (*self.tables, "all")
        parser.add_argument("--table", choices=choices, default="all", help="which of the paper's tables (default: all)")
        parser.add_argument("--out", default=f"runs/compare/{self.task}", help="folder for Markdown, CSV and pictures")
        if self.select:
            parser.add_argument("--select", choices=self.select, help="average the seeds that are best in this validation metric")
            parser.add_argument("--best", type=int, default=5, help="how many of them (default: 5)")
        args = parser.parse_args(argv)
        try:
            results, skipped = load(args.runs, self.task)
            groups, repeated = group(results, self.same)
            if self.select and args.select:
                groups = [best(one, self.select[args.select], args.best) for one in groups]
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


def best(one: Group, metric: str, count: int) -> Group:
    """The runs of a group that were best in validation, the same for every number.

    Raises DataError where a run says nothing of its validation.
    """
    if count < 1:
        raise DataError(f"--best must be at least 1, got {count}")
    unknown = [result for result in one.results if result.content.get("validation", {}).get(metric) is None]
    if unknown:
        raise DataError(f"{unknown[0].folder} does not say its {metric} in validation: train it with `fit`, then `test` it again")
    ranked = sorted(one.results, key=lambda result: (-result.content["validation"][metric], result.seed))
    note = f"best {min(count, len(ranked))} of {len(ranked)} seeds by {metric}"
    return replace(one, results=tuple(ranked[:count]), note=", ".join(filter(None, [one.note, note])))


def by_data(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Groups of the same data under what describes it."""
    found: dict[str, list[Group]] = {}
    for one in groups:
        found.setdefault(describe(one.data), []).append(one)
    return found


def spread(one: Group | None, read: Read) -> str | None:
    """Mean over the seeds and, from two on, deviation, to two digits."""
    if one is None or not one.values(read):
        return None
    mean, deviation = one.mean(read), one.deviation(read)
    return f"{mean:.2f}" if deviation != deviation else f"{mean:.2f} ± {deviation:.2f}"


def averages(one: Group | None, reads: Mapping[str, Read]) -> dict[str, float | None]:
    """CSV cells: mean and deviation of every measure."""
    cells: dict[str, float | None] = {}
    for name, read in reads.items():
        cells[name] = one.mean(read) if one else None
        cells[f"{name}_deviation"] = one.deviation(read) if one else None
    return cells


def about(one: Group | None, config: str, protocol: Protocol | None = None) -> dict[str, Any]:
    """CSV cells that say which runs a number comes from, and what it was measured on."""
    data = one.data if one else protocol.about() if protocol else {}
    return {
        "config": config,
        "departs": one.note if one else None,
        "seeds": " ".join(map(str, one.seeds)) if one else None,
        "parameters": (parameters(one) or "").replace(",", "") if one else None,
        **{"data" if key == "name" else key: value for key, value in data.items()},
    }


def parameters(one: Group | None) -> str | None:
    """Number of trained parameters."""
    counts = {result.content.get("parameters") for result in one.results} - {None} if one else set()
    return " or ".join(f"{count:,}" for count in sorted(counts)) or None


def size(one: Group | None) -> dict[str, Any]:
    """Cells that every table ends with."""
    return {"seeds": len(one.results) if one else None, "parameters": parameters(one)}


def _write(out: Path, sections: Sequence[Section], report: str) -> list[Path]:
    """compare.md and one CSV per section."""
    if not sections:
        return []
    write_text(out / "compare.md", report)
    return [out / "compare.md", *(write_csv(out / f"{section.file}.csv", section.records) for section in sections)]
