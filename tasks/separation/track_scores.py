"""Scores of a track as JSON in museval's schema, and the official museval on arrays."""

import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError
from tasks.metrics.bss import WindowScores, as_written
from tasks.writers.output_files import write_json

SCHEMA_VERSION = "0.4.1"  # of museval
METRICS = ("SDR", "ISR", "SIR", "SAR")


@dataclass(frozen=True)
class TrackJson:
    """Content of the JSON of a track."""

    sources: tuple[str, ...]
    frames: WindowScores
    usdr: NDArray[np.float64]  # (sources,) dB; NaN if museval wrote the file
    settings: Mapping[str, Any]  # of the evaluation; empty if museval wrote the file


def write_track_json(
    path: Path,
    sources: Sequence[str],
    frames: WindowScores,
    usdr: NDArray[np.float64],
    window: float = 1.0,
    hop: float = 1.0,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write scores as museval does: five decimals, NaN for infinite values, `time` and `duration` in s.

    uSDR and the settings are stored under the key `quintet`, which museval's reader ignores.

    Args:
        path: file to write; museval's `EvalStore.add_eval_dir` finds FOLDER/test/TRACK.json
        sources: names of the targets
        frames: scores per window
        usdr: (sources,) dB, in full precision
        window: length of a window, s
        hop: time between windows, s
        settings: evaluation settings as plain values
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
    extra = {"settings": dict(settings or {}), "usdr": dict(zip(sources, (_or_null(x) for x in usdr), strict=True))}
    write_json(path, {"targets": targets, "museval_version": SCHEMA_VERSION, "quintet": extra})


def read_track_json(path: Path) -> TrackJson:
    """Read scores written by this suite or museval.

    Raises:
        DataError: file not found, or not in museval's schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        targets = content["targets"]
        sources = tuple(target["name"] for target in targets)
        rows = [[[frame["metrics"][name] for frame in target["frames"]] for target in targets] for name in METRICS]
        extra = content.get("quintet", {})
        usdr = [extra.get("usdr", {}).get(source) for source in sources]
        frames = WindowScores(*np.array(rows, dtype=np.float64).reshape(4, len(sources), -1))
        return TrackJson(sources, frames, np.array(usdr, dtype=np.float64), dict(extra.get("settings", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not in museval's schema ({type(error).__name__}: {error}): delete it and score the track again"
        ) from error


def _or_null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


PROGRAMS = ("ffmpeg", "ffprobe")
_LOCK = threading.Lock()


def import_museval() -> ModuleType:
    """Import museval, also without ffmpeg.

    museval's import fails unless ffmpeg and ffprobe, which it needs only to read MP4, are on PATH. If they are missing,
    PATH holds placeholders of these names during the import.

    Raises:
        DataError: museval is not installed or cannot be imported.
    """
    try:
        with _LOCK, _programs_on_path():
            return import_module("museval")
    except (ImportError, RuntimeError) as error:
        raise DataError(f"museval cannot be imported ({error}): pip install museval, or use --evaluator quintet") from error


def evaluate_with_museval(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], sample_rate: int, window: float = 1.0, hop: float = 1.0
) -> WindowScores:
    """Scores of (sources, samples, channels) arrays by `museval.evaluate` (BSSEval v4, all four metrics, slow).

    Raises:
        ValueError: raised by museval, for instance for a source that is silent over the whole track.
        DataError: museval cannot be imported.
    """
    museval = import_museval()
    size, step = (reference.shape[1] if np.isinf(length) else int(length * sample_rate) for length in (window, hop))
    scores = museval.evaluate(reference.astype(np.float64), estimate.astype(np.float64), win=size, hop=step, mode="v4")
    return WindowScores(*scores)


@contextmanager
def _programs_on_path() -> Iterator[None]:
    """Context in which both programs are on PATH, as placeholders if they are missing."""
    if all(map(shutil.which, PROGRAMS)):
        yield
        return
    before = os.environ.get("PATH")
    with tempfile.TemporaryDirectory(prefix="quintet-") as folder:
        for name in PROGRAMS:
            _placeholder(Path(folder), name)
        os.environ["PATH"] = os.pathsep.join([folder, *([before] if before else [])])
        try:
            yield
        finally:
            if before is None:
                del os.environ["PATH"]
            else:
                os.environ["PATH"] = before


def _placeholder(folder: Path, name: str) -> None:
    if os.name == "nt":
        (folder / f"{name}.exe").touch()
    else:  # a link, since temporary folders may be mounted noexec
        (folder / name).symlink_to(sys.executable)
