"""Alignment engine of the benchmarks, and its time, memory and errors measured in a process of its own."""

import json
import os
import time
from types import SimpleNamespace

import numpy as np

import tasks
from benchmarks.memory import memory_mb
from models.alignment import Handcrafted
from models.alignment.front import LogCQTFlux
from tasks.alignment.aligned import notes_played
from tasks.alignment.inference import File2Alignment
from tasks.alignment.options import AlignmentOptions

LIMIT_MB = 12_000
"""Memory at which a process is ended, so that the machine stays alive."""


def engine(options: AlignmentOptions | None = None) -> File2Alignment:
    """Alignment by the aligner of the run folder in QUINTET_RUN, or by log-CQT and flux, which need no training."""
    if "QUINTET_RUN" in os.environ:
        return File2Alignment(tasks.load(os.environ["QUINTET_RUN"]), options)
    net = Handcrafted(LogCQTFlux(), "cosine").eval()
    return File2Alignment(SimpleNamespace(net=net, inference=AlignmentOptions()), options)


def measure(recording: str, score: str, truth: str, threads: int) -> None:
    """Print as JSON the time, memory and errors of aligning files in this process."""
    import resource  # not on Windows

    import torch

    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_MB << 20, LIMIT_MB << 20))
    torch.set_num_threads(threads)
    start = time.perf_counter()
    aligned = engine()(recording, score)
    result = {"call_s": time.perf_counter() - start, "cpu": time.process_time(), "peak_mb": memory_mb()}
    played = notes_played(aligned)
    error = errors(np.load(truth), aligned.score.notes.onset[played.index], played.time[:, 0])
    result |= {"median_ms": 1000 * float(np.median(error)), "within": 100 * float(np.mean(error < 0.05))}
    print(json.dumps(result | {"segments": [(segment.score_start, segment.score_end) for segment in aligned.segments]}))


def errors(truth: np.ndarray, score_s: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Distance (s) of each true event (events, 2) to the nearest claim of the same score time; inf: none."""
    order = np.lexsort((time_s, score_s))
    score_s, time_s = score_s[order], time_s[order]
    first, last = np.searchsorted(score_s, truth[:, 0] - 1e-2), np.searchsorted(score_s, truth[:, 0] + 1e-2)
    spans = zip(first, last, truth[:, 1], strict=True)
    return np.array([np.abs(time_s[begin:end] - time).min(initial=np.inf) for begin, end, time in spans])
