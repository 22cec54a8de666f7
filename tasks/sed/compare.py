"""`compare` of the sed task: the paper's Table 3 beside the runs of this machine."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.sed import paper
from tasks.writers.output_files import write_figure

SELECT = {"clip_f1": "clip_f1_micro", "segment_f1": "segment_f1_micro", "event_f1": "event_f1_macro"}
COLUMNS = {"clip F1": "clip_f1_micro", "segment F1": "segment_f1_micro", "event F1": "event_f1_macro"}
OTHERS = ("clip_f1_macro", "clip_map", "segment_f1_macro", "segment_er", "event_f1_micro", "event_er", "psds1", "psds2")


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the table; exit code 0, or 2 after one sentence on stderr."""
    title = "Sound event detection: paper and ours"
    return Comparison("sed", title, str(__doc__), ("3",), build, pictures, select=SELECT).main(argv)


def build(groups: Sequence[Group], wanted: str) -> Iterator[Section]:
    """Table 3, then each other data, which the paper has no numbers for."""
    yield _beside(groups)
    for i, (data, members) in enumerate(by_data(one for one in groups if not _has_row(one)).items(), 1):
        rows = [{"config": one.name, **_ours(one), **size(one)} for one in members]
        records = [{**averages(one, _measured()), **about(one, one.row)} for one in members]
        yield Section(f"other_{i}", f"Runs without numbers in the paper: {data}, F1 in %", rows, records)


def pictures(out: Path, groups: Sequence[Group], wanted: str) -> list[Path]:
    """Draw what there is of the table beside the paper's numbers; return the paths."""
    lines = [(row, one) for row in paper.TABLE3 for one in groups if one.row == row.config and matches(one)]
    if not lines:
        return []
    from tasks.reporting.curves import beside_paper

    names = [f"{one.name}: {name}" for _, one in lines for name in COLUMNS]
    theirs = [value for row, _ in lines for value in row.f1]
    reads = [(one, _percent(metric)) for _, one in lines for metric in COLUMNS.values()]
    ours, deviation = [one.mean(read) for one, read in reads], [one.deviation(read) for one, read in reads]
    picture = beside_paper(names, theirs, ours, deviation, title=f"Table 3: {paper.PROTOCOL.text()}", measure="F1 (%)")
    return [write_figure(out / "table3.png", picture)]


def matches(one: Group) -> bool:
    """Whether a group was scored on what the paper was: data set, split, policy; clips as far as they were still to be had."""
    asked = paper.PROTOCOL.about()
    return asked == {key: one.data.get(key) for key in asked}


def _has_row(one: Group) -> bool:
    return matches(one) and any(one.row == row.config for row in paper.TABLE3)


def _percent(name: str) -> Read:
    def read(result: Any) -> float | None:
        value = result.metrics.get(name)
        return None if value is None else 100 * value

    return read


def _ours(one: Group | None) -> dict[str, str | None]:
    """The three scores at the fixed threshold, those by what was tuned on validation, and the teacher's."""
    cells = {f"{name}, ours": spread(one, _percent(metric)) for name, metric in COLUMNS.items()}
    cells |= {f"{name}, tuned": spread(one, _percent(f"tuned_{metric}")) for name, metric in COLUMNS.items()}
    return cells | {f"{name}, teacher": spread(one, _percent(f"teacher_{metric}")) for name, metric in COLUMNS.items()}


def _measured() -> Mapping[str, Read]:
    names = [*COLUMNS.values(), *OTHERS]
    return {name: _percent(name) for name in [*names, *(f"tuned_{n}" for n in names), *(f"teacher_{n}" for n in names)]}


def _beside(groups: Sequence[Group]) -> Section:
    rows, records = [], []
    for row in paper.TABLE3:
        for one in [g for g in groups if g.row == row.config and matches(g)] or [None]:
            theirs = {f"{name}, paper": f"{value:.2f}" for name, value in zip(COLUMNS, row.f1, strict=True)}
            name = one.name if one and one.note else row.config
            rows.append({**row.system(), **theirs, **_ours(one), **size(one), "config": name})
            published = {f"paper_{metric}": value for metric, value in zip(COLUMNS.values(), row.f1, strict=True)}
            records.append({**row.system(), **published, **averages(one, _measured()), **about(one, row.config, paper.PROTOCOL)})
    title = f"Table 3: F1 in %, {paper.PROTOCOL.text()}; the paper's are the best {paper.BEST} of {paper.TRAINED} seeds"
    return Section(f"table3_{paper.PROTOCOL.name}", title, rows, records)
