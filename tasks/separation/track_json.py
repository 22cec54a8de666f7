"""Scores of a track on disk, in the schema of museval's JSON: its aggregation and the field's notebooks read them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from tasks.metrics.bss import Frames, as_written
from tasks.writers.whole import write_json

SCHEMA_OF = "0.4.1"  # the museval whose schema and definition this is
METRICS = ("SDR", "ISR", "SIR", "SAR")


@dataclass(frozen=True)
class TrackJson:
    """What a track's JSON holds."""

    sources: tuple[str, ...]
    frames: Frames
    usdr: NDArray[np.float64]  # (sources,), NaN where museval itself wrote the file
    settings: Mapping[str, Any]  # as it was scored; empty where museval wrote the file


def write_track_json(
    path: Path,
    sources: Sequence[str],
    frames: Frames,
    usdr: NDArray[np.float64],
    window: float = 1.0,
    hop: float = 1.0,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write scores as museval does: five decimals, NaN for infinite values, `time` and `duration` in s.

    uSDR and the settings stand under the key `quintet`, which museval's schema allows and its reader passes over.

    Args:
        path: file to write; museval's `EvalStore.add_eval_dir` finds FOLDER/test/TRACK.json
        sources: names of the targets
        frames: scores per window
        usdr: (sources,), kept in full
        window: s
        hop: s
        settings: plain values that tell how the track was scored
    """
    values = dict(zip(METRICS, (as_written(rows) for rows in frames), strict=True))
    targets = [
        {
            "name": source,
            "frames": [
                {"time": i * hop, "duration": window, "metrics": {name: float(rows[j, i]) for name, rows in values.items()}}
                for i in range(frames.sdr.shape[1])
            ],
        }
        for j, source in enumerate(sources)
    ]
    ours = {"settings": dict(settings or {}), "usdr": dict(zip(sources, (_or_null(x) for x in usdr), strict=True))}
    write_json(path, {"targets": targets, "museval_version": SCHEMA_OF, "quintet": ours})


def read_track_json(path: Path) -> TrackJson:
    """Read scores that this suite or museval has written.

    Raises:
        DataError: no such file, or not museval's schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        targets = content["targets"]
        sources = tuple(target["name"] for target in targets)
        rows = [[[frame["metrics"][name] for frame in target["frames"]] for target in targets] for name in METRICS]
        ours = content.get("quintet", {})
        usdr = [ours.get("usdr", {}).get(source) for source in sources]
        frames = Frames(*np.array(rows, dtype=np.float64).reshape(4, len(sources), -1))
        return TrackJson(sources, frames, np.array(usdr, dtype=np.float64), dict(ours.get("settings", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no scores in museval's schema ({type(error).__name__}: {error}): delete it and score the track again"
        ) from error


def _or_null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
