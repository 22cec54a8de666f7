"""`compare` of the tagging task: the paper's Tables 2 to 5 and Figure 5 beside the runs of this machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datamodules.common.errors import DataError
from tasks.reporting.comparison import Group, describe, read_curves
from tasks.reporting.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.tagging import paper
from tasks.writers.output_files import write_figure

MEASURES = {"val/auroc_macro": "AUROC", "val/ap_macro": "average precision"}
COMPLETE = 0.99  # share of the paper's test clips that must have been scored: a few recordings are lost for everyone


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables; exit code 0, or 2 after one sentence on stderr."""
    title = "Music tagging: paper and ours"
    return Comparison("tagging", title, str(__doc__), ("2", "3", "4", "5", "figure5"), build, pictures, paper.SAME_RUN).main(argv)


def build(groups: Sequence[Group], wanted: str) -> Iterator[Section]:
    """Sections of the asked tables: first beside the paper, then each other data, which the paper has no numbers for."""
    for table in paper.TABLES:
        if wanted in (table.number, "all"):
            yield _scores(table, groups)
    if wanted in ("5", "all"):
        yield _per_tag(groups)
    others = by_data(one for one in groups if not _has_row(one))
    for i, (data, members) in enumerate(others.items(), 1):
        if wanted not in ("5", "figure5"):
            yield _elsewhere(f"other_{i}", data, members)
        if wanted in ("5", "all"):
            yield _tags_elsewhere(f"other_{i}_per_tag", data, members)


def pictures(out: Path, groups: Sequence[Group], wanted: str) -> list[Path]:
    """Draw Table 5 and Figure 5; return the paths."""
    written = _tag_pictures(out, groups) if wanted in ("5", "all") else []
    if wanted in ("figure5", "all"):
        written += _curve_pictures(out, groups)
    if not written and wanted == "figure5":
        raise DataError("no run has a metrics.csv with val/auroc_macro, which Figure 5 is drawn from: name folders of `fit` runs")
    return written


def matches(one: Group, protocol: paper.TaggingProtocol) -> bool:
    """Whether a group was scored on what the paper was: same data, subset, split, policy, tags and (nearly all) clips."""
    asked = protocol.about()
    clips, tags = (float(one.data.get(key, 0)) for key in ("n_clips", "n_tags_scored"))
    return (
        asked == {key: one.data.get(key) for key in asked}
        and tags == protocol.tags
        and COMPLETE * protocol.clips <= clips <= protocol.clips
    )


def _has_row(one: Group) -> bool:
    """Whether the paper has numbers for this group."""
    return any(one.row == _config(row) and matches(one, table.protocol) for table in paper.TABLES for row in table.rows)


def _config(row: paper.TaggingRow) -> str:
    return paper.SAME_RUN.get(row.config, row.config)


def _metric(name: str) -> Read:
    return lambda result: _percent(result.metrics.get(name))


def _tag(name: str) -> Read:
    return lambda result: _percent((result.content.get("per_tag") or {}).get(name))


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _scores(table: paper.TaggingTable, groups: Sequence[Group]) -> Section:
    rows, records = [], []
    for row in table.rows:
        found = [g for g in groups if g.row == _config(row) and matches(g, table.protocol)]
        for one in found or [None]:
            star = "*" if row.quoted else ""
            shown = {**row.system, "paper AUROC": f"{row.auroc:.2f}{star}"}
            shown["paper AUPR"] = None if row.ap is None else f"{row.ap:.2f}{star}"
            if "heads" in row.system:
                shown["head width"] = _head_width(one, int(row.system["heads"]))
            rows.append({**shown, **_ours(one), "config": one.name if one and one.note else row.config})
            theirs = {"paper_auroc": row.auroc, "paper_ap": row.ap}
            records.append({**row.system, **theirs, **_record(one, row.config, table.protocol)})
    quoted = " (* quoted by the paper)" if any(row.quoted for row in table.rows) else ""
    title = f"Table {table.number}: {table.title}, in percent, {table.protocol.text()}{quoted}"
    return Section(f"table{table.number}_{table.protocol.name}", title, rows, records)


def _elsewhere(file: str, data: str, groups: Sequence[Group]) -> Section:
    rows = [{"config": one.name, **_ours(one)} for one in groups]
    title = f"Runs without numbers in the paper: {data}, in percent"
    return Section(file, title, rows, [_record(one, one.row) for one in groups])


def _ours(one: Group | None) -> dict[str, Any]:
    return {"our AUROC": spread(one, _metric("auroc_macro")), "our AUPR": spread(one, _metric("ap_macro")), **size(one)}


def _head_width(one: Group | None, heads: int) -> int | None:
    """Width of each attention head: 512 is not divisible by every head count of Table 3, so the row says what it used."""
    return (one.results[0].content.get("head_dim") or 512 // heads) if one else None


def _record(one: Group | None, config: str, protocol: paper.TaggingProtocol | None = None) -> dict[str, Any]:
    """CSV cells of a group: its numbers, and all that they were measured on."""
    names = ("auroc_macro", "ap_macro", "auroc_micro", "ap_micro")
    return {**averages(one, {name: _metric(name) for name in names}), **about(one, config, protocol)}


def _table_5_groups(groups: Sequence[Group]) -> list[Group]:
    return [g for g in groups if g.row == paper.TABLE_5_CONFIG and matches(g, paper.MTAT)]


def _per_tag(groups: Sequence[Group]) -> Section:
    found = _table_5_groups(groups)
    rows, records = [], []
    for tag, theirs in paper.TABLE_5.items():
        shown: dict[str, Any] = {"tag": tag, "paper": f"{theirs:.2f}"}
        for one in found:
            mean = one.mean(_tag(tag))
            more = f"{mean - theirs:+.2f}" if mean == mean else None
            shown |= {_column(one): spread(one, _tag(tag)), f"{_column(one)} - paper": more}
        rows.append(shown if found else shown | {"ours": None})
        cells = [_tag_record(one, tag) for one in found] or [about(None, paper.TABLE_5_CONFIG, paper.MTAT)]
        records += [{"tag": tag, "paper": theirs, **record} for record in cells]
    return Section("table5_mtat", f"Table 5: AUROC per tag, in percent, Spec Att, {paper.MTAT.text()}", rows, records)


def _tags_elsewhere(file: str, data: str, groups: Sequence[Group]) -> Section:
    tags = list(dict.fromkeys(tag for g in groups for r in g.results for tag in r.content.get("per_tag") or {}))
    rows = [{"tag": tag} | {_column(one): spread(one, _tag(tag)) for one in groups} for tag in tags]
    records = [{"tag": tag, **_tag_record(one, tag)} for tag in tags for one in groups]
    return Section(file, f"AUROC per tag of runs without numbers in the paper: {data}, in percent", rows, records)


def _tag_record(one: Group, tag: str) -> dict[str, Any]:
    return {"ours": one.mean(_tag(tag)), "deviation": one.deviation(_tag(tag)), **about(one, one.row)}


def _column(one: Group) -> str:
    return f"{one.name} ({len(one.results)} seed{'s' * (len(one.results) > 1)})"


def _tag_pictures(out: Path, groups: Sequence[Group]) -> list[Path]:
    written = []
    for i, one in enumerate(_table_5_groups(groups), 1):
        from tasks.reporting.curves import beside_paper

        tags = list(paper.TABLE_5)
        numbers = [one.mean(_tag(tag)) for tag in tags], [one.deviation(_tag(tag)) for tag in tags]
        title = f"Table 5: {_column(one)}, {describe(one.data)}"
        picture = beside_paper(tags, list(paper.TABLE_5.values()), *numbers, title=title)
        written.append(write_figure(out / f"table5_{i}.png", picture))
    return written


def _curve_pictures(out: Path, groups: Sequence[Group]) -> list[Path]:
    """Figure 5 on the paper's data, and the same picture of all runs on each other data."""
    kinds: dict[str, dict[str, list]] = {}
    for one in groups:
        curves = [read_curves(result.folder, list(MEASURES)) for result in one.results]
        curves = [curve for curve in curves if len(curve["epoch"])]
        if curves:
            # The final scores are of the test split, the curves of validation.
            data = {k: "validation" if k == "split" else v for k, v in one.data.items() if not k.startswith("n_")}
            here = matches(one, paper.MTAT) and one.row in paper.FIGURE_5
            label = one.name.replace(one.row, paper.FIGURE_5[one.row]) if here else one.name
            kinds.setdefault(("Figure 5: " if here else "") + describe(data), {})[label] = curves
    written = []
    for title in sorted(kinds, key=lambda title: not title.startswith("Figure 5")):
        from tasks.reporting.curves import curves as draw

        theirs = title.startswith("Figure 5")
        picture = draw(kinds[title], MEASURES, title=title, marks=paper.FIGURE_5_SWITCHES if theirs else ())
        written.append(write_figure(out / ("figure5.png" if theirs else f"curves_{len(written) + 1}.png"), picture))
    return written
