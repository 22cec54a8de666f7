"""`compare` of the separation task: the paper's Tables 1 and 2 beside the runs of this machine."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.separation import paper
from tasks.writers.output_files import write_figure

MEASURES = ("sdr", "usdr", "isr", "sir", "sar")


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables; exit code 0, or 2 after one sentence on stderr."""
    return Comparison("separation", "Music source separation: paper and ours", str(__doc__), ("1", "2"), build, pictures).main(
        argv
    )


def build(groups: Sequence[Group], wanted: str) -> Iterator[Section]:
    """Sections of the asked tables: first beside the paper, then each other data, which the paper has no numbers for."""
    for table in _asked(wanted):
        yield _beside(table, groups)
    others = by_data(one for one in groups if not _has_row(one))
    for i, (data, members) in enumerate(others.items(), 1):
        yield _elsewhere(f"other_{i}", data, members)


def pictures(out: Path, groups: Sequence[Group], wanted: str) -> list[Path]:
    """Draw what there is of each table beside the paper's numbers; return the paths."""
    written = []
    for table in _asked(wanted):
        lines = [(row, one) for row in table.rows for one in groups if one.row == row.config and matches(one)]
        if lines:
            from tasks.reporting.curves import beside_paper

            names = [f"{one.name}: {name}" for _, one in lines for name in (*paper.SOURCES, "mean")]
            theirs = [value for row, _ in lines for value in (*row.sdr, row.mean)]
            reads = [(one, read) for _, one in lines for read in _sdr(paper.SOURCES).values()]
            ours, deviation = [one.mean(read) for one, read in reads], [one.deviation(read) for one, read in reads]
            title = f"Table {table.number}: {paper.PROTOCOL.text()}"
            picture = beside_paper(names, theirs, ours, deviation, title=title, measure="SDR (dB)")
            written.append(write_figure(out / f"table{table.number}.png", picture))
    return written


def matches(one: Group) -> bool:
    """Whether a group was scored on what the paper was: data set, split, policy, all tracks and stems, mixtures as on disk."""
    asked = paper.PROTOCOL.about()
    tracks, mixture = float(one.data.get("n_tracks", 0)), one.data.get("mixture", "file")
    same = asked == {key: one.data.get(key) for key in asked} and sorted(_sources(one)) == sorted(paper.SOURCES)
    return same and tracks == paper.TRACKS and mixture == "file"


def _asked(wanted: str) -> list[paper.SeparationTable]:
    return [table for table in paper.TABLES if wanted in (table.number, "all")]


def _has_row(one: Group) -> bool:
    """Whether the paper has numbers for this group."""
    return matches(one) and any(one.row == row.config for table in paper.TABLES for row in table.rows)


def _metric(name: str) -> Read:
    return lambda result: result.metrics.get(name)


def _sdr(sources: Sequence[str]) -> dict[str, Read]:
    """Median SDR of every source and their mean."""
    return {**{source: _metric(f"sdr_{source}") for source in sources}, "mean": _metric("sdr")}


def _beside(table: paper.SeparationTable, groups: Sequence[Group]) -> Section:
    rows, records = [], []
    for row in table.rows:
        theirs = dict(zip((*paper.SOURCES, "mean"), (*row.sdr, row.mean), strict=True))
        for one in [g for g in groups if g.row == row.config and matches(g)] or [None]:
            shown: dict[str, Any] = dict(row.system)
            for name, read in _sdr(paper.SOURCES).items():
                shown |= {f"{name}, paper": f"{theirs[name]:.2f}", f"{name}, ours": spread(one, read)}
            shown |= {"uSDR, ours": spread(one, _metric("usdr")), **size(one)}
            rows.append({**shown, "config": one.name if one and one.note else row.config})
            published = {f"paper_{name}": value for name, value in theirs.items()}
            numbers = averages(one, _measured(paper.SOURCES))
            records.append({**row.system, **published, **numbers, **about(one, row.config, paper.PROTOCOL)})
    title = f"Table {table.number}: {table.title}, SDR in dB, {paper.PROTOCOL.text()}"
    return Section(f"table{table.number}_{paper.PROTOCOL.name}", title, rows, records)


def _measured(sources: Sequence[str]) -> dict[str, Read]:
    """Every measure of every source and its mean over sources, by its name in metrics.json."""
    names = [f"{measure}_{source}" for measure in MEASURES for source in sources]
    return {name: _metric(name) for name in (*names, *MEASURES)}


def _elsewhere(file: str, data: str, groups: Sequence[Group]) -> Section:
    sources = list(dict.fromkeys(source for one in groups for source in _sources(one)))
    rows = [_line(one, sources) for one in groups] + _baselines(groups, sources)
    records = [{**averages(one, _measured(sources)), **about(one, one.row)} for one in groups]
    return Section(file, f"Runs without numbers in the paper: {data}, SDR in dB", rows, records)


def _line(one: Group, sources: Sequence[str]) -> dict[str, Any]:
    scores = {name: spread(one, read) for name, read in _sdr(sources).items()}
    return {"config": one.name, **scores, "uSDR": spread(one, _metric("usdr")), **size(one)}


def _sources(one: Group) -> list[str]:
    """Stems, in the order of the network."""
    result = one.results[0]
    return list(result.content.get("sources") or [name[4:] for name in result.metrics if name.startswith("sdr_")])


def _baselines(groups: Sequence[Group], sources: Sequence[str]) -> list[dict[str, Any]]:
    """What the runs were held against on the same tracks, such as silence and ideal masks: of the first run that tells."""
    for one in groups:
        for result in one.results:
            found = result.content.get("baselines") or {}
            if found:
                return [
                    _baseline(kind, dict(zip(_sources(one), values, strict=False)), sources) for kind, values in found.items()
                ]
    return []


def _baseline(kind: str, sdr: Mapping[str, float | None], sources: Sequence[str]) -> dict[str, str | None]:
    values = [sdr.get(source) for source in sources]
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if len(known) == len(values) else None
    cells = [None if value is None else f"{value:.2f}" for value in (*values, mean)]
    return {"config": f"({kind})", **dict(zip((*sources, "mean"), cells, strict=True))}
