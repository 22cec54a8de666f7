"""Worker process of the fuzz campaign: lines `format path` -> one line of JSON each; killed if a file hangs."""

import contextlib
import json
import os
import sys
import time
import traceback
import warnings
from pathlib import Path

SUITE = Path(__file__).parents[2]


def main(hang_s: float, limit_mb: int) -> None:
    """Read until the input ends. A file that takes longer than `hang_s` of CPU ends the process by SIGPROF."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    import logging

    import torch

    logging.disable()
    torch.set_num_threads(1)
    from benchmarks.fuzzing.readers import READERS

    answers.write("ready\n")
    warm: set[str] = set()
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split("\t", 1)
        if kind in warm:
            _limit(hang_s, limit_mb)
        before, start = _peak_mb(), time.process_time()
        answer = _read(READERS[kind], Path(path))
        _limit(0, 0)
        grown = _peak_mb() - before if kind in warm else 0  # the first file of a kind imports its libraries
        warm.add(kind)
        answers.write(json.dumps(answer | {"mb": round(grown), "s": round(time.process_time() - start, 3)}) + "\n")


def _read(reader, path: Path) -> dict:
    from datamodules.common.errors import DataError

    try:
        reader(path)
    except DataError as error:
        name = path.name.rsplit(".", 1)[0]
        vague = "" if name in str(error) or path.parent.name in str(error) else "its sentence names no file"
        return {"kind": "vague" if vague else "refused", "said": str(error)[:300]}
    except Exception as error:
        return {"kind": "memory" if isinstance(error, MemoryError) else "traceback", "said": _where(error)}
    return {"kind": "read", "said": ""}


def _where(error: BaseException) -> str:
    """Type of an error, the last line of the suite that it passed, and its message."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(SUITE)]
    inner = [frame for frame in frames if "fuzzing" not in frame.filename] or frames
    location = f"{Path(inner[-1].filename).relative_to(SUITE)}:{inner[-1].lineno}" if inner else "?"
    return f"{type(error).__name__} at {location}: {' '.join(str(error).split())[:200]}"


def _limit(hang_s: float, limit_mb: int) -> None:
    """Limit CPU time and address space of the next file, if the system supports it; 0: no limit."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import signal

        signal.setitimer(signal.ITIMER_PROF, hang_s)
    with contextlib.suppress(ImportError, ValueError, OSError, StopIteration, IndexError):
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + (limit_mb << 20) if limit_mb else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _peak_mb() -> float:
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
