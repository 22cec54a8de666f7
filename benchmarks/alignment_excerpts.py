"""Excerpts aligned with whole scores: located share, errors of the events inside; then whole recordings.

Vienna 4x22 rendered clean and degraded and two real recordings (with QUINTET_DATA), and the demo's test pieces, whose scores
are in strict tempo. `benchmarks.alignment_truth` defines "located". Features need no training, or are those of the run folder
in QUINTET_RUN.
"""

import time
from collections.abc import Iterable

import numpy as np

from benchmarks.alignment_engine import engine
from benchmarks.alignment_material import (
    RATE,
    REAL,
    Excerpt,
    Recording,
    data_folder,
    demo_recordings,
    excerpts,
    real,
    vienna,
    whole,
)
from benchmarks.alignment_truth import Verdict, judge
from datamodules.common.errors import DataError
from tasks.alignment.inference import File2Alignment
from tasks.alignment.metrics import TOLERANCES_MS
from tasks.metrics.bootstrap import draws, ratio

COUNT, SECONDS, SEED = 60, (10.0, 60.0), 16
PIANISTS = {False: range(1, 5), True: range(5, 9)}
"""Pianists of Vienna 4x22 by whether their recordings are degraded; the others would only take longer."""
REAL_SECONDS = {"mozart_k265_var1": (8.0, 16.0), "Bach-fugue_bwv_858": (30.0, 60.0)}
"""Begin and end of the excerpt from each real recording."""


def run() -> None:
    """Print one row per kind of material for excerpts and for whole recordings, and the excerpts that are not located."""
    align, groups, start = engine(), material(), time.process_time()
    cut = {kind: list(excerpts(group, COUNT // len(groups), SECONDS, _random(kind))) for kind, group in groups.items()}
    pieces = {kind: [whole(recording) for recording in group] for kind, group in groups.items()}
    if folder := data_folder():
        recordings = real(folder)
        cut[REAL] = [Excerpt(recordings[name], *span) for name, span in REAL_SECONDS.items()]
        pieces[REAL] = [whole(recording) for recording in recordings.values()]
    lost = _table(f"{COUNT} excerpts of {SECONDS[0]:.0f} to {SECONDS[1]:.0f} s", align, cut)
    print("\nexcerpts not located\n" + ("\n".join(lost) or "none"))
    lost = _table("\nwhole recordings", align, pieces)
    print("\nwhole recordings not located\n" + ("\n".join(lost) or "none"))
    print(f"\n{time.process_time() - start:.0f} CPU s, rendering included")


def material() -> dict[str, list[Recording]]:
    """Recordings by kind; the demo's alone without QUINTET_DATA."""
    groups = [demo_recordings()]
    if folder := data_folder():
        groups = [*(vienna(folder / "alignment/vienna4x22", worse, chosen) for worse, chosen in PIANISTS.items()), *groups]
    return {group[0].kind: group for group in groups}


def aligned_to(align: File2Alignment, excerpt: Excerpt) -> Verdict:
    """Verdict on the alignment of an excerpt; a refusal claims nothing."""
    try:
        aligned = align.align(excerpt.recording.name, excerpt.audio, RATE, excerpt.recording.ways)
    except DataError as error:
        return Verdict(np.full(len(excerpt.truth), np.inf), ["refused"], "", str(error))
    return judge(aligned, excerpt)


def _random(kind: str) -> np.random.Generator:
    return np.random.default_rng([SEED, *kind.encode()])


def _table(title: str, align: File2Alignment, groups: dict[str, list[Excerpt]]) -> list[str]:
    """Print the rows of a table; returns a line for each recording that is not located."""
    print(f"{title}\n{'':24} {'n':>4} {'located':>12} {'median ms':>20}" + "".join(f"{f'<{ms} ms':>20}" for ms in TOLERANCES_MS))
    lost, everything = [], []
    for kind, group in groups.items():
        verdicts = [aligned_to(align, excerpt) for excerpt in group]
        print(row(kind, verdicts), flush=True)
        everything += verdicts if kind != REAL else []
        lost += [_line(excerpt, verdict) for excerpt, verdict in zip(group, verdicts, strict=True) if not verdict.located]
    print(row("all but the real ones", everything), flush=True)
    return lost


def row(name: str, verdicts: list[Verdict]) -> str:
    """Row of a table: located, median and share of events within each tolerance, with 95 % intervals over recordings."""
    errors = [verdict.error for verdict in verdicts]
    located = sum(verdict.located for verdict in verdicts)
    cells = [f"{len(verdicts):4} {f'{located} ({100 * located / len(verdicts):.0f} %)':>12} {_median(errors):>20}"]
    for ms in TOLERANCES_MS:
        share = ratio([(error < ms / 1000).sum() for error in errors], [len(error) for error in errors])
        cells.append(f"{100 * share.value:6.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]".rjust(20))
    return f"{name:24} " + "".join(cells)


def _median(errors: list[np.ndarray]) -> str:
    """Median absolute error (ms) with its 95 % interval over recordings; inf: most events are not claimed as played."""

    def of(chosen: Iterable[int]) -> float:
        return 1000 * float(np.median(np.concatenate([errors[index] for index in chosen])))

    low, high = np.quantile([of(drawn) for drawn in draws(len(errors))], (0.025, 0.975), method="nearest")
    return f"{of(range(len(errors))):.0f} [{low:.0f}, {high:.0f}]"


def _line(excerpt: Excerpt, verdict: Verdict) -> str:
    part = f"{excerpt.recording.kind}, {excerpt.recording.name}, {excerpt.begin:.1f}-{excerpt.end:.1f} s"
    return f"  {part}: true {verdict.true}; claimed {verdict.claimed} ({'; '.join(verdict.faults)})"
