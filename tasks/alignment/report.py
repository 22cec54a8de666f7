"""Report of alignment: errors of a split -> metrics.json, tables of events and recordings, baselines, figures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from datamodules.alignment.data import AlignmentDataModule
from datamodules.alignment.listing import Pair
from models.alignment import Handcrafted
from models.alignment.front import CQT, Chroma, LogCQTFlux, SpectralRise
from models.alignment.oltw import first_crossings, follow, oltw
from models.alignment.similarity import Similarity
from models.alignment.time_map import TimeMap
from tasks.alignment.evaluate import Follower, evaluate
from tasks.alignment.metrics import TOLERANCES_MS, AlignmentRows, intervals, lost, summary
from tasks.alignment.pictures import draw, log_examples
from tasks.reporting import results
from tasks.reporting.results import Report
from tasks.reporting.tables import write_csv

# Baselines

SILENT = 1e-3  # relative to the length of loud frames
SETTINGS = {"diagonal": 2.0}  # of online time warping: with 1 it runs ahead in noise


def causal(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """Online time warping without backtracking: a score frame is placed where the path first reaches it."""
    positions = follow(_normalized(performance), _normalized(score), **SETTINGS)
    return TimeMap.from_crossings(first_crossings(positions, len(score)), 1.0)


def backtracked(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """Online time warping with backtracking through the computed cells."""
    return TimeMap.from_path(oltw(_normalized(performance), _normalized(score), **SETTINGS), 1.0)


def _normalized(frames: np.ndarray) -> np.ndarray:
    """Frames (n, d) of length 1 except silence; without it MATCH loses louder or noisier performances."""
    length = np.linalg.norm(frames, axis=1, keepdims=True)
    return frames / np.maximum(length, SILENT * np.quantile(length, 0.95) + 1e-9)


SYSTEMS: dict[str, tuple[Callable[[], Similarity], Follower | None]] = {
    "DTW_chroma": (lambda: Handcrafted(Chroma(), "euclidean"), None),
    "MATCH's feature, exact DTW": (lambda: Handcrafted(SpectralRise(hop=512), "euclidean"), None),
    "MATCH online, causal": (lambda: Handcrafted(SpectralRise(hop=512)), causal),
    "MATCH online, and back": (lambda: Handcrafted(SpectralRise(hop=512)), backtracked),
    "log-CQT": (lambda: Handcrafted(CQT(), "cosine"), None),
    "log-CQT + flux": (lambda: Handcrafted(LogCQTFlux(), "cosine"), None),
}


def score_baselines(data: AlignmentDataModule, split: str) -> dict[str, AlignmentRows]:
    """Errors of every baseline on a split."""
    return {name: evaluate(build(), data, split, follower) for name, (build, follower) in SYSTEMS.items()}


# Tables

OURS = {"distance": "this network, distance matrix", "binary": "this network, binary matrix"}


def describe_split(trainer: Trainer, split: str) -> dict[str, str]:
    """Evaluation data and method."""
    data, aligner = trainer.datamodule, trainer.lightning_module
    steps = " ".join(f"({a},{b})x{w:g}" for (a, b), w in zip(aligner.steps.moves, aligner.steps.weights, strict=True))
    policy = f"share of events within a tolerance, DTW steps {steps}, {aligner.reduce} of frames"
    return {"name": data.name, "subset": data.subset, "split": split, "policy": policy}


def write(
    events: Path, recordings: Path, systems: Mapping[str, AlignmentRows], pairs: Sequence[Pair], describe_split: Mapping
) -> None:
    """Write the errors of every event by system, and the scores of every recording and system."""
    everywhere = {"data" if key == "name" else key: value for key, value in describe_split.items()}
    first = next(iter(systems.values()))
    columns = {name: np.round(1000 * rows.error, 3) for name, rows in systems.items()}
    write_csv(
        events,
        (
            {"recording": pairs[recording].name, "score_s": round(float(score), 4)}
            | {f"error_ms {name}": float(errors[i]) for name, errors in columns.items()}
            for i, (recording, score) in enumerate(zip(first.recording.tolist(), first.score_s, strict=True))
        ),
    )
    lines = [
        {"system": name, **per_recording(rows, recording, pairs)}
        for name, rows in systems.items()
        for recording in rows.recordings.tolist()
    ]
    write_csv(recordings, lines, everywhere)


def per_recording(rows: AlignmentRows, recording: int, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Scores of one recording."""
    error, index = rows.errors_of(recording), int(np.searchsorted(rows.recordings, recording))
    distance = np.abs(error)
    return {
        "piece": pairs[recording].piece,
        "recording": pairs[recording].name,
        "events": len(error),
        **{f"within_{ms}": float((distance < ms / 1000).mean()) for ms in TOLERANCES_MS},
        "mean_ms": float(1000 * distance.mean()),
        "median_ms": float(1000 * np.median(distance)),
        "p95_ms": float(1000 * np.quantile(distance, 0.95)),
        "bias_ms": float(1000 * error.mean()),
        "time_err_ms": float(1000 * rows.time_err[index]),
        "time_dev_ms": float(1000 * rows.time_dev[index]),
        "lost": int(lost(error)),
    }


def metrics_of(by_mode: Mapping[str, AlignmentRows]) -> dict[str, float]:
    """Scores of the network with each matrix, such as `distance_within_50`, and counts."""
    summaries = {mode: summary(rows) for mode, rows in by_mode.items()}
    counts = {key: value for key, value in next(iter(summaries.values())).items() if key.startswith("n_")}
    return {f"{mode}_{key}": v for mode, scores in summaries.items() for key, v in scores.items() if key not in counts} | counts


def intervals_of(rows: Mapping[str, Mapping], by_mode: Mapping[str, AlignmentRows]) -> dict[str, list[float]]:
    """Intervals of the network's scores, by the names of the scores."""
    return {
        f"{mode}_{key.removesuffix('_interval')}": value
        for mode in by_mode
        for key, value in rows[OURS[mode]].items()
        if key.endswith("_interval")
    }


def table_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines to print: shares in % with 95 % intervals, errors in ms."""
    width = max(map(len, rows))
    names = "".join(f"  {f'{ms} ms':>18}" for ms in TOLERANCES_MS)
    lines = [f"{'% of events within':{width}}{names}   median    bias  lost"]
    for name, row in rows.items():
        cells = "".join(f"  {_share(row, f'within_{ms}'):>18}" for ms in TOLERANCES_MS)
        lines.append(f"{name:{width}}{cells}  {row['median_ms']:4.0f} ms {row['bias_ms']:+4.0f} ms  {100 * row['lost']:3.0f}%")
    return lines


def _share(row: Mapping[str, Any], name: str) -> str:
    edges = row.get(f"{name}_interval")
    return f"{100 * row[name]:.1f}" + (f" [{100 * edges[0]:.1f}-{100 * edges[1]:.1f}]" if edges else "")


class AlignmentReport(Report):
    """Write and print the scores of a split with the distance and the binary matrix.

    Args:
        baselines: evaluate baselines without training in `test`
        resamples: number of bootstrap resamples of the intervals
        pictures: number of recordings whose path is drawn
        examples: number of validation recordings logged to W&B or TensorBoard (audio, similarity, errors)
    """

    def __init__(self, baselines: bool = True, resamples: int = 1000, pictures: int = 3, examples: int = 2) -> None:
        if min(resamples - 1, pictures, examples) < 0:
            raise ValueError(
                f"--report.resamples must be positive, pictures and examples not negative: {resamples}, {pictures}, {examples}"
            )
        self.baselines, self.resamples, self.pictures, self.examples = baselines, resamples, pictures, examples

    def report(self, trainer: Trainer, aligner: LightningModule, split: str) -> None:
        """Write tables, scores and figures, and print a summary."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data = trainer.datamodule
        pairs = data.evaluated(split)
        systems: dict[str, AlignmentRows] = {OURS[mode]: rows for mode, rows in aligner.rows.items()}
        others = score_baselines(data, split) if self.baselines and split == "test" else {}
        systems |= others
        pieces = [pair.piece for pair in pairs]
        about = describe_split(trainer, split)
        rows = {name: self._row(errors, pieces) for name, errors in systems.items()}
        metrics = metrics_of(aligner.rows)
        more: dict[str, Any] = {
            "baselines": [{"name": name, **rows[name]} for name in others],
            "intervals": intervals_of(rows, aligner.rows),
            "threshold": float(aligner.threshold),
            "validation": aligner.validated,
        }
        written = results.write_metrics(trainer, aligner, about, metrics, **more)
        events, recordings = (results.result_path(trainer, name, split) for name in ("events.csv", "per_recording.csv"))
        write(events, recordings, systems, pairs, about)
        figures = results.result_path(trainer, "figures/errors.png", split)
        count = draw(figures, trainer, aligner, systems, split, self.pictures)
        counted = f"{int(metrics['n_recordings'])} recordings, {int(metrics['n_events'])} events"
        lines = ["", results.heading(about, counted), *table_lines(rows), "", f"events        {events}"]
        lines += [f"recordings    {recordings}", f"pictures      {figures.parent} ({count})", f"scores        {written}"]
        print("\n".join(lines), flush=True)

    def _row(self, rows: AlignmentRows, pieces: list[str]) -> dict[str, Any]:
        edges = intervals(rows, pieces, self.resamples)
        return summary(rows) | {f"{name}_interval": list(edge) for name, edge in edges.items() if np.isfinite(edge).all()}

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log audio, distances with the true path, and errors of validation recordings."""
        log_examples(trainer, pl_module, self.examples)
