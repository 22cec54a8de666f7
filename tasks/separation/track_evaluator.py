"""Score tracks one by one, in this process or in others while the next track is separated; finished ones are kept."""

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

# Libraries below numpy start as many threads as there are cores, in every process anew.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Scoring:
    """How tracks are scored; a track scored in the same way already is not scored again."""

    sources: tuple[str, ...]
    rate: int
    bss: str = "sdr"  # or "full": ISR, SIR and SAR as well
    evaluator: str = "quintet"  # or "museval", the official package
    window: float = 1.0  # s
    hop: float = 1.0  # s
    system: str = ""  # what made the estimates, such as a checkpoint and its settings: scores of another are stale

    def settings(self) -> dict:
        """Plain values for the track's JSON."""
        return {**asdict(self), "sources": list(self.sources)}


class TrackResult(NamedTuple):
    """Scores of one track, or why there are none."""

    name: str
    index: int
    medians: NDArray[np.float64]  # (sources, 4): SDR, ISR, SIR, SAR in dB, medians over frames
    usdr: NDArray[np.float64]  # (sources,), dB
    error: str | None = None
    notes: tuple[str, ...] = ()  # one sentence for each silent source


class TrackEvaluator:
    """Scores of tracks, each written to FOLDER/test/TRACK.json (where museval looks) as soon as it is there.

    Args:
        folder: of the scores
        scoring: how to score
        processes: that score beside this one; 0: `submit` scores at once. Each holds one track in memory, and as many
            tracks again may wait as temporary files, then `submit` waits too.
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
        """JSON of a track."""
        return self.folder / "test" / f"{name}.json"

    def done(self, name: str, newer_than: float = 0.0) -> bool:
        """Whether a track's scores are there, by the same settings, from after the given time (s since the epoch)."""
        path = self.path(name)
        try:
            return read_track_json(path).settings == self.scoring.settings() and path.stat().st_mtime >= newer_than
        except DataError:
            return False

    def keep(self, name: str, index: int) -> None:
        """Take up the scores of a track that is `done`."""
        known = read_track_json(self.path(name))
        self._results[index] = TrackResult(name, index, known.frames.medians(), known.usdr)

    def submit(self, name: str, index: int, reference: Audio, estimate: Audio) -> None:
        """Score a track: reference and estimate (sources, samples, channels), floating point, full scale 1."""
        if not self.processes:
            return self.submit_load(name, index, lambda: (reference, estimate))
        if self._files is None:
            self._files = tempfile.TemporaryDirectory(prefix="quintet-scores-", ignore_cleanup_errors=True)
        path = Path(self._files.name) / str(index)
        for what, sound in (("reference", reference), ("estimate", estimate)):
            np.save(path.with_suffix(f".{what}.npy"), sound)
        return self.submit_load(name, index, Saved(path))

    def submit_load(self, name: str, index: int, load: Load) -> None:
        """Score what `load` reads, there where it is scored; with processes it has to pickle."""
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
        """Wait for all tracks; results in order of their index, those that failed with their error."""
        while self._pending:
            self._collect(FIRST_COMPLETED)
        self.close()
        return [self._results[index] for index in sorted(self._results)]

    def close(self) -> None:
        """End the processes without waiting for tracks that none has begun."""
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
                self._pool = None  # the next track gets new processes
                self._take(_failed(name, index, self.scoring, "the process that scored it died, perhaps for want of memory"))

    def _take(self, result: TrackResult) -> None:
        self._results[result.index] = result
        for note in result.notes:
            warnings.warn(f"{result.name}: {note}", stacklevel=3)


class EvaluationJob(NamedTuple):
    """One track to score."""

    name: str
    index: int
    path: Path
    scoring: Scoring
    load: Load


class Saved(NamedTuple):
    """Arrays that another process has written; they vanish with being scored."""

    path: Path

    def __call__(self) -> tuple[Audio, Audio]:
        """Reference and estimate, mapped: what is scored is read window by window."""
        files = [self.path.with_suffix(f".{what}.npy") for what in ("reference", "estimate")]
        reference, estimate = (np.load(file, mmap_mode="r") for file in files)
        for file in files if os.name == "posix" else ():
            file.unlink()  # stays readable until it is let go
        return reference, estimate


def score(job: EvaluationJob) -> TrackResult:
    """Score one track and write its JSON; whatever is wrong with it becomes its error."""
    scoring = job.scoring
    try:
        reference, estimate = job.load()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            if scoring.evaluator == "museval":
                from tasks.separation.track_scores import evaluate_with_museval

                frames = evaluate_with_museval(reference, estimate, scoring.rate, scoring.window, scoring.hop)
            else:
                how = {"mode": scoring.bss, "names": scoring.sources, "window": scoring.window, "hop": scoring.hop}
                frames = evaluate(reference, estimate, scoring.rate, **how)
        whole = usdr(reference, estimate)
        length = min(scoring.window, reference.shape[1] / scoring.rate) if np.isinf(scoring.window) else scoring.window
        hop = length if np.isinf(scoring.hop) else scoring.hop
        write_track_json(job.path, scoring.sources, frames, whole, length, hop, scoring.settings())
    except Exception as error:
        return _failed(job.name, job.index, scoring, str(error) or type(error).__name__)
    notes = tuple(str(one.message) for one in caught if "silent" in str(one.message))
    return TrackResult(job.name, job.index, frames.medians(), whole, notes=notes)


def _failed(name: str, index: int, scoring: Scoring, error: str) -> TrackResult:
    count = len(scoring.sources)
    return TrackResult(name, index, np.full((count, 4), np.nan), np.full(count, np.nan), error)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started within the block compute on one thread each."""
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
