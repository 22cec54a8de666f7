"""A recording with its score laid on it, and the events of the score in the order in which the recording plays them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from datamodules.alignment.score import Score
from models.alignment.costs import Costs
from models.alignment.dtw import Path as DTWPath


class Pass(NamedTuple):
    """One way through a part of the score without a jump: s in the score, s in the recording."""

    score_start: float
    score_end: float
    start: float
    end: float


class Aligned(NamedTuple):
    """A recording and its score, laid on each other; events that the recording leaves out are NaN."""

    path: str  # the recording
    score: Score  # its notes, beats and bars in score s, as the recording goes through its repeats, at its written pitches
    time_map: Callable[[np.ndarray], np.ndarray]  # score s -> recording s, where a passage comes twice the first time
    notes_s: np.ndarray  # (notes, 2) onset and offset in the recording, s
    beats_s: np.ndarray  # (beats,) s
    bars_s: np.ndarray  # (bars,) s
    note_confidence: np.ndarray  # (notes,) in [0, 1]
    beat_confidence: np.ndarray  # (beats,) in [0, 1]
    bar_confidence: np.ndarray  # (bars,) in [0, 1]
    passes: list[Pass]  # in the recording's order; one where nothing is repeated or skipped
    rows: np.ndarray  # (cells,) frames of the recording along the path, counted from its first sample, never falling
    columns: np.ndarray  # (cells,) frames of the score along the path, never falling within a pass
    frame_s: float  # frame i is centred at i * frame_s
    distance: np.ndarray  # (rows, columns) recording against score, pooled to 1200 a side at most
    extent: tuple[float, float]  # s of the recording and of the score that `distance` covers
    audio: np.ndarray  # (samples,) float32, the recording, mono
    sample_rate: int
    transposition: int  # semitones by which the recording is above the score
    tuning_cents: float  # by which the recording is above 440 Hz
    unfolding: str  # which way through the repeats was chosen; empty where there is one
    cost: float  # mean local cost along the path
    span: tuple[float, float]  # s in the recording at which the music begins and ends
    remarks: list[str]  # sentences for the user

    @property
    def duration_s(self) -> float:
        """Length of the recording, s."""
        return len(self.audio) / self.sample_rate


class Played(NamedTuple):
    """Events of a score as the recording plays them, in its order: one left out is missing, one repeated comes again."""

    index: np.ndarray  # (events,) which event of the score
    time: np.ndarray  # (events, k) s in the recording, as many columns as were given
    confidence: np.ndarray  # (events,)


def notes_played(aligned: Aligned) -> Played:
    """Notes, with onset and offset."""
    notes = aligned.score.notes
    return _played(aligned, np.stack([notes.onset, notes.offset], 1), aligned.notes_s, aligned.note_confidence)


def beats_played(aligned: Aligned) -> Played:
    """Beats, with one time each."""
    return _played(aligned, aligned.score.beats[:, None], aligned.beats_s[:, None], aligned.beat_confidence)


def bars_played(aligned: Aligned) -> Played:
    """Bars, with the time of their first beat."""
    return _played(aligned, aligned.score.bars[:, None], aligned.bars_s[:, None], aligned.bar_confidence)


def _played(aligned: Aligned, score_s: np.ndarray, own_s: np.ndarray, confidence: np.ndarray) -> Played:
    """An event keeps its own time in the pass which that time is nearest to; in other passes the path tells its time."""
    known, order = np.isfinite(own_s).all(1), np.arange(len(own_s))
    times = own_s[None].astype(np.float64)
    if len(aligned.passes) > 1 and len(own_s):
        times = np.stack([_along(aligned, one, score_s) for one in aligned.passes])
        away = np.abs(times[:, :, 0] - own_s[:, 0])
        times[np.where(np.isnan(away), np.inf, away).argmin(0), order] = own_s
    which, index = np.nonzero(np.isfinite(times).all(2) & known)
    time = times[which, index]
    sequence = np.lexsort((index, time[:, 0]))
    return Played(index[sequence], time[sequence], confidence[index[sequence]])


def _along(aligned: Aligned, one: Pass, score_s: np.ndarray) -> np.ndarray:
    """Times in one pass of events (events, k) by the path, NaN for those that it does not hold."""
    # Half open: the frame in which one pass ends is that in which the next begins, elsewhere in the score.
    begin, end = round(one.start / aligned.frame_s), round(one.end / aligned.frame_s)
    inside = (begin <= aligned.rows) & (aligned.rows < max(end, begin + 1))
    columns, back = np.unique(aligned.columns[inside], return_inverse=True)
    if not len(columns):
        raise ValueError(f"the path has no cell in the pass {tuple(one)}")
    rows = np.bincount(back, aligned.rows[inside]) / np.bincount(back)
    times = np.interp(score_s, columns * aligned.frame_s, rows * aligned.frame_s)
    held = (one.score_start <= score_s[:, :1]) & (score_s[:, :1] < one.score_end)
    return np.where(held, times, np.nan)


class Course(NamedTuple):
    """Parts of a path, each rising, and the distances it goes through."""

    parts: list[DTWPath]
    costs: Costs
    cost: float  # mean along the path
