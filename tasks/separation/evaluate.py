"""Evaluate stems of any system by BSSEval: python -m tasks.separation.evaluate ESTIMATES REFERENCES.

ESTIMATES/TRACK/STEM.wav is compared with REFERENCES/TRACK/STEM.wav; REFERENCES may be the root of MUSDB18-HQ.
"""

import argparse
import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.cli.launch import run_safely

COLUMNS = {"sdr": "cSDR", "isr": "ISR", "sir": "SIR", "sar": "SAR", "usdr": "uSDR"}
LISTED = 5


def main(argv: list[str] | None = None) -> None:
    """Score a folder; exit code 1 if some tracks could not be scored, 2 on an error."""
    args = _parser().parse_args(argv)
    failed: list[int] = []
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        run_safely(lambda: failed.append(_evaluate(args)))
    sys.exit(1 if failed[0] else 0)


def score_table(metrics: Mapping[str, float], sources: Sequence[str]) -> str:
    """Markdown table of the scores of `SeparationScores.compute`: rows of sources and their mean, dB."""
    from tasks.reporting.tables import markdown

    columns = {metric: name for metric, name in COLUMNS.items() if metric in metrics}
    rows = [{"source": s, **{name: _db(metrics[f"{m}_{s}"]) for m, name in columns.items()}} for s in sources]
    return markdown([*rows, {"source": "mean", **{name: _db(metrics[m]) for m, name in columns.items()}}])


def track_rows(results: Sequence, sources: Sequence[str]) -> list[dict]:
    """Rows of tracks.csv, one per track and source: medians over windows and uSDR, dB."""
    return [
        {"track": result.name, "source": source}
        | dict(zip(("sdr", "isr", "sir", "sar"), (float(x) for x in result.medians[j]), strict=True))
        | {"usdr": float(result.usdr[j])}
        for result in results
        for j, source in enumerate(sources)
        if result.error is None
    ]


def _parser() -> argparse.ArgumentParser:
    from tasks.reporting.comparison import Parser

    parser = Parser(prog="python -m tasks.separation.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("estimates", type=Path, help="folder with a folder of stems per track, or output folder of `predict`")
    parser.add_argument("references", type=Path, help="folder with a folder of reference stems per track, or root of MUSDB18-HQ")
    parser.add_argument("--sources", nargs="+", help="stems to score (default: all common stems)")
    parser.add_argument("--bss", choices=["sdr", "full"], default="full", help="sdr: without ISR, SIR and SAR, much faster")
    parser.add_argument("--evaluator", choices=["quintet", "museval"], default="quintet", help="museval: the official package")
    cores = min(4, os.cpu_count() or 1)
    parser.add_argument("--processes", type=int, default=cores, help="worker processes (default: %(default)s)")
    parser.add_argument("--window", type=float, default=1.0, help="length of a window, s")
    parser.add_argument("--hop", type=float, default=1.0, help="time between windows, s")
    lengths = "reference stems of unequal length: pad with silence, trim to the shortest, or skip the track (default: pad)"
    parser.add_argument("--lengths", choices=["pad", "trim", "skip"], default="pad", help=lengths)
    parser.add_argument("--out", type=Path, help="output folder (default: ESTIMATES_scores)")
    parser.add_argument("--overwrite", action="store_true", help="score tracks again that have scores")
    return parser


def _evaluate(args: argparse.Namespace) -> int:
    """Score all tracks, write and print the scores; return the number of failed tracks."""
    from datamodules.common.errors import DataError
    from tasks.separation.stems_on_disk import find_pairs
    from tasks.separation.track_evaluator import Scoring, TrackEvaluator

    if args.processes < 0 or args.window <= 0 or args.hop <= 0:
        raise DataError("--processes must be at least 0, --window and --hop above 0")
    pairs, sources = find_pairs(args.estimates, args.references, args.sources, args.lengths)
    bss = "full" if args.evaluator == "museval" else args.bss
    scoring = Scoring(tuple(sources), pairs[0].rate, bss, args.evaluator, args.window, args.hop)
    estimates = args.estimates.resolve()
    folder = args.out or estimates.with_name(f"{estimates.name}_scores")
    with TrackEvaluator(folder, scoring, min(args.processes, len(pairs))) as evaluator:
        stored = 0
        for index, pair in enumerate(pairs):
            if not args.overwrite and evaluator.done(pair.name, pair.newest()):
                evaluator.keep(pair.name, index)
                stored += 1
            else:
                evaluator.submit_load(pair.name, index, pair)
        results = evaluator.finish()
    return _report(results, sources, scoring, folder, stored)


def _report(results: list, sources: list[str], scoring, folder: Path, stored: int) -> int:
    """Write tracks.csv and scores.json, print the table and the failed tracks; return their number."""
    import numpy as np

    from datamodules.common.errors import DataError
    from tasks.reporting.tables import write_csv
    from tasks.separation.metrics import TrackScores, summary
    from tasks.writers.output_files import counted, write_json

    good = [result for result in results if result.error is None]
    bad = [result for result in results if result.error is not None]
    if not good:
        raise DataError(f"no track could be evaluated ({len(bad)} failed); first error: {bad[0].name}: {bad[0].error}")
    rows = TrackScores(*(np.array([getattr(r, name) for r in good]) for name in ("index", "medians", "usdr")))
    metrics = summary(rows, sources)
    write_csv(folder / "tracks.csv", track_rows(good, sources))
    plain = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    write_json(folder / "scores.json", {"settings": scoring.settings(), "metrics": plain})
    scored = f"{counted(len(good), 'track')} ({stored} of them scored earlier)"
    print(f"{scored} by {scoring.evaluator}, dB. cSDR, ISR, SIR, SAR: median over")
    print(f"tracks of the median over frames of {scoring.window:g} s. uSDR: mean over tracks of whole-track ratios.\n")
    print(score_table(metrics, sources))
    print(f"\nper track    {folder / 'tracks.csv'}\nper frame    {folder / 'test'} (museval's JSON)")
    for result in bad[:LISTED]:
        sys.stderr.write(f"not scored: {result.name}: {result.error}\n")
    if len(bad) > LISTED:
        sys.stderr.write(f"not scored: {len(bad) - LISTED} more tracks\n")
    return len(bad)


def _db(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _one_line(message, *args, **kwargs) -> None:
    sys.stderr.write(f"warning: {message}\n")


if __name__ == "__main__":
    main()
