"""Result of an alignment: recording and score -> times of notes, beats and bars, and events in playing order."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from datamodules.alignment.score import Score


class ScoreSegment(NamedTuple):
    """Part of the score played without a jump: start and end in score and recording, s."""

    score_start: float
    score_end: float
    start: float
    end: float


class Aligned(NamedTuple):
    """Recording aligned with its score; times of events that the recording omits are NaN."""

    path: str  # of the recording
    score: Score  # notes, beats and bars in score time (s), repeats unfolded as in the recording, at written pitches
    time_map: Callable[[np.ndarray], np.ndarray]  # score s -> recording s, the first time of a repeated passage
    notes_s: np.ndarray  # (notes, 2) onset and offset in the recording, s
    beats_s: np.ndarray  # (beats,) s
    bars_s: np.ndarray  # (bars,) s
    note_confidence: np.ndarray  # (notes,) probability that a note's onset is within 50 ms of its true time, 0 if omitted
    beat_confidence: np.ndarray  # (beats,)
    bar_confidence: np.ndarray  # (bars,)
    segments: list[ScoreSegment]  # in the recording's order; a single one without repeated or skipped passages
    rows: np.ndarray  # (cells,) frames of the recording along the path, non-decreasing
    columns: np.ndarray  # (cells,) frames of the score along the path, non-decreasing within a segment
    frame_s: float  # frame i is centred at i * frame_s
    distance: np.ndarray  # (rows, columns) recording against score, pooled to at most 1000 per side
    extent: tuple[float, float]  # duration of recording and score covered by `distance`, s
    audio: np.ndarray  # (samples,) float32, mono recording
    sample_rate: int
    transposition: int  # semitones of the recording above the score
    tuning_cents: float  # of the recording above 440 Hz
    unfolding: str  # chosen unfolding of the repeats; empty if there is only one
    cost: float  # mean local cost along the path
    span: tuple[float, float]  # start and end of the music in the recording, s
    remarks: list[str]  # messages for the user

    @property
    def duration_s(self) -> float:
        """Duration of the recording, s."""
        return len(self.audio) / self.sample_rate


class PlayedEvents(NamedTuple):
    """Events of a score in the recording's order: omitted events are missing, repeated ones occur again."""

    index: np.ndarray  # (events,) index in the score
    time: np.ndarray  # (events, k) s in the recording
    confidence: np.ndarray  # (events,)


def notes_played(aligned: Aligned) -> PlayedEvents:
    """Played notes, with onset and offset."""
    notes = aligned.score.notes
    return _played(aligned, np.stack([notes.onset, notes.offset], 1), aligned.notes_s, aligned.note_confidence)


def beats_played(aligned: Aligned) -> PlayedEvents:
    """Played beats, with one time each."""
    return _played(aligned, aligned.score.beats[:, None], aligned.beats_s[:, None], aligned.beat_confidence)


def bars_played(aligned: Aligned) -> PlayedEvents:
    """Played bars, with the time of their first beat."""
    return _played(aligned, aligned.score.bars[:, None], aligned.bars_s[:, None], aligned.bar_confidence)


def _played(aligned: Aligned, score_s: np.ndarray, own_s: np.ndarray, confidence: np.ndarray) -> PlayedEvents:
    """Times of events: `own_s` in the nearest segment, times of the path in the other segments."""
    known, order = np.isfinite(own_s).all(1), np.arange(len(own_s))
    times = own_s[None].astype(np.float64)
    if len(aligned.segments) > 1 and len(own_s):
        times = np.stack([_path_times(aligned, segment, score_s) for segment in aligned.segments])
        gap = np.abs(times[:, :, 0] - own_s[:, 0])
        times[np.where(np.isnan(gap), np.inf, gap).argmin(0), order] = own_s
    segment, index = np.nonzero(np.isfinite(times).all(2) & known)
    time = times[segment, index]
    sequence = np.lexsort((index, time[:, 0]))
    return PlayedEvents(index[sequence], time[sequence], confidence[index[sequence]])


def _path_times(aligned: Aligned, segment: ScoreSegment, score_s: np.ndarray) -> np.ndarray:
    """Times of events (events, k) in one segment along the path; NaN for events outside the segment."""
    # Half open: the last frame of a segment is the first of the next, elsewhere in the score.
    begin, end = round(segment.start / aligned.frame_s), round(segment.end / aligned.frame_s)
    inside = (begin <= aligned.rows) & (aligned.rows < max(end, begin + 1))
    columns, back = np.unique(aligned.columns[inside], return_inverse=True)
    if not len(columns):
        raise ValueError(f"the path has no cell in the segment {tuple(segment)}")
    rows = np.bincount(back, aligned.rows[inside]) / np.bincount(back)
    times = np.interp(score_s, columns * aligned.frame_s, rows * aligned.frame_s)
    within = (segment.score_start <= score_s[:, :1]) & (score_s[:, :1] < segment.score_end)
    return np.where(within, times, np.nan)
