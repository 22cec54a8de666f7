"""The tables that a scored split leaves, on disk and on screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Trainer

from datamodules.alignment.pairs import Pair
from tasks.metrics.alignment import TOLERANCES_MS, AlignmentRows, lost, summary
from tasks.tables import write_csv

OURS = {"distance": "this network, distance matrix", "binary": "this network, binary matrix"}


def about(trainer: Trainer, split: str) -> dict[str, str]:
    """What the numbers were measured on and by."""
    data, aligner = trainer.datamodule, trainer.lightning_module
    steps = " ".join(f"({a},{b})x{w:g}" for (a, b), w in zip(aligner.steps.moves, aligner.steps.weights, strict=True))
    policy = f"share of events within a tolerance, DTW steps {steps}, {aligner.reduce} of frames"
    return {"name": data.name, "subset": data.subset, "split": split, "policy": policy}


def write(events: Path, recordings: Path, systems: Mapping[str, AlignmentRows], pairs: Sequence[Pair], about: Mapping) -> None:
    """Every event with its error by every system, and a line for each recording and system."""
    everywhere = {"data" if key == "name" else key: value for key, value in about.items()}
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


def lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
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
