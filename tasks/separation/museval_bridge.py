"""The official museval on arrays, also on a machine without ffmpeg."""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from tasks.metrics.bss import Frames

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
) -> Frames:
    """Scores of (sources, samples, channels) arrays by `museval.evaluate` (BSSEval v4, all four metrics, slow).

    Raises:
        ValueError: museval's own, as for a source that is silent over the whole track.
        DataError: museval cannot be imported.
    """
    museval = import_museval()
    size, step = (reference.shape[1] if np.isinf(length) else int(length * rate) for length in (window, hop))
    scores = museval.evaluate(reference.astype(np.float64), estimate.astype(np.float64), win=size, hop=step, mode="v4")
    return Frames(*scores)


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
