"""Comparison of music generation runs: likelihoods by representation, measures of the music, and a listening test."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.common.errors import DataError
from tasks.generation import tables
from tasks.generation.page import write_page
from tasks.generation.tables import music, music_figures
from tasks.reporting.comparison import Group, Parser, fail
from tasks.reporting.comparison_tables import Comparison, Read, Section, about, averages, by_data, size, spread
from tasks.writers.output_files import write_figure


class Published(NamedTuple):
    """Published likelihood of a system."""

    system: str
    config: str | None  # ours
    nats: float  # of the test split, per frame or per cell (`unit`)
    source: str
    unit: str = "nats/frame"


JSB = (
    Published("Random", None, 61.00, "B-L 2012"),
    Published("Note 1-gram", None, 11.06, "B-L 2012"),
    Published("n-gram (Gaussian)", "jsb_markov", 9.74, "B-L 2012"),
    Published("MLP", None, 8.70, "B-L 2012"),
    Published("RNN", None, 8.71, "B-L 2012"),
    Published("LSTM", "jsb_lstm", 8.45, "Bai 2018"),
    Published("TCN", "jsb_tcn", 8.10, "Bai 2018"),
    Published("RBM", None, 7.43, "B-L 2012"),
    Published("NADE", None, 7.19, "B-L 2012"),
    Published("RNN-RBM", "jsb_rnn_rbm", 6.27, "B-L 2012"),
    Published("RNN-NADE", "jsb_rnn_nade", 5.83, "B-L 2012"),
    Published("RNN-NADE (HF)", None, 5.56, "B-L 2012"),
)
"""Negative log-likelihoods (Boulanger-Lewandowski et al. 2012; Bai et al. 2018, without the first frame of each piece)."""

JSB16 = (
    Published("Coconet, chronological", None, 0.436, "Huang 2017", "nats/cell"),
    Published("Music Transformer", None, 0.335, "Huang 2019", "nats/cell"),
)
"""On the 16th-note grid."""

LIKELIHOODS = {
    "nll_frame": "nats/frame",
    "nll_frame_without_first": "without first",
    "nll_frame_mean_per_piece": "mean per piece",
    "nll_cell": "nats/cell",
    "accuracy": "accuracy",
    "onset_accuracy": "onsets",
}
PUBLISHED = {"boulanger-lewandowski-JSB_Chorales": JSB, "jsb": JSB16}


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables, or a listening test; returns exit code 0, or 2 after an error."""
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
            print(tables.table(tables.read()))
            return 0
        if own.responses:
            from tasks.generation.listening.analysis import report

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
        f"{__doc__} --table 8.4 prints the table of the configs; --listening N writes a blind listening test with N pieces of "
        "each run; --responses FILE ... analyses the responses of its listeners."
    )
    return Comparison("generation", title, more, ("likelihood", "music"), build, pictures).main(argv)


def build(groups: Sequence[Group], table: str) -> Iterator[Section]:
    """Likelihood tables by data and representation, and music tables by corpus."""
    if table in ("likelihood", "all"):
        for number, (data, members) in enumerate(by_data(groups).items(), 1):
            yield _likelihoods(number, data, members)
    if table in ("music", "all"):
        yield from music(groups)


def pictures(out: Path, groups: Sequence[Group], table: str) -> list[Path]:
    """Write figures of rules, overlap and novelty by corpus, and a page with the music of all runs."""
    figures = [write_figure(out / name, figure) for name, figure in music_figures(groups)] if table != "likelihood" else []
    return [*figures, write_page(out / "report.html", groups, figures, list(build(groups, table)))]


def _likelihoods(number: int, data: str, members: Sequence[Group]) -> Section:
    """Likelihoods of one representation of one corpus, which are comparable."""
    rows = [_row(runs) for runs in members]
    for baseline in _baselines(members):
        rows.append({"system": baseline["name"], "kind": "exact"} | {t: _text(baseline.get(k)) for k, t in LIKELIHOODS.items()})
    for known in PUBLISHED.get(members[0].data.get("name", ""), ()):
        rows.append({"system": f"{known.system} ({known.source})", known.unit: f"{known.nats:.3f}"})
    records = [{**averages(runs, {key: _read(key) for key in LIKELIHOODS}), **about(runs, runs.row)} for runs in members]
    return Section(f"likelihood_{number}", f"Likelihood of the test pieces, lower is better: {data}", rows, records)


def _row(runs: Group) -> dict[str, Any]:
    content = runs.results[0].content
    cells = {title: spread_fine(runs, _read(key)) for key, title in LIKELIHOODS.items()}
    return {"system": runs.name, "kind": content.get("likelihood")} | cells | size(runs)


def _baselines(members: Sequence[Group]) -> list[dict[str, Any]]:
    return next((r.content["baselines"] for runs in members for r in runs.results if r.content.get("baselines")), [])


def _read(name: str) -> Read:
    return lambda result: result.metrics.get(name)


def spread_fine(runs: Group, read: Read) -> str | None:
    """Mean over the seeds and standard deviation with three decimals, as nats differ in the second."""
    if spread(runs, read) is None:
        return None
    mean, deviation = runs.mean(read), runs.deviation(read)
    return f"{mean:.3f}" if deviation != deviation else f"{mean:.3f} ± {deviation:.3f}"


def _text(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
