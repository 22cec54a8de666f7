"""`compare` of the alignment task: the paper's Table II beside the runs of this machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.alignment import paper
from tasks.alignment.paper import TOLERANCES_MS
from tasks.reporting.comparison import Group
from tasks.reporting.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.writers.output_files import write_figure

MODES = ("binary", "distance")
OTHERS = ("mean_ms", "median_ms", "p95_ms", "bias_ms", "time_err_ms", "time_dev_ms", "lost")
SELECT = {"within_50": "distance_within_50"}


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the table; exit code 0, or 2 after one sentence on stderr."""
    title = "Audio-to-score alignment: paper and ours"
    return Comparison("alignment", title, str(__doc__), ("II",), build, pictures, select=SELECT).main(argv)


def build(groups: Sequence[Group], wanted: str) -> Iterator[Section]:
    """Table II, then the runs on each other data, with the baselines that were scored beside them."""
    yield _beside(groups)
    for i, (data, members) in enumerate(by_data(one for one in groups if not matches(one)).items(), 1):
        rows = [{"system": one.name, **_ours(one), **size(one)} for one in members]
        rows += _baselines(members)
        records = [{**averages(one, _measured()), **about(one, one.row)} for one in members]
        yield Section(f"other_{i}", f"Runs on other data than the paper's: {data}, % of events", rows, records)


def pictures(out: Path, groups: Sequence[Group], wanted: str) -> list[Path]:
    """Draw what there is of the table beside the paper's numbers; return the paths."""
    lines = [(row, one) for row in paper.TABLE2 for one in groups if one.row == row.config and matches(one)]
    if not lines:
        return []
    from tasks.reporting.curves import beside_paper

    cells = [(one, key, value) for row, one in lines for key, value in paper.columns(row).items()]
    names, theirs = [f"{one.name}: {key}" for one, key, _ in cells], [value for _, _, value in cells]
    ours, deviation = ([getattr(one, what)(_percent(key)) for one, key, _ in cells] for what in ("mean", "deviation"))
    picture = beside_paper(names, theirs, ours, deviation, title=f"Table II: {paper.PROTOCOL.text()}", measure="% of beats")
    return [write_figure(out / "table2.png", picture)]


def matches(one: Group) -> bool:
    """Whether a group was scored on the paper's recordings; which ones it took it does not say."""
    return one.data.get("name") == paper.DATA and one.data.get("split") == "test"


def _percent(name: str) -> Read:
    def read(result: Any) -> float | None:
        value = result.metrics.get(name)
        return None if value is None else 100 * value

    return read


def _plain(name: str) -> Read:
    return lambda result: result.metrics.get(name)


def _ours(one: Group | None) -> dict[str, str | None]:
    return {f"{mode} <{ms} ms": spread(one, _percent(f"{mode}_within_{ms}")) for mode in MODES for ms in TOLERANCES_MS} | {
        "median ms": spread(one, _plain("distance_median_ms")),
        "lost": spread(one, _percent("distance_lost")),
    }


def _measured() -> dict[str, Read]:
    shares = {f"{mode}_within_{ms}": _percent(f"{mode}_within_{ms}") for mode in MODES for ms in TOLERANCES_MS}
    return shares | {f"{mode}_{name}": _plain(f"{mode}_{name}") for mode in MODES for name in OTHERS}


def _baselines(members: Sequence[Group]) -> list[dict[str, Any]]:
    """What the first run of the same data scored beside the network."""
    found = next((result.content for one in members for result in one.results if result.content.get("baselines")), None)
    if found is None:
        return []
    return [
        {"system": row["name"]}
        | {f"distance <{ms} ms": f"{100 * row[f'within_{ms}']:.2f}" for ms in TOLERANCES_MS}
        | {"median ms": f"{row['median_ms']:.2f}", "lost": f"{100 * row['lost']:.2f}"}
        for row in found["baselines"]
    ]


def _beside(groups: Sequence[Group]) -> Section:
    """Every row of the table beside ours, then what else was trained and tested on the same recordings."""
    ours = [one for one in groups if matches(one)]
    lines = [(row, one) for row in paper.TABLE2 for one in [g for g in ours if g.row == row.config] or [None]]
    lines += [(paper.AlignmentRow(one.row, one.row, None, None), one) for one in ours if not paper.of(one.row)]
    rows, records = [], []
    for row, one in lines:
        theirs = paper.columns(row)
        cells = {
            f"{mode} <{ms} ms": _cell(theirs.get(f"{mode}_within_{ms}"), spread(one, _percent(f"{mode}_within_{ms}")))
            for mode in MODES
            for ms in TOLERANCES_MS
        }
        rows.append({"system": row.system, **cells, **size(one), "config": one.name if one and one.note else row.config})
        published = {f"paper_{key}": value for key, value in theirs.items()}
        records.append({"system": row.system, **published, **averages(one, _measured()), **about(one, row.config)})
    title = "Table II: % of beats of Mazurka recordings within a tolerance, paper | ours"
    return Section("table2", title, rows, records)


def _cell(theirs: float | None, ours: str | None) -> str | None:
    return None if theirs is None and ours is None else f"{'-' if theirs is None else theirs} | {ours or '-'}"
