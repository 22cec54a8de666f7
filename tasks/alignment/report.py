"""What `test` and `validate` leave of an aligner: metrics.json, tables of events and recordings, baselines, pictures."""

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

# What a network has to beat: features that nobody trained, with exact DTW, and MATCH's own on-line time warping.

SILENT = 1e-3  # of the length of loud frames
SETTINGS = {"diagonal": 2.0}  # of on-line time warping: with 1 it runs ahead in noise


def causal(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """On-line time warping as it goes: a frame of the score is where the way first reaches it."""
    positions = follow(_evened(performance), _evened(score), **SETTINGS)
    return TimeMap.from_crossings(first_crossings(positions, len(score)), 1.0)


def there_and_back(performance: np.ndarray, score: np.ndarray) -> TimeMap:
    """On-line time warping, then back along the cheapest of what was computed."""
    return TimeMap.from_path(oltw(_evened(performance), _evened(score), **SETTINGS), 1.0)


def _evened(frames: np.ndarray) -> np.ndarray:
    """Frames (n, d) of length 1, all but silence: rises as they are lose performances that are louder or noisier."""
    length = np.linalg.norm(frames, axis=1, keepdims=True)
    return frames / np.maximum(length, SILENT * np.quantile(length, 0.95) + 1e-9)


SYSTEMS: dict[str, tuple[Callable[[], Similarity], Follower | None]] = {
    "DTW_chroma": (lambda: Handcrafted(Chroma(), "euclidean"), None),
    "MATCH's feature, exact DTW": (lambda: Handcrafted(SpectralRise(hop=512), "euclidean"), None),
    "MATCH on line, causal": (lambda: Handcrafted(SpectralRise(hop=512)), causal),
    "MATCH on line, and back": (lambda: Handcrafted(SpectralRise(hop=512)), there_and_back),
    "log-CQT": (lambda: Handcrafted(CQT(), "cosine"), None),
    "log-CQT + flux": (lambda: Handcrafted(LogCQTFlux(), "cosine"), None),
}


def score_baselines(data: AlignmentDataModule, split: str) -> dict[str, AlignmentRows]:
    """Errors of every system on a split."""
    return {name: evaluate(make(), data, split, how) for name, (make, how) in SYSTEMS.items()}


# The tables that a scored split leaves, on disk and on screen.

OURS = {"distance": "this network, distance matrix", "binary": "this network, binary matrix"}


def describe_split(trainer: Trainer, split: str) -> dict[str, str]:
    """What the numbers were measured on and by."""
    data, aligner = trainer.datamodule, trainer.lightning_module
    steps = " ".join(f"({a},{b})x{w:g}" for (a, b), w in zip(aligner.steps.moves, aligner.steps.weights, strict=True))
    policy = f"share of events within a tolerance, DTW steps {steps}, {aligner.reduce} of frames"
    return {"name": data.name, "subset": data.subset, "split": split, "policy": policy}


def write(
    events: Path, recordings: Path, systems: Mapping[str, AlignmentRows], pairs: Sequence[Pair], describe_split: Mapping
) -> None:
    """Every event with its error by every system, and a line for each recording and system."""
    everywhere = {"data" if key == "name" else key: value for key, value in describe_split.items()}
    first = next(iter(systems.values()))
    columns = {name: np.round(1000 * found.error, 3) for name, found in systems.items()}
    write_csv(
        events,
        (
            {"recording": pairs[one].name, "score_s": round(float(score), 4)}
            | {f"error_ms {name}": float(errors[place]) for name, errors in columns.items()}
            for place, (one, score) in enumerate(zip(first.recording.tolist(), first.score_s, strict=True))
        ),
    )
    rows = [
        {"system": name, **per_recording(found, one, pairs)}
        for name, found in systems.items()
        for one in found.recordings.tolist()
    ]
    write_csv(recordings, rows, everywhere)


def per_recording(found: AlignmentRows, one: int, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Scores of one recording."""
    error, place = found.of(one), int(np.searchsorted(found.recordings, one))
    far = np.abs(error)
    return {
        "piece": pairs[one].piece,
        "recording": pairs[one].name,
        "events": len(error),
        **{f"within_{ms}": float((far < ms / 1000).mean()) for ms in TOLERANCES_MS},
        "mean_ms": float(1000 * far.mean()),
        "median_ms": float(1000 * np.median(far)),
        "p95_ms": float(1000 * np.quantile(far, 0.95)),
        "bias_ms": float(1000 * error.mean()),
        "time_err_ms": float(1000 * found.time_err[place]),
        "time_dev_ms": float(1000 * found.time_dev[place]),
        "lost": int(lost(error)),
    }


def metrics_of(found: Mapping[str, AlignmentRows]) -> dict[str, float]:
    """Scores of the network by each matrix, such as `distance_within_50`, and how much was scored."""
    sums = {mode: summary(rows) for mode, rows in found.items()}
    counts = {key: value for key, value in next(iter(sums.values())).items() if key.startswith("n_")}
    return {f"{mode}_{key}": v for mode, one in sums.items() for key, v in one.items() if key not in counts} | counts


def intervals_of(rows: Mapping[str, Mapping], found: Mapping[str, AlignmentRows]) -> dict[str, list[float]]:
    """Intervals of the network's own scores, named as the scores are."""
    return {
        f"{mode}_{key.removesuffix('_interval')}": value
        for mode in found
        for key, value in rows[OURS[mode]].items()
        if key.endswith("_interval")
    }


def table_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines to print: shares in % with 95 % intervals, errors in ms."""
    width = max(map(len, rows))
    names = "".join(f"  {f'{ms} ms':>18}" for ms in TOLERANCES_MS)
    shown = [f"{'% of events within':{width}}{names}   median    bias  lost"]
    for name, row in rows.items():
        cells = "".join(f"  {_share(row, f'within_{ms}'):>18}" for ms in TOLERANCES_MS)
        shown.append(f"{name:{width}}{cells}  {row['median_ms']:4.0f} ms {row['bias_ms']:+4.0f} ms  {100 * row['lost']:3.0f}%")
    return shown


def _share(row: Mapping[str, Any], name: str) -> str:
    edges = row.get(f"{name}_interval")
    return f"{100 * row[name]:.1f}" + (f" [{100 * edges[0]:.1f}-{100 * edges[1]:.1f}]" if edges else "")


class AlignmentReport(Report):
    """Write and print the scores of a split, of the distance and the binary matrix as far as the network gives them.

    Args:
        baselines: `test` also scores DTW on features that nobody trained
        resamples: of the bootstrap that the intervals come from
        pictures: test recordings of which the path is drawn
        examples: validation recordings that W&B or TensorBoard gets after each validation (audio, similarity, errors)
    """

    def __init__(self, baselines: bool = True, resamples: int = 1000, pictures: int = 3, examples: int = 2) -> None:
        if min(resamples - 1, pictures, examples) < 0:
            raise ValueError(
                f"--report.resamples must be positive, pictures and examples not negative: {resamples}, {pictures}, {examples}"
            )
        self.baselines, self.resamples, self.pictures, self.examples = baselines, resamples, pictures, examples

    def report(self, trainer: Trainer, aligner: LightningModule, split: str) -> None:
        """The tables, the scores, the pictures, and on screen what they say."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data = trainer.datamodule
        pairs = data.evaluated(split)
        systems: dict[str, AlignmentRows] = {OURS[mode]: rows for mode, rows in aligner.found.items()}
        others = score_baselines(data, split) if self.baselines and split == "test" else {}
        systems |= others
        pieces = [pair.piece for pair in pairs]
        about = describe_split(trainer, split)
        rows = {name: self._row(found, pieces) for name, found in systems.items()}
        metrics = metrics_of(aligner.found)
        more: dict[str, Any] = {
            "baselines": [{"name": name, **rows[name]} for name in others],
            "intervals": intervals_of(rows, aligner.found),
            "threshold": float(aligner.threshold),
            "validation": aligner.validated,
        }
        written = results.write_metrics(trainer, aligner, about, metrics, **more)
        events, recordings = (results.place(trainer, name, split) for name in ("events.csv", "per_recording.csv"))
        write(events, recordings, systems, pairs, about)
        figures = results.place(trainer, "figures/errors.png", split)
        count = draw(figures, trainer, aligner, systems, split, self.pictures)
        counted = f"{int(metrics['n_recordings'])} recordings, {int(metrics['n_events'])} events"
        lines = ["", results.heading(about, counted), *table_lines(rows), "", f"events        {events}"]
        lines += [f"recordings    {recordings}", f"pictures      {figures.parent} ({count})", f"scores        {written}"]
        print("\n".join(lines), flush=True)

    def _row(self, found: AlignmentRows, pieces: list[str]) -> dict[str, Any]:
        edges = intervals(found, pieces, self.resamples)
        return summary(found) | {f"{name}_interval": list(edge) for name, edge in edges.items() if np.isfinite(edge).all()}

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sound, distances with the true path, and errors of validation recordings."""
        log_examples(trainer, pl_module, self.examples)
