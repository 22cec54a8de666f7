"""Comparison of sound event detection runs with the paper: Table 3."""

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
    """Print and write the table; exit code 2 on an error."""
    title = "Sound event detection: paper and ours"
    return Comparison("sed", title, str(__doc__), ("3",), build, pictures, select=SELECT).main(argv)


def build(groups: Sequence[Group], selection: str) -> Iterator[Section]:
    """Table 3, then runs on other data."""
    yield _beside(groups)
    for i, (data, members) in enumerate(by_data(group for group in groups if not _has_row(group)).items(), 1):
        rows = [{"config": group.name, **_ours(group), **size(group)} for group in members]
        records = [{**averages(group, _measured()), **about(group, group.row)} for group in members]
        yield Section(f"other_{i}", f"Runs without numbers in the paper: {data}, F1 in %", rows, records)


def pictures(out: Path, groups: Sequence[Group], selection: str) -> list[Path]:
    """Draw the available rows of Table 3 beside the paper's; return the paths."""
    lines = [(row, group) for row in paper.TABLE3 for group in groups if group.row == row.config and matches(group)]
    if not lines:
        return []
    from tasks.reporting.curves import beside_paper

    names = [f"{group.name}: {name}" for _, group in lines for name in COLUMNS]
    published = [value for row, _ in lines for value in row.f1]
    reads = [(group, _percent(metric)) for _, group in lines for metric in COLUMNS.values()]
    ours, deviation = [group.mean(read) for group, read in reads], [group.deviation(read) for group, read in reads]
    picture = beside_paper(names, published, ours, deviation, title=f"Table 3: {paper.PROTOCOL.text()}", measure="F1 (%)")
    return [write_figure(out / "table3.png", picture)]


def matches(group: Group) -> bool:
    """True if a group was scored by the paper's protocol: data, subset, split, policy."""
    about_paper = paper.PROTOCOL.about()
    return about_paper == {key: group.data.get(key) for key in about_paper}


def _has_row(group: Group) -> bool:
    return matches(group) and any(group.row == row.config for row in paper.TABLE3)


def _percent(name: str) -> Read:
    def read(result: Any) -> float | None:
        value = result.metrics.get(name)
        return None if value is None else 100 * value

    return read


def _ours(group: Group | None) -> dict[str, str | None]:
    """Cells of the three F1 scores: fixed threshold, tuned on validation, and teacher."""
    cells = {f"{name}, ours": spread(group, _percent(metric)) for name, metric in COLUMNS.items()}
    cells |= {f"{name}, tuned": spread(group, _percent(f"tuned_{metric}")) for name, metric in COLUMNS.items()}
    return cells | {f"{name}, teacher": spread(group, _percent(f"teacher_{metric}")) for name, metric in COLUMNS.items()}


def _measured() -> Mapping[str, Read]:
    names = [*COLUMNS.values(), *OTHERS]
    return {name: _percent(name) for name in [*names, *(f"tuned_{n}" for n in names), *(f"teacher_{n}" for n in names)]}


def _beside(groups: Sequence[Group]) -> Section:
    rows, records = [], []
    for row in paper.TABLE3:
        for group in [g for g in groups if g.row == row.config and matches(g)] or [None]:
            printed = {f"{name}, paper": f"{value:.2f}" for name, value in zip(COLUMNS, row.f1, strict=True)}
            name = group.name if group and group.note else row.config
            rows.append({**row.system(), **printed, **_ours(group), **size(group), "config": name})
            published = {f"paper_{metric}": value for metric, value in zip(COLUMNS.values(), row.f1, strict=True)}
            scores = averages(group, _measured())
            records.append({**row.system(), **published, **scores, **about(group, row.config, paper.PROTOCOL)})
    title = f"Table 3: F1 in %, {paper.PROTOCOL.text()}; the paper's are the best {paper.BEST} of {paper.TRAINED} seeds"
    return Section(f"table3_{paper.PROTOCOL.name}", title, rows, records)
