"""Confidences of alignments: predicted probability of an error below 50 ms against the share of events that have it.

Whole recordings and excerpts of the demo's test pieces and, with QUINTET_DATA, of Vienna 4x22 rendered clean and degraded and
two real recordings; then wrong scores. Features need no training, or are those of the run folder in QUINTET_RUN.
"""

import time
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from benchmarks.alignment_doubts import DOUBT, wrong
from benchmarks.alignment_engine import engine
from benchmarks.alignment_material import (
    RATE,
    REAL,
    Excerpt,
    data_folder,
    demo_recordings,
    excerpts,
    real,
    vienna,
    whole,
)
from benchmarks.alignment_truth import claimed_events
from datamodules.common.errors import DataError
from models.alignment.calibration import UNRELATED, WITHIN_S, Calibration, fitted
from tasks.alignment.aligned import notes_played
from tasks.alignment.inference import File2Alignment

PIANISTS = {False: range(1, 4), True: range(5, 8)}
"""Pianists of Vienna 4x22 by whether their recordings are degraded."""
EXCERPTS, SECONDS, SEED = 12, (8.0, 40.0), 16
EDGE_S = 1.0
BINS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
NOT_PLAYED = 0.02
"""Share of events of wrong scores among those that the default calibration is measured on."""


class Events(NamedTuple):
    """Probabilities and outcomes of events."""

    probability: np.ndarray  # (events,)
    correct: np.ndarray  # (events,) the error is below 50 ms
    edge: np.ndarray  # (events,) in the first or last second of the alignment


def run() -> None:
    """Print a row per kind of material, the reliability of all, confidences of wrong scores, and the default calibration."""
    align, start = engine(), time.process_time()
    calibration = align.warp.calibration
    print(f"probability = sigmoid({calibration.scale:.2f} log(raw confidence) + {calibration.offset:.2f})\n")
    print(f"{'':32} {'events':>7} {'correct':>8} {'mean p':>7} {'ECE':>6} {'AUROC':>6} {'p of edges':>11} {'correct':>8}")
    groups = {kind: _events(align, group) for kind, group in material().items()}
    for kind, events in groups.items():
        print(row(kind, events), flush=True)
    everything = Events(*(np.concatenate(column) for column in zip(*groups.values(), strict=True)))
    print(row("all", everything) + f"\n\n{'predicted':>14} {'events':>7} {'mean p':>7} {'correct':>8}")
    print("\n".join(reliability(everything)))
    probability, undoubted = _wrong(align)
    low, median, high = np.quantile(probability, (0.05, 0.5, 0.95))
    print(f"\nwrong scores: {len(probability)} events, p {low:.3f} / {median:.3f} / {high:.3f} (5 %, median, 95 %)")
    values = _measured(everything, undoubted, calibration)
    print(f"calibration on these events and {100 * NOT_PLAYED:.0f} % of wrong scores: {values.scale:.2f}, {values.offset:.2f}")
    print(f"edges: first and last {EDGE_S:.0f} s of an alignment; {time.process_time() - start:.0f} CPU s, rendering included")


def material() -> dict[str, list[Excerpt]]:
    """Recordings and excerpts by kind; the demo's alone without QUINTET_DATA."""
    groups, folder = [demo_recordings()], data_folder()
    if folder:
        groups += [vienna(folder / "alignment/vienna4x22", worse, chosen) for worse, chosen in PIANISTS.items()]
    result: dict[str, list[Excerpt]] = {}
    for group in groups:
        result[group[0].kind] = [whole(recording) for recording in group]
        result[f"{group[0].kind}, excerpts"] = list(excerpts(group, EXCERPTS, SECONDS, np.random.default_rng(SEED)))
    return result | ({REAL: [whole(recording) for recording in real(folder).values()]} if folder else {})


def _events(align: File2Alignment, group: list[Excerpt]) -> Events:
    parts = []
    for excerpt in group:
        try:
            aligned = align.align(excerpt.recording.name, excerpt.audio, RATE, excerpt.recording.ways)
        except DataError:
            continue  # nothing is claimed
        claimed = claimed_events(aligned, excerpt)
        edge = (claimed.time_s < claimed.time_s.min() + EDGE_S) | (claimed.time_s > claimed.time_s.max() - EDGE_S)
        parts.append((claimed.confidence, claimed.error < WITHIN_S, edge))
    return Events(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _wrong(align: File2Alignment) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the events of wrong scores, and those without the factor of doubted scores."""
    parts = []
    for pairing in wrong():
        try:
            aligned = align.align(pairing.name, pairing.excerpt.audio, RATE, pairing.ways)
        except DataError:
            continue
        played = notes_played(aligned)
        _, once = np.unique(aligned.score.notes.onset[played.index], return_index=True)
        doubted = any(DOUBT in remark for remark in aligned.remarks)
        parts.append((played.confidence[once], played.confidence[once] / (UNRELATED if doubted else 1.0)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _measured(events: Events, not_played: np.ndarray, calibration: Calibration) -> Calibration:
    """Calibration on events of right scores and a share of those of wrong ones."""
    count = round(NOT_PLAYED * len(events.correct))
    chosen = not_played[np.linspace(0, len(not_played) - 1, count).astype(int)]
    probability = np.concatenate([events.probability, chosen]).clip(1e-9, 1 - 1e-9)
    raw = np.exp((np.log(probability / (1 - probability)) - calibration.offset) / calibration.scale)
    return fitted(raw, np.concatenate([events.correct, np.zeros(count)]), ridge=1e-3)


def row(name: str, events: Events) -> str:
    """Row of the table."""
    p, correct, edge = events
    cells = f"{len(p):7} {correct.mean():8.3f} {p.mean():7.3f} {calibration_error(p, correct):6.3f} {auroc(p, correct):6.3f}"
    return f"{name:32} {cells} {p[edge].mean():11.3f} {correct[edge].mean():8.3f}"


def reliability(events: Events) -> list[str]:
    """Rows of predicted probability and share of correct events by bin."""
    rows = []
    for low, high in pairwise(BINS):
        inside = (low <= events.probability) & ((events.probability < high) | (high == 1.0))
        if inside.any():
            p, share = events.probability[inside].mean(), events.correct[inside].mean()
            rows.append(f"{low:6.2f} to {high:4.2f} {inside.sum():7} {p:7.3f} {share:8.3f}")
    return rows


def calibration_error(probability: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(index, probability - correct, bins)
    return float(np.abs(gaps).sum() / len(probability))


def auroc(probability: np.ndarray, correct: np.ndarray) -> float:
    """Probability that a correct event is more confident than a wrong one, ties half; NaN without both."""
    right, wrong_ones = np.sort(probability[correct]), probability[~correct]
    if not len(right) or not len(wrong_ones):
        return float("nan")
    below = np.searchsorted(right, wrong_ones, "left") + np.searchsorted(right, wrong_ones, "right")
    return float(1 - (below / 2).mean() / len(right))
