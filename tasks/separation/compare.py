"""Comparison of separation runs with the paper: Tables 1 and 2."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.separation import paper
from tasks.writers.output_files import write_figure

MEASURES = ("sdr", "usdr", "isr", "sir", "sar")


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables; exit code 2 on an error."""
    title = "Music source separation: paper and ours"
    return Comparison("separation", title, str(__doc__), ("1", "2"), build, pictures).main(argv)


def build(groups: Sequence[Group], selection: str) -> Iterator[Section]:
    """Sections of the selected tables: beside the paper, then runs on other data."""
    for table in _selected(selection):
        yield _beside(table, groups)
    elsewhere = by_data(group for group in groups if not _has_row(group))
    for i, (data, members) in enumerate(elsewhere.items(), 1):
        yield _elsewhere(f"other_{i}", data, members)


def pictures(out: Path, groups: Sequence[Group], selection: str) -> list[Path]:
    """Draw the available rows of each table beside the paper's; return the paths."""
    written = []
    for table in _selected(selection):
        lines = [(row, group) for row in table.rows for group in groups if group.row == row.config and matches(group)]
        if lines:
            from tasks.reporting.curves import beside_paper

            names = [f"{group.name}: {name}" for _, group in lines for name in (*paper.SOURCES, "mean")]
            published = [value for row, _ in lines for value in (*row.sdr, row.mean)]
            reads = [(group, read) for _, group in lines for read in _sdr(paper.SOURCES).values()]
            ours, deviation = [group.mean(read) for group, read in reads], [group.deviation(read) for group, read in reads]
            title = f"Table {table.number}: {paper.PROTOCOL.text()}"
            picture = beside_paper(names, published, ours, deviation, title=title, measure="SDR (dB)")
            written.append(write_figure(out / f"table{table.number}.png", picture))
    return written


def matches(group: Group) -> bool:
    """True if a group was scored by the paper's protocol: data, split, policy, all tracks and sources, mixtures as on disk."""
    about_paper = paper.PROTOCOL.about()
    tracks, mixture = float(group.data.get("n_tracks", 0)), group.data.get("mixture", "file")
    same = about_paper == {key: group.data.get(key) for key in about_paper} and sorted(_sources(group)) == sorted(paper.SOURCES)
    return same and tracks == paper.TRACKS and mixture == "file"


def _selected(selection: str) -> list[paper.SeparationTable]:
    return [table for table in paper.TABLES if selection in (table.number, "all")]


def _has_row(group: Group) -> bool:
    """True if the paper has scores for this group."""
    return matches(group) and any(group.row == row.config for table in paper.TABLES for row in table.rows)


def _metric(name: str) -> Read:
    return lambda result: result.metrics.get(name)


def _sdr(sources: Sequence[str]) -> dict[str, Read]:
    """Median SDR of every source and their mean."""
    return {**{source: _metric(f"sdr_{source}") for source in sources}, "mean": _metric("sdr")}


def _beside(table: paper.SeparationTable, groups: Sequence[Group]) -> Section:
    rows, records = [], []
    for row in table.rows:
        printed = dict(zip((*paper.SOURCES, "mean"), (*row.sdr, row.mean), strict=True))
        for group in [g for g in groups if g.row == row.config and matches(g)] or [None]:
            cells: dict[str, Any] = dict(row.system)
            for name, read in _sdr(paper.SOURCES).items():
                cells |= {f"{name}, paper": f"{printed[name]:.2f}", f"{name}, ours": spread(group, read)}
            cells |= {"uSDR, ours": spread(group, _metric("usdr")), **size(group)}
            rows.append({**cells, "config": group.name if group and group.note else row.config})
            published = {f"paper_{name}": value for name, value in printed.items()}
            numbers = averages(group, _measured(paper.SOURCES))
            records.append({**row.system, **published, **numbers, **about(group, row.config, paper.PROTOCOL)})
    title = f"Table {table.number}: {table.title}, SDR in dB, {paper.PROTOCOL.text()}"
    return Section(f"table{table.number}_{paper.PROTOCOL.name}", title, rows, records)


def _measured(sources: Sequence[str]) -> dict[str, Read]:
    """Measures per source and their means over sources, by name in metrics.json."""
    names = [f"{measure}_{source}" for measure in MEASURES for source in sources]
    return {name: _metric(name) for name in (*names, *MEASURES)}


def _elsewhere(file: str, data: str, groups: Sequence[Group]) -> Section:
    sources = list(dict.fromkeys(source for group in groups for source in _sources(group)))
    rows = [_line(group, sources) for group in groups] + _baselines(groups, sources)
    records = [{**averages(group, _measured(sources)), **about(group, group.row)} for group in groups]
    return Section(file, f"Runs without numbers in the paper: {data}, SDR in dB", rows, records)


def _line(group: Group, sources: Sequence[str]) -> dict[str, Any]:
    scores = {name: spread(group, read) for name, read in _sdr(sources).items()}
    return {"config": group.name, **scores, "uSDR": spread(group, _metric("usdr")), **size(group)}


def _sources(group: Group) -> list[str]:
    """Sources in the order of the network."""
    result = group.results[0]
    return list(result.content.get("sources") or [name[4:] for name in result.metrics if name.startswith("sdr_")])


def _baselines(groups: Sequence[Group], sources: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the baselines on the same tracks, from the first run that has them."""
    for group in groups:
        for result in group.results:
            if scores := result.content.get("baselines"):
                by_source = {kind: dict(zip(_sources(group), sdr, strict=False)) for kind, sdr in scores.items()}
                return [_baseline(kind, sdr, sources) for kind, sdr in by_source.items()]
    return []


def _baseline(kind: str, sdr: Mapping[str, float | None], sources: Sequence[str]) -> dict[str, str | None]:
    values = [sdr.get(source) for source in sources]
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if len(known) == len(values) else None
    cells = [None if value is None else f"{value:.2f}" for value in (*values, mean)]
    return {"config": f"({kind})", **dict(zip((*sources, "mean"), cells, strict=True))}
