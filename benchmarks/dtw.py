"""Exact DTW vs. librosa: time, peak memory and cost; other steps, and jump paths; one thread."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from benchmarks.memory import memory_mb
from benchmarks.paired import HEADER, Paired

DIMENSIONS, FRAMES, LONG = 12, 10_000, 26_000  # 26 000 frames of 23 ms are ten minutes
WARM_UP = 400
ROUNDS = 3


def run() -> None:
    """Print ratios of CPU time and peak memory, alternating in separate processes."""
    print(f"{DIMENSIONS}-d features, Euclidean, one thread, CPU time with the distances\n{HEADER}")
    for steps in ("unit", "constrained", "synctoolbox"):
        _against_librosa(steps)
    exact = [_process("ours", LONG, "unit") for _ in range(ROUNDS)]
    _print_alone(f"unit steps, {LONG} x {LONG}", exact)
    _print_alone(f"128-d, {LONG} x {LONG}", [_process("ours", LONG, "unit", 128)])
    pairs = [(_process("ours", FRAMES, "unit"), _process("jumps", FRAMES, "unit")) for _ in range(ROUNDS)]
    print(_paired(*zip(*pairs, strict=True)).row(f"peer: unit steps; jump path {FRAMES} x {FRAMES}"))


def _against_librosa(steps: str) -> None:
    pairs = [(_process("librosa", FRAMES, steps), _process("ours", FRAMES, steps)) for _ in range(ROUNDS)]
    theirs, ours = zip(*pairs, strict=True)
    print(_paired(theirs, ours).row(f"{steps} steps, {FRAMES} x {FRAMES}"))
    peer, mine = (max(run["peak_mb"] for run in runs) for runs in (theirs, ours))
    apart = abs(ours[0]["cost"] / theirs[0]["cost"] - 1)
    print(f"  peak memory, imports included: {peer:.0f} MB / {mine:.0f} MB = {peer / mine:.1f}; optima differ by {apart:.0e}")


def _print_alone(name: str, runs: list[dict]) -> None:
    seconds, memory = min(run["seconds"] for run in runs), max(run["peak_mb"] for run in runs)
    print(f"{name:44} {'':9} {seconds:9.3f}\n  peak memory, imports included: {memory:.0f} MB")


def _paired(peer: list[dict], ours: list[dict]) -> Paired:
    times = [(a["seconds"], b["seconds"]) for a, b in zip(peer, ours, strict=True)]
    middle = [sorted(column)[len(column) // 2] for column in zip(*times, strict=True)]
    return Paired(*middle, tuple(a / b for a, b in times))


def _process(way: str, frames: int, steps: str, dimensions: int = DIMENSIONS) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    code = f"from benchmarks.dtw import measure; measure({way!r}, {frames}, {steps!r}, {dimensions})"
    words, folder = [sys.executable, "-c", code], Path(__file__).parent.parent
    return json.loads(subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def measure(way: str, frames: int, steps: str, dimensions: int) -> None:
    """Print CPU time, cost and peak memory of this process as JSON, without compilation."""
    _bare("models.alignment")
    work = {"librosa": _librosa, "ours": _ours, "jumps": _jumps}[way]
    work(*_features(WARM_UP, dimensions), steps)()
    timed = work(*_features(frames, dimensions), steps)
    start = time.process_time()
    cost = timed()
    print(json.dumps({"seconds": time.process_time() - start, "cost": float(cost), "peak_mb": memory_mb()}))


def _bare(package: str) -> None:
    """Import modules of a package without its __init__, which would load PyTorch."""
    module = ModuleType(package)
    module.__path__ = [str(Path(__file__).parent.parent.joinpath(*package.split(".")))]
    sys.modules[package] = module


def _features(frames: int, dimensions: int):
    """Features (frames, d) float32 of a performance with varying tempo and of a score with notes of 12 frames."""
    import numpy as np

    random = np.random.default_rng(0)
    notes = random.random((frames // 12 + 1, dimensions), dtype=np.float32) ** 4
    tempo = np.exp(np.convolve(random.normal(0, 1, frames), np.ones(200) / 50, "same"))
    at = np.cumsum(tempo) * ((frames - 1) / tempo.sum())
    score, performance = notes[np.arange(frames) // 12], notes[at.astype(int) // 12]
    return tuple(x + np.float32(0.3) * random.random(x.shape, dtype=np.float32) for x in (performance, score))


def _librosa(x, y, steps: str) -> Callable[[], float]:
    import numpy as np
    from librosa.sequence import dtw

    from models.alignment.dtw import STEPS

    moves, weights = (np.array(part) for part in STEPS[steps])
    settings = {"step_sizes_sigma": moves, "weights_mul": weights, "weights_add": np.zeros(len(moves))}
    return lambda: dtw(x.T, y.T, **settings)[0][-1, -1]


def _ours(x, y, steps: str) -> Callable[[], float]:
    from models.alignment.dtw import STEPS, FeatureCosts, dtw

    return lambda: dtw(FeatureCosts(x, y), STEPS[steps]).cost


def _jumps(x, y, steps: str) -> Callable[[], float]:  # the path has steps of its own
    from models.alignment.dtw import FeatureCosts
    from models.alignment.jumps import jump_path

    return lambda: jump_path(FeatureCosts(x, y), range(0, len(y), 10 + len(y) // 20)).cost
