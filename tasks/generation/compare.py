"""`compare` of music generation: likelihoods of one representation beside each other, the music of all, and a listening test."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from tasks.comparison import Group, Parser, fail
from tasks.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.generation import paper, table84
from tasks.generation.music_tables import drawn, music
from tasks.writers.whole import write_figure

LIKELIHOODS = {
    "nll_frame": "nats/frame",
    "nll_frame_without_first": "without first",
    "nll_frame_mean_per_piece": "mean per piece",
    "nll_cell": "nats/cell",
    "accuracy": "accuracy",
    "onset_accuracy": "onsets",
}
PUBLISHED = {"boulanger-lewandowski-JSB_Chorales": paper.JSB, "jsb": paper.JSB16}


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write what was asked for; exit code 0, or 2 after one sentence on stderr."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(add_help=False)
    parser.add_argument("--table")
    parser.add_argument("--listening", type=int, metavar="N")
    parser.add_argument("--responses", nargs="+")
    parser.add_argument("--out", default="runs/compare/generation")
    parser.add_argument("--seed", type=int, default=0)
    own, rest = parser.parse_known_args(argv)
    try:
        if own.table == "8.4":
            print(table84.table(table84.read()))
            return 0
        if own.responses:
            from tasks.generation.listening.verdict import report

            print(report(own.responses, Path(own.out)))
            return 0
        if own.listening is not None:
            from tasks.generation.listening.from_runs import build_page

            runs = [word for word in rest if not word.startswith("-")]
            print(build_page(runs, own.listening, Path(own.out), own.seed))
            return 0
    except DataError as error:
        return fail(error)
    title = "Music generation: systems on the same data"
    more = (
        f"{__doc__} --table 8.4 prints the table of the configs; --listening N writes a blind listening test of N pieces of "
        "each run; --responses FILE ... analyses what its listeners sent."
    )
    return Comparison("generation", title, more, ("likelihood", "music"), build, pictures).main(argv)


def build(groups: Sequence[Group], wanted: str) -> Iterator[Section]:
    """Likelihoods, a table for each data and representation, and the music of each corpus, which no representation divides."""
    if wanted in ("likelihood", "all"):
        for number, (data, members) in enumerate(by_data(groups).items(), 1):
            yield _likelihoods(number, data, members)
    if wanted in ("music", "all"):
        yield from music(groups)


def pictures(out: Path, groups: Sequence[Group], wanted: str) -> list[Path]:
    """Rules, overlap and novelty of every corpus, and a page with the music of all runs to see and hear."""
    from tasks.generation.page import write_page

    figures = [write_figure(out / name, figure) for name, figure in drawn(groups)] if wanted != "likelihood" else []
    return [*figures, write_page(out / "report.html", groups, figures, list(build(groups, wanted)))]


def _likelihoods(number: int, data: str, members: Sequence[Group]) -> Section:
    """One representation of one corpus: numbers that may be set beside each other."""
    rows = [_row(one) for one in members]
    for baseline in _baselines(members):
        rows.append({"system": baseline["name"], "kind": "exact"} | {t: _text(baseline.get(k)) for k, t in LIKELIHOODS.items()})
    for known in PUBLISHED.get(members[0].data.get("name", ""), ()):
        rows.append({"system": f"{known.system} ({known.source})", known.unit: f"{known.nats:.3f}"})
    records = [{**averages(one, {key: _read(key) for key in LIKELIHOODS}), **about(one, one.row)} for one in members]
    return Section(f"likelihood_{number}", f"Likelihood of the test pieces, lower is better: {data}", rows, records)


def _row(one: Group) -> dict[str, Any]:
    content = one.results[0].content
    cells = {title: spread_fine(one, _read(key)) for key, title in LIKELIHOODS.items()}
    return {"system": one.name, "kind": content.get("likelihood")} | cells | size(one)


def _baselines(members: Sequence[Group]) -> list[dict[str, Any]]:
    return next((r.content["baselines"] for one in members for r in one.results if r.content.get("baselines")), [])


def _read(name: str) -> Read:
    return lambda result: result.metrics.get(name)


def spread_fine(one: Group, read: Read) -> str | None:
    """Mean over the seeds and deviation, to three digits: nats differ in the second."""
    if spread(one, read) is None:
        return None
    mean, deviation = one.mean(read), one.deviation(read)
    return f"{mean:.3f}" if deviation != deviation else f"{mean:.3f} ± {deviation:.3f}"


def _text(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
