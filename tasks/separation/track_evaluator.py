"""Evaluation of tracks by BSSEval in this or other processes: references and estimates -> JSON per track, resumable."""

import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError
from tasks.metrics.bss import evaluate, usdr
from tasks.separation.track_scores import read_track_json, write_track_json

Audio = NDArray[np.floating]
Load = Callable[[], tuple[Audio, Audio]]  # reference and estimate, each (sources, samples, channels)

# BLAS libraries start one thread per core in every process.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Scoring:
    """Evaluation settings; a track with a JSON of equal settings is not scored again."""

    sources: tuple[str, ...]
    rate: int
    bss: str = "sdr"  # or "full": ISR, SIR and SAR as well
    evaluator: str = "quintet"  # or "museval", the official package
    window: float = 1.0  # s
    hop: float = 1.0  # s
    system: str = ""  # fingerprint of the system, such as checkpoint and options

    def settings(self) -> dict:
        """Plain values for the JSON of a track."""
        return {**asdict(self), "sources": list(self.sources)}


class TrackResult(NamedTuple):
    """Scores of one track, or the error."""

    name: str
    index: int
    medians: NDArray[np.float64]  # (sources, 4): SDR, ISR, SIR, SAR in dB, medians over frames
    usdr: NDArray[np.float64]  # (sources,), dB
    error: str | None = None
    notes: tuple[str, ...] = ()  # sentences on silent sources


class TrackEvaluator:
    """Evaluator of tracks; writes each to FOLDER/test/TRACK.json, where museval expects it.

    Args:
        folder: output folder
        scoring: evaluation settings
        processes: worker processes; 0: `submit` scores in this one. Each worker holds one track in memory, and as many
            tracks may wait as temporary files before `submit` blocks.
    """

    def __init__(self, folder: Path, scoring: Scoring, processes: int = 0) -> None:
        self.folder, self.scoring, self.processes = Path(folder), scoring, processes
        self._results: dict[int, TrackResult] = {}
        self._pending: dict[Future, tuple[str, int]] = {}
        self._pool: ProcessPoolExecutor | None = None
        self._files: tempfile.TemporaryDirectory | None = None

    def __enter__(self) -> "TrackEvaluator":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def path(self, name: str) -> Path:
        """Path of the JSON of a track."""
        return self.folder / "test" / f"{name}.json"

    def done(self, name: str, newer_than: float = 0.0) -> bool:
        """True if a track has scores with the same settings, not older than `newer_than` (s since the epoch)."""
        path = self.path(name)
        try:
            return read_track_json(path).settings == self.scoring.settings() and path.stat().st_mtime >= newer_than
        except DataError:
            return False

    def keep(self, name: str, index: int) -> None:
        """Use the stored scores of a track that is `done`."""
        stored = read_track_json(self.path(name))
        self._results[index] = TrackResult(name, index, stored.frames.medians(), stored.usdr)

    def submit(self, name: str, index: int, reference: Audio, estimate: Audio) -> None:
        """Score a track: reference and estimate (sources, samples, channels) in floating point, full scale 1."""
        if not self.processes:
            return self.submit_load(name, index, lambda: (reference, estimate))
        if self._files is None:
            self._files = tempfile.TemporaryDirectory(prefix="quintet-scores-", ignore_cleanup_errors=True)
        path = Path(self._files.name) / str(index)
        for what, sound in (("reference", reference), ("estimate", estimate)):
            np.save(path.with_suffix(f".{what}.npy"), sound)
        return self.submit_load(name, index, Saved(path))

    def submit_load(self, name: str, index: int, load: Load) -> None:
        """Score the track that `load` reads in the worker; with processes `load` must be picklable."""
        job = EvaluationJob(name, index, self.path(name), self.scoring, load)
        if not self.processes:
            return self._take(score(job))
        while len(self._pending) >= 2 * self.processes:
            self._collect(FIRST_COMPLETED)
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.processes, multiprocessing.get_context("spawn"))
        with _one_thread():
            self._pending[self._pool.submit(score, job)] = name, index
        return None

    def finish(self) -> list[TrackResult]:
        """Wait for all tracks; results in order of their index, with the errors of failed tracks."""
        while self._pending:
            self._collect(FIRST_COMPLETED)
        self.close()
        return [self._results[index] for index in sorted(self._results)]

    def close(self) -> None:
        """Stop the workers; tracks not yet begun are cancelled."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if self._files is not None:
            self._files.cleanup()
            self._files = None

    def _collect(self, until: str) -> None:
        finished, _ = wait(self._pending, return_when=until)
        for future in finished:
            name, index = self._pending.pop(future)
            try:
                self._take(future.result())
            except BrokenProcessPool:
                self._pool = None  # the next track starts a new pool
                self._take(_failed(name, index, self.scoring, "its worker process died, perhaps out of memory"))

    def _take(self, result: TrackResult) -> None:
        self._results[result.index] = result
        for note in result.notes:
            warnings.warn(f"{result.name}: {note}", stacklevel=3)


class EvaluationJob(NamedTuple):
    """Track to score."""

    name: str
    index: int
    path: Path
    scoring: Scoring
    load: Load


class Saved(NamedTuple):
    """Arrays saved by the main process, deleted when scored."""

    path: Path

    def __call__(self) -> tuple[Audio, Audio]:
        """Reference and estimate, memory-mapped."""
        files = [self.path.with_suffix(f".{what}.npy") for what in ("reference", "estimate")]
        reference, estimate = (np.load(file, mmap_mode="r") for file in files)
        for file in files if os.name == "posix" else ():
            file.unlink()  # stays readable while it is mapped
        return reference, estimate


def score(job: EvaluationJob) -> TrackResult:
    """Score one track and write its JSON; any exception becomes the error of the result."""
    scoring = job.scoring
    try:
        reference, estimate = job.load()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            if scoring.evaluator == "museval":
                from tasks.separation.track_scores import evaluate_with_museval

                frames = evaluate_with_museval(reference, estimate, scoring.rate, scoring.window, scoring.hop)
            else:
                options = {"mode": scoring.bss, "names": scoring.sources, "window": scoring.window, "hop": scoring.hop}
                frames = evaluate(reference, estimate, scoring.rate, **options)
        whole = usdr(reference, estimate)
        length = min(scoring.window, reference.shape[1] / scoring.rate) if np.isinf(scoring.window) else scoring.window
        hop = length if np.isinf(scoring.hop) else scoring.hop
        write_track_json(job.path, scoring.sources, frames, whole, length, hop, scoring.settings())
    except Exception as error:
        return _failed(job.name, job.index, scoring, str(error) or type(error).__name__)
    notes = tuple(str(warning.message) for warning in caught if "silent" in str(warning.message))
    return TrackResult(job.name, job.index, frames.medians(), whole, notes=notes)


def _failed(name: str, index: int, scoring: Scoring, error: str) -> TrackResult:
    count = len(scoring.sources)
    return TrackResult(name, index, np.full((count, 4), np.nan), np.full(count, np.nan), error)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Context in which new processes use one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
