"""Plain sound event evaluation threshold by threshold, the peer of `benchmarks.sed`."""

import numpy as np
from scipy.ndimage import median_filter

from datamodules.sed.events import Events, EventTable, table
from tasks.metrics.events import collar, counts, psds
from tasks.metrics.events.decode import FrameScores


def decode(scores: FrameScores, threshold: float, length: int = 7) -> Events:
    """Events of one threshold: decide, filter the decisions, find the runs of each clip and class."""
    rows = []
    ends = np.cumsum(scores.lengths)
    for clip, values in enumerate(np.split(scores.values, ends[:-1])):
        decided = median_filter((values >= threshold).astype(np.float32), (length, 1))
        for kind, column in enumerate(decided.T):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], column, [0]])))
            for first, last in edges.reshape(-1, 2).tolist():
                end = min(last * scores.frame_s, float(scores.durations[clip]))
                rows.append((clip, kind, first * scores.frame_s, end))
    return table(*zip(*rows, strict=True)) if rows else table()


def score(scores: FrameScores, corpus: EventTable, thresholds: np.ndarray) -> list[float]:
    """Event and segment F1 at each threshold, and both PSDS of those operating points."""
    points = [decode(scores, threshold) for threshold in thresholds]
    classes = len(corpus.classes)
    f1 = [metric.score(corpus.events, events, classes).counts.macro_f1 for events in points for metric in (collar, counts)]
    return [*f1, *(psds.from_operating_points(points, corpus, scenario).value for scenario in (psds.PSDS1, psds.PSDS2))]


def by_sed_eval(scores: FrameScores, corpus: EventTable, thresholds: np.ndarray) -> list[float]:
    """Event and segment F1 at each threshold by sed_eval, clip by clip as it is used."""
    from sed_eval.sound_event import EventBasedMetrics, SegmentBasedMetrics

    results, reference = [], _by_clip(corpus.events, corpus)
    for threshold in thresholds:
        predicted = _by_clip(decode(scores, threshold), corpus)
        empty = {"empty_system_output_handling": "zero_score"}
        events = EventBasedMetrics(list(corpus.classes), t_collar=0.2, percentage_of_length=0.2, **empty)
        for metric in (events, SegmentBasedMetrics(list(corpus.classes), time_resolution=1.0)):
            for lists in zip(reference, predicted, strict=True):
                metric.evaluate(*lists)
            results.append(metric.results_class_wise_average_metrics()["f_measure"]["f_measure"])
    return results


def _by_clip(events: Events, corpus: EventTable) -> list[list[dict]]:
    rows: list[list[dict]] = [[] for _ in corpus.names]
    for clip, kind, onset, offset in zip(*(column.tolist() for column in events), strict=True):
        row = {"event_label": corpus.classes[kind], "onset": onset, "offset": offset, "filename": corpus.names[clip]}
        rows[clip].append(row)
    return rows
