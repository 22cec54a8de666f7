"""BSSEval v4 vs. museval: SDR alone and all four scores of 30 s, time, memory and differences; one thread."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.memory import memory_mb
from benchmarks.paired import HEADER, Paired

RATE, SECONDS, SOURCES = 44_100, 30, 4
ROUNDS = 3
WAYS = {"museval": 1, "full": 3, "sdr": 20}  # calls that are averaged


def run() -> None:
    """Print ratios of CPU time and peak memory, alternating in separate processes, and differences of scores."""
    folder = Path(__file__).parent.parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    results: dict[str, list[dict]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as scores:
        for _ in range(ROUNDS):
            for way in WAYS:
                code = f"from benchmarks.bss_eval import measure; measure({way!r}, {scores!r})"
                words = [sys.executable, "-c", code]
                output = subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE).stdout
                results[way].append(json.loads(output))
        theirs, ours = (np.load(Path(scores) / f"{way}.npy") for way in ("museval", "full"))
    print(f"{SECONDS} s, stereo, {SOURCES} white sources, {RATE} Hz, one thread, CPU time\n{HEADER}")
    print(_paired(results, "sdr").row("SDR alone"))
    print(_paired(results, "full").row("SDR, ISR, SIR, SAR"))
    for way, name in (("sdr", "SDR alone"), ("full", "all four")):
        peer, mine = (max(row["peak_mb"] for row in results[x]) for x in ("museval", way))
        print(f"peak memory, sounds and libraries included, {name}: {peer:.0f} MB / {mine:.0f} MB = {peer / mine:.1f}")
    for name, difference in zip(("SDR", "ISR", "SIR", "SAR"), np.abs(ours - theirs).max(axis=(1, 2)), strict=True):
        print(f"largest difference of {name}: {difference:.1e} dB")


def measure(way: str, scores: str) -> None:
    """Print CPU time and peak memory of one implementation as JSON; save its scores (4, sources, frames)."""
    from scipy import fft, linalg  # noqa: F401  loaded before the clock starts

    evaluate = _museval() if way == "museval" else _ours(way)
    random = np.random.default_rng(0)
    reference = 0.1 * random.standard_normal((SOURCES, SECONDS * RATE, 2))
    estimate = reference + 0.3 * reference[::-1] + 0.02 * random.standard_normal(reference.shape)
    start = time.process_time()
    for _ in range(WAYS[way]):
        result = evaluate(reference, estimate)
    seconds = (time.process_time() - start) / WAYS[way]
    np.save(Path(scores) / f"{way}.npy", np.stack(result))
    print(json.dumps({"seconds": seconds, "peak_mb": memory_mb()}))


def _paired(results: dict[str, list[dict]], way: str) -> Paired:
    peer, ours = ([row["seconds"] for row in results[name]] for name in ("museval", way))
    return Paired(float(np.median(peer)), float(np.median(ours)), tuple(a / b for a, b in zip(peer, ours, strict=True)))


def _ours(mode: str):
    from tasks.metrics import bss

    return lambda reference, estimate: bss.evaluate(reference, estimate, RATE, mode=mode)


def _museval():
    # Importing the package needs ffmpeg; this module does not.
    path = Path(importlib.util.find_spec("museval").origin).parent / "metrics.py"
    spec = importlib.util.spec_from_file_location("museval_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda reference, estimate: module.bss_eval(reference, estimate, window=RATE, hop=RATE)[:4]
