"""Sound event metrics on 1168 clips: time of each, and all thresholds at once vs. one by one."""

import time

import numpy as np

from benchmarks import naive_sed
from benchmarks.paired import HEADER, paired
from datamodules.sed.events import EventTable
from tasks.metrics.events import collar, counts, psds, sweep
from tasks.metrics.events.decode import FrameScores, decode, median_filter
from tests.helpers.sed_cases import drawn

CLIPS, FRAMES, CLASSES, POINTS = 1168, 151, 10, 50


def run() -> None:
    """Print CPU times, ratios, and the error of scores from 50 thresholds."""
    scores, corpus = drawn(CLIPS, FRAMES, CLASSES)
    print(f"{CLIPS} clips, {FRAMES} frames, {CLASSES} classes, {len(corpus.events.clip)} events, CPU time")
    filtered = median_filter(scores, 7)
    events = decode(filtered, 0.5)
    seconds = {
        "median filter of 7 frames": lambda: median_filter(scores, 7),
        "decoding one threshold": lambda: decode(filtered, 0.5),
        "event and segment scores of one table": lambda: _both(corpus, events, metrics=(collar, counts)),
        "PSDS 1, every distinct score": lambda: psds.from_scores(filtered, corpus, psds.PSDS1),
        "PSDS 2, every distinct score": lambda: psds.from_scores(filtered, corpus, psds.PSDS2),
        "event F1 at every distinct score": lambda: sweep.event_based(filtered, corpus.events),
    }
    for name, work in seconds.items():
        print(f"{name:44} {_cpu(work):9.3f} s")
    thresholds = (np.arange(POINTS) + 0.5) / POINTS
    print(f"\nthresholds decoded and scored one by one, against ours\n{HEADER}")
    few = thresholds[[20, 30]]
    packages = paired(lambda: naive_sed.by_sed_eval(scores, corpus, few), lambda: _grid(scores, corpus, few, False), 2)
    print(packages.row("event and segment F1, 2 thresholds, sed_eval"))
    singly = paired(lambda: naive_sed.score(scores, corpus, thresholds), lambda: _grid(scores, corpus, thresholds), 2)
    print(singly.row(f"F1 and PSDS, {POINTS} thresholds, both our counts"))
    exact = paired(lambda: naive_sed.score(scores, corpus, thresholds), lambda: _every(scores, corpus), 2)
    count = len(np.unique(filtered.values))
    scale = count / POINTS
    scaled = exact._replace(peer_s=exact.peer_s * scale, ratios=tuple(ratio * scale for ratio in exact.ratios))
    print(scaled.row(f"all {count}, extrapolated from {POINTS}"))
    naive, ours = naive_sed.by_sed_eval(scores, corpus, few), _grid(scores, corpus, few, False)
    print(f"largest difference from sed_eval: {np.abs(np.subtract(naive, ours)).max():.1e}")
    coarse = naive_sed.score(scores, corpus, thresholds)[-2]
    print(f"PSDS 1, {POINTS} thresholds: {coarse:.4f}\nPSDS 1, all: {psds.from_scores(filtered, corpus, psds.PSDS1)}")


def _both(corpus: EventTable, events, metrics) -> list[float]:
    return [metric.score(corpus.events, events, CLASSES).counts.macro_f1 for metric in metrics]


def _grid(scores: FrameScores, corpus: EventTable, thresholds: np.ndarray, areas: bool = True) -> list[float]:
    filtered = median_filter(scores, 7)
    points = [decode(filtered, threshold) for threshold in thresholds]
    f1 = [score for events in points for score in _both(corpus, events, (collar, counts))]
    scenarios = (psds.PSDS1, psds.PSDS2) if areas else ()
    return [*f1, *(psds.from_operating_points(points, corpus, scenario).value for scenario in scenarios)]


def _every(scores: FrameScores, corpus: EventTable) -> None:
    filtered = median_filter(scores, 7)
    for swept in (sweep.event_based, sweep.segment_based):
        [counted.f1.argmax() for counted in swept(filtered, corpus.events)]
    for scenario in (psds.PSDS1, psds.PSDS2):
        psds.from_scores(filtered, corpus, scenario)


def _cpu(work) -> float:
    work()
    start = time.process_time()
    work()
    return time.process_time() - start
