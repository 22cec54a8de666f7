"""Scores of a track on disk, in the schema of museval's JSON: its aggregation and the field's notebooks read them."""

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

SCHEMA_OF = "0.4.1"  # the museval whose schema and definition this is
METRICS = ("SDR", "ISR", "SIR", "SAR")


@dataclass(frozen=True)
class TrackJson:
    """What a track's JSON holds."""

    sources: tuple[str, ...]
    frames: WindowScores
    usdr: NDArray[np.float64]  # (sources,), NaN where museval itself wrote the file
    settings: Mapping[str, Any]  # as it was scored; empty where museval wrote the file


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
        frames = WindowScores(*np.array(rows, dtype=np.float64).reshape(4, len(sources), -1))
        return TrackJson(sources, frames, np.array(usdr, dtype=np.float64), dict(ours.get("settings", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no scores in museval's schema ({type(error).__name__}: {error}): delete it and score the track again"
        ) from error


def _or_null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# The official museval on arrays, also on a machine without ffmpeg.

PROGRAMS = ("ffmpeg", "ffprobe")
_LOCK = threading.Lock()


def import_museval() -> ModuleType:
    """The museval package.

    Its import fails unless ffmpeg and ffprobe are on PATH, which it needs for reading MP4 alone: never here, where scores
    are of arrays. Where they are not there, links of these names are on PATH while the import runs. Nothing is left on
    PATH or disk.

    Raises:
        DataError: museval is not installed, or does not import for another reason.
    """
    try:
        with _LOCK, _programs_found():
            return import_module("museval")
    except (ImportError, RuntimeError) as error:
        raise DataError(f"museval cannot be imported ({error}): pip install museval, or use --evaluator quintet") from error


def evaluate_with_museval(
    reference: NDArray[np.floating], estimate: NDArray[np.floating], rate: int, window: float = 1.0, hop: float = 1.0
) -> WindowScores:
    """Scores of (sources, samples, channels) arrays by `museval.evaluate` (BSSEval v4, all four metrics, slow).

    Raises:
        ValueError: museval's own, as for a source that is silent over the whole track.
        DataError: museval cannot be imported.
    """
    museval = import_museval()
    size, step = (reference.shape[1] if np.isinf(length) else int(length * rate) for length in (window, hop))
    scores = museval.evaluate(reference.astype(np.float64), estimate.astype(np.float64), win=size, hop=step, mode="v4")
    return WindowScores(*scores)


@contextmanager
def _programs_found() -> Iterator[None]:
    """Both programs are on PATH within the block: in their absence two links that nothing runs."""
    if all(map(shutil.which, PROGRAMS)):
        yield
        return
    before = os.environ.get("PATH")
    with tempfile.TemporaryDirectory(prefix="quintet-") as folder:
        for name in PROGRAMS:
            _stand_in(Path(folder), name)
        os.environ["PATH"] = os.pathsep.join([folder, *([before] if before else [])])
        try:
            yield
        finally:
            if before is None:
                del os.environ["PATH"]
            else:
                os.environ["PATH"] = before


def _stand_in(folder: Path, name: str) -> None:
    if os.name == "nt":
        (folder / f"{name}.exe").touch()
    else:  # a file of its own could not be executed where temporary folders are mounted without that
        (folder / name).symlink_to(sys.executable)
