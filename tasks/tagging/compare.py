"""Comparison of tagging runs with the paper: Tables 2 to 5 and Figure 5."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datamodules.common.errors import DataError
from tasks.reporting.comparison import Group, describe, read_curves
from tasks.reporting.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.tagging import paper
from tasks.writers.output_files import write_figure

MEASURES = {"val/auroc_macro": "AUROC", "val/ap_macro": "average precision"}
COMPLETE = 0.99  # minimum share of the paper's test clips: a few recordings are no longer available


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables; exit code 2 on an error."""
    title = "Music tagging: paper and ours"
    return Comparison("tagging", title, str(__doc__), ("2", "3", "4", "5", "figure5"), build, pictures, paper.SAME_RUN).main(argv)


def build(groups: Sequence[Group], selection: str) -> Iterator[Section]:
    """Sections of the selected tables: beside the paper, then runs on other data."""
    for table in paper.TABLES:
        if selection in (table.number, "all"):
            yield _scores(table, groups)
    if selection in ("5", "all"):
        yield _per_tag(groups)
    elsewhere = by_data(group for group in groups if not _has_row(group))
    for i, (data, members) in enumerate(elsewhere.items(), 1):
        if selection not in ("5", "figure5"):
            yield _elsewhere(f"other_{i}", data, members)
        if selection in ("5", "all"):
            yield _tags_elsewhere(f"other_{i}_per_tag", data, members)


def pictures(out: Path, groups: Sequence[Group], selection: str) -> list[Path]:
    """Draw Table 5 and Figure 5; return their paths."""
    written = _tag_pictures(out, groups) if selection in ("5", "all") else []
    if selection in ("figure5", "all"):
        written += _curve_pictures(out, groups)
    if not written and selection == "figure5":
        raise DataError("Figure 5 needs metrics.csv with val/auroc_macro, found in no run: name folders of `fit` runs")
    return written


def matches(group: Group, protocol: paper.TaggingProtocol) -> bool:
    """True if a group was scored by the paper's protocol: data, subset, split, policy, tags and at least 99 % of the clips."""
    about_paper = protocol.about()
    clips, tags = (float(group.data.get(key, 0)) for key in ("n_clips", "n_tags_scored"))
    return (
        about_paper == {key: group.data.get(key) for key in about_paper}
        and tags == protocol.tags
        and COMPLETE * protocol.clips <= clips <= protocol.clips
    )


def _has_row(group: Group) -> bool:
    """True if the paper has scores for this group."""
    return any(group.row == _config(row) and matches(group, table.protocol) for table in paper.TABLES for row in table.rows)


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
        matching = [g for g in groups if g.row == _config(row) and matches(g, table.protocol)]
        for group in matching or [None]:
            star = "*" if row.quoted else ""
            cells = {**row.system, "paper AUROC": f"{row.auroc:.2f}{star}"}
            cells["paper AUPR"] = None if row.ap is None else f"{row.ap:.2f}{star}"
            if "heads" in row.system:
                cells["head width"] = _head_width(group, int(row.system["heads"]))
            rows.append({**cells, **_ours(group), "config": group.name if group and group.note else row.config})
            published = {"paper_auroc": row.auroc, "paper_ap": row.ap}
            records.append({**row.system, **published, **_record(group, row.config, table.protocol)})
    quoted = " (* quoted by the paper)" if any(row.quoted for row in table.rows) else ""
    title = f"Table {table.number}: {table.title}, in percent, {table.protocol.text()}{quoted}"
    return Section(f"table{table.number}_{table.protocol.name}", title, rows, records)


def _elsewhere(file: str, data: str, groups: Sequence[Group]) -> Section:
    rows = [{"config": group.name, **_ours(group)} for group in groups]
    title = f"Runs without numbers in the paper: {data}, in percent"
    return Section(file, title, rows, [_record(group, group.row) for group in groups])


def _ours(group: Group | None) -> dict[str, Any]:
    return {"our AUROC": spread(group, _metric("auroc_macro")), "our AUPR": spread(group, _metric("ap_macro")), **size(group)}


def _head_width(group: Group | None, heads: int) -> int | None:
    """Width of each attention head (512 is not divisible by every number of heads in Table 3)."""
    return (group.results[0].content.get("head_dim") or 512 // heads) if group else None


def _record(group: Group | None, config: str, protocol: paper.TaggingProtocol | None = None) -> dict[str, Any]:
    """CSV cells of a group: scores and protocol."""
    names = ("auroc_macro", "ap_macro", "auroc_micro", "ap_micro")
    return {**averages(group, {name: _metric(name) for name in names}), **about(group, config, protocol)}


def _table_5_groups(groups: Sequence[Group]) -> list[Group]:
    return [g for g in groups if g.row == paper.TABLE_5_CONFIG and matches(g, paper.MTAT)]


def _per_tag(groups: Sequence[Group]) -> Section:
    matching = _table_5_groups(groups)
    rows, records = [], []
    for tag, published in paper.TABLE_5.items():
        cells: dict[str, Any] = {"tag": tag, "paper": f"{published:.2f}"}
        for group in matching:
            mean = group.mean(_tag(tag))
            difference = f"{mean - published:+.2f}" if mean == mean else None
            cells |= {_column(group): spread(group, _tag(tag)), f"{_column(group)} - paper": difference}
        rows.append(cells if matching else cells | {"ours": None})
        group_records = [_tag_record(group, tag) for group in matching] or [about(None, paper.TABLE_5_CONFIG, paper.MTAT)]
        records += [{"tag": tag, "paper": published, **record} for record in group_records]
    return Section("table5_mtat", f"Table 5: AUROC per tag, in percent, Spec Att, {paper.MTAT.text()}", rows, records)


def _tags_elsewhere(file: str, data: str, groups: Sequence[Group]) -> Section:
    tags = list(dict.fromkeys(tag for g in groups for r in g.results for tag in r.content.get("per_tag") or {}))
    rows = [{"tag": tag} | {_column(group): spread(group, _tag(tag)) for group in groups} for tag in tags]
    records = [{"tag": tag, **_tag_record(group, tag)} for tag in tags for group in groups]
    return Section(file, f"AUROC per tag of runs without numbers in the paper: {data}, in percent", rows, records)


def _tag_record(group: Group, tag: str) -> dict[str, Any]:
    return {"ours": group.mean(_tag(tag)), "deviation": group.deviation(_tag(tag)), **about(group, group.row)}


def _column(group: Group) -> str:
    return f"{group.name} ({len(group.results)} seed{'s' * (len(group.results) > 1)})"


def _tag_pictures(out: Path, groups: Sequence[Group]) -> list[Path]:
    written = []
    for i, group in enumerate(_table_5_groups(groups), 1):
        from tasks.reporting.curves import beside_paper

        tags = list(paper.TABLE_5)
        numbers = [group.mean(_tag(tag)) for tag in tags], [group.deviation(_tag(tag)) for tag in tags]
        title = f"Table 5: {_column(group)}, {describe(group.data)}"
        picture = beside_paper(tags, list(paper.TABLE_5.values()), *numbers, title=title)
        written.append(write_figure(out / f"table5_{i}.png", picture))
    return written


def _curve_pictures(out: Path, groups: Sequence[Group]) -> list[Path]:
    """Figure 5 on the paper's data, and the same figure for runs on other data."""
    kinds: dict[str, dict[str, list]] = {}
    for group in groups:
        curves = [read_curves(result.folder, list(MEASURES)) for result in group.results]
        curves = [curve for curve in curves if len(curve["epoch"])]
        if curves:
            # The group describes test scores; the curves are of validation.
            data = {k: "validation" if k == "split" else v for k, v in group.data.items() if not k.startswith("n_")}
            in_paper = matches(group, paper.MTAT) and group.row in paper.FIGURE_5
            label = group.name.replace(group.row, paper.FIGURE_5[group.row]) if in_paper else group.name
            kinds.setdefault(("Figure 5: " if in_paper else "") + describe(data), {})[label] = curves
    written = []
    for title in sorted(kinds, key=lambda title: not title.startswith("Figure 5")):
        from tasks.reporting.curves import curves as draw

        is_figure_5 = title.startswith("Figure 5")
        picture = draw(kinds[title], MEASURES, title=title, marks=paper.FIGURE_5_SWITCHES if is_figure_5 else ())
        written.append(write_figure(out / ("figure5.png" if is_figure_5 else f"curves_{len(written) + 1}.png"), picture))
    return written
