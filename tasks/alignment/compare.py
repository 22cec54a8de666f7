"""Comparison of alignment runs with Table II of the paper."""

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
    """Print and write the table; returns exit code 0, or 2 after an error."""
    title = "Audio-to-score alignment: paper and ours"
    return Comparison("alignment", title, str(__doc__), ("II",), build, pictures, select=SELECT).main(argv)


def build(groups: Sequence[Group], table: str) -> Iterator[Section]:
    """Table II, then the runs on other data with their baselines."""
    yield _table2(groups)
    for i, (data, members) in enumerate(by_data(runs for runs in groups if not matches(runs)).items(), 1):
        rows = [{"system": runs.name, **_ours(runs), **size(runs)} for runs in members]
        rows += _baselines(members)
        records = [{**averages(runs, _measured()), **about(runs, runs.row)} for runs in members]
        yield Section(f"other_{i}", f"Runs on other data than the paper's: {data}, % of events", rows, records)


def pictures(out: Path, groups: Sequence[Group], table: str) -> list[Path]:
    """Draw the available rows of Table II beside the paper's numbers; returns the paths."""
    lines = [(row, runs) for row in paper.TABLE2 for runs in groups if runs.row == row.config and matches(runs)]
    if not lines:
        return []
    from tasks.reporting.curves import beside_paper  # needs numpy

    cells = [(runs, key, value) for row, runs in lines for key, value in paper.columns(row).items()]
    names, theirs = [f"{runs.name}: {key}" for runs, key, _ in cells], [value for _, _, value in cells]
    ours, deviation = ([getattr(runs, part)(_percent(key)) for runs, key, _ in cells] for part in ("mean", "deviation"))
    picture = beside_paper(names, theirs, ours, deviation, title=f"Table II: {paper.PROTOCOL.text()}", measure="% of beats")
    return [write_figure(out / "table2.png", picture)]


def matches(runs: Group) -> bool:
    """True for runs tested on the paper's data set; the paper does not name its recordings."""
    return runs.data.get("name") == paper.DATA and runs.data.get("split") == "test"


def _percent(name: str) -> Read:
    def read(result: Any) -> float | None:
        value = result.metrics.get(name)
        return None if value is None else 100 * value

    return read


def _plain(name: str) -> Read:
    return lambda result: result.metrics.get(name)


def _ours(runs: Group | None) -> dict[str, str | None]:
    return {f"{mode} <{ms} ms": spread(runs, _percent(f"{mode}_within_{ms}")) for mode in MODES for ms in TOLERANCES_MS} | {
        "median ms": spread(runs, _plain("distance_median_ms")),
        "lost": spread(runs, _percent("distance_lost")),
    }


def _measured() -> dict[str, Read]:
    shares = {f"{mode}_within_{ms}": _percent(f"{mode}_within_{ms}") for mode in MODES for ms in TOLERANCES_MS}
    return shares | {f"{mode}_{name}": _plain(f"{mode}_{name}") for mode in MODES for name in OTHERS}


def _baselines(members: Sequence[Group]) -> list[dict[str, Any]]:
    """Rows of the baselines in the first result that has them."""
    contents = (result.content for runs in members for result in runs.results)
    content = next((content for content in contents if content.get("baselines")), None)
    if content is None:
        return []
    return [
        {"system": row["name"]}
        | {f"distance <{ms} ms": f"{100 * row[f'within_{ms}']:.2f}" for ms in TOLERANCES_MS}
        | {"median ms": f"{row['median_ms']:.2f}", "lost": f"{100 * row['lost']:.2f}"}
        for row in content["baselines"]
    ]


def _table2(groups: Sequence[Group]) -> Section:
    """Rows of the paper beside our runs, then other systems tested on the same data set."""
    ours = [runs for runs in groups if matches(runs)]
    lines = [(row, runs) for row in paper.TABLE2 for runs in [g for g in ours if g.row == row.config] or [None]]
    lines += [(paper.AlignmentRow(runs.row, runs.row, None, None), runs) for runs in ours if not paper.row_of(runs.row)]
    rows, records = [], []
    for row, runs in lines:
        theirs = paper.columns(row)
        cells = {
            f"{mode} <{ms} ms": _cell(theirs.get(f"{mode}_within_{ms}"), spread(runs, _percent(f"{mode}_within_{ms}")))
            for mode in MODES
            for ms in TOLERANCES_MS
        }
        rows.append({"system": row.system, **cells, **size(runs), "config": runs.name if runs and runs.note else row.config})
        published = {f"paper_{key}": value for key, value in theirs.items()}
        records.append({"system": row.system, **published, **averages(runs, _measured()), **about(runs, row.config)})
    title = "Table II: % of beats of Mazurka recordings within a tolerance, paper | ours"
    return Section("table2", title, rows, records)


def _cell(theirs: float | None, ours: str | None) -> str | None:
    return None if theirs is None and ours is None else f"{'-' if theirs is None else theirs} | {ours or '-'}"
