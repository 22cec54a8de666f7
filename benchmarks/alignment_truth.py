"""Claims of an alignment against the truth: which part of the score was played, and when each event was.

A place of the score has the same notes as an excerpt if it holds the same pitches at the same distances in beats, from the
first to the last onset inside. Each passage of a claim (without jumps) is measured at the nearest of these places: the true
one, a repeat that is written out, the other pass of a repeat, or the same passage in another unfolding. There each claimed note
has a true time; a note that begins before the excerpt and sounds into it counts as played at its beginning.

An excerpt is located if

- its start is right: the first note claimed was played at most 1 s before the excerpt begins and 1 s after its first event,
- its end is right: the last note claimed was played at most 1 s after the excerpt ends and 1 s before its last event,
- both notes are placed within 1 s of where they were played, and so is the median note of each passage, and
- no bar is claimed as played that lies outside by more than 1 s, except for the one cut at each end.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.alignment_material import Excerpt
from datamodules.alignment.score import Score
from models.alignment.time_map import TimeMap
from tasks.alignment.aligned import Aligned, PlayedEvents, bars_played, notes_played

NEAR_S = 1.0
"""Largest distance of start and end from the truth."""
GRID = 48
"""Steps of a beat to which onsets are rounded before places are compared."""
BEYOND = 64
"""Beats added before and after a score, where its tempo goes on."""


class Verdict(NamedTuple):
    """Claim of an alignment measured against the truth."""

    error: np.ndarray  # (events,) s: distance from the true time of each event inside; inf: not claimed as played
    faults: list[str]  # reasons why the excerpt is not located; empty: it is
    true: str  # part of the score that was played
    claimed: str  # parts of the score that are claimed as played

    @property
    def located(self) -> bool:
        return not self.faults


class Claim(NamedTuple):
    """Notes and bars of one segment that are claimed as played, and their true times at the nearest place with the same notes."""

    beat: np.ndarray  # (notes,) place in the true score, beats
    true_s: np.ndarray  # (notes,) time at which they were played in the excerpt, s
    time_s: np.ndarray  # (notes,) claimed time, s
    confidence: np.ndarray  # (notes,)
    bars_s: np.ndarray  # (bars, 2) true start and end of the bars claimed, s
    bars: str  # bars of the claimed score
    same: bool  # the claimed score holds the notes that were played


class ClaimedEvents(NamedTuple):
    """Onsets that are claimed as played."""

    time_s: np.ndarray  # (events,) claimed time in the excerpt, s
    confidence: np.ndarray  # (events,)
    error: np.ndarray  # (events,) s: distance from the true time; inf: the passage was not played


def claimed_events(aligned: Aligned, excerpt: Excerpt) -> ClaimedEvents:
    """Onsets of all segments; notes of one onset count once."""
    parts = []
    for index in range(len(aligned.segments)):
        if claim := _claim(aligned, excerpt, index):
            _, once = np.unique(np.round(claim.beat * GRID), return_index=True)
            error = np.abs(claim.time_s - claim.true_s) if claim.same else np.full(len(claim.time_s), np.inf)
            parts.append((claim.time_s[once], claim.confidence[once], error[once]))
    return ClaimedEvents(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def judge(aligned: Aligned, excerpt: Excerpt) -> Verdict:
    """Measure the alignment of an excerpt."""
    score, truth = excerpt.recording.score, excerpt.truth
    claims = [claim for index in range(len(aligned.segments)) if (claim := _claim(aligned, excerpt, index))]
    error = np.full(len(truth), np.inf)
    for claim in claims:
        error = np.minimum(error, np.abs(_times(claim, beats_of(score, truth[:, 0])) - truth[:, 1]))
    faults = _faults(claims, excerpt) if claims else ["nothing is claimed as played"]
    claimed = ", ".join(f"{claim.bars} at {claim.time_s.min():.1f}-{claim.time_s.max():.1f} s" for claim in claims)
    return Verdict(error, faults, bar_names(score, truth[:, 0]), claimed or "nothing")


def _faults(claims: list[Claim], excerpt: Excerpt) -> list[str]:
    events, clock = excerpt.truth[:, 1], _clock(excerpt)
    begin = max(0.0, excerpt.recording.truth[0, 1] - excerpt.begin)
    end = min(excerpt.end - excerpt.begin, float(clock(excerpt.recording.score.notes.offset.max())))
    first, last = claims[0], claims[-1]
    start, stop = first.true_s.argmin(), last.true_s.argmax()
    faults = []
    if not begin - NEAR_S <= first.true_s[start] <= events[0] + NEAR_S:
        faults.append(f"starts {first.true_s[start] - events[0]:+.1f} s off")
    if not events[-1] - NEAR_S <= last.true_s[stop] <= end + NEAR_S:
        faults.append(f"ends {last.true_s[stop] - events[-1]:+.1f} s off")
    for name, claim, at in (("start", first, start), ("end", last, stop)):
        if abs(late := claim.time_s[at] - claim.true_s[at]) > NEAR_S:
            faults.append(f"{name} placed {late:+.1f} s off")
    for claim in claims:
        if not claim.same or np.median(np.abs(claim.time_s - claim.true_s)) > NEAR_S:
            faults.append(f"{claim.bars} were not played at {claim.time_s.min():.1f} s")
    outside = sum(int(((claim.bars_s[:, 1] <= begin - NEAR_S) | (claim.bars_s[:, 0] >= end + NEAR_S)).sum()) for claim in claims)
    return [*faults, f"{outside} bars claimed outside"] if outside else faults


def _clock(excerpt: Excerpt) -> TimeMap:
    """Map from true score time (s) to time in the excerpt (s)."""
    truth = excerpt.recording.truth
    return TimeMap(truth[:, 0], truth[:, 1] - excerpt.begin)


def _claim(aligned: Aligned, excerpt: Excerpt, index: int) -> Claim | None:
    """Claim of one segment; None if it plays no note."""
    score, true = aligned.score, excerpt.recording.score
    notes = _of_segment(aligned, notes_played(aligned), score.notes.onset, index)
    bars = _of_segment(aligned, bars_played(aligned), score.bars, index)
    if not len(notes.index):
        return None
    clock = _clock(excerpt)
    onset = score.notes.onset[notes.index]
    beat = beats_of(score, onset)
    near = float(np.median(beat - beats_of(true, clock.inverse(notes.time[:, 0]))))
    shift, same = _shift(score, true, _inside(aligned, excerpt, index), near)

    def true_time(score_s: np.ndarray) -> np.ndarray:
        return clock(seconds_of(true, beats_of(score, score_s) - shift))

    true_s = true_time(onset)
    true_s = np.where((true_s < 0) & (true_time(score.notes.offset[notes.index]) > 0), 0.0, true_s)
    edges = np.append(score.bars, max(score.notes.offset.max(), score.bars[-1]))
    bars_s = true_time(np.stack([edges[:-1], edges[1:]], 1)[bars.index])
    return Claim(beat - shift, true_s, notes.time[:, 0], notes.confidence, bars_s, bar_names(score, onset), same)


def _inside(aligned: Aligned, excerpt: Excerpt, index: int) -> np.ndarray:
    """True score times (s) of the events in a segment, without those near a jump if others are left."""
    segment, events = aligned.segments[index], excerpt.truth
    for margin in (NEAR_S, 0.0):
        begin, end = segment.start + margin * (index > 0), segment.end - margin * (index < len(aligned.segments) - 1)
        inside = events[(begin <= events[:, 1]) & (events[:, 1] <= end), 0]
        if len(inside) > 1:
            break
    return inside


def _of_segment(aligned: Aligned, played: PlayedEvents, score_s: np.ndarray, index: int) -> PlayedEvents:
    """Events that belong to a segment: the nearest in time of those that contain them in the score."""
    time, place = played.time[:, 0], score_s[played.index]
    away = []
    for segment in aligned.segments:
        beyond = np.maximum(np.maximum(segment.start - time, time - segment.end), 0)
        away.append(np.where((segment.score_start <= place) & (place < segment.score_end), beyond, np.inf))
    mine = np.argmin(away, 0) == index
    return PlayedEvents(*(column[mine] for column in played))


def _times(claim: Claim, beat: np.ndarray) -> np.ndarray:
    """Claimed times (s) of places of the true score (beats); inf outside the claim."""
    place, back = np.unique(np.round(claim.beat * GRID), return_inverse=True)
    time = np.bincount(back, claim.time_s) / np.bincount(back)
    at = np.round(beat * GRID)
    return np.where((place[0] <= at) & (at <= place[-1]), np.interp(at, place, time), np.inf)


# Places with the same notes


def _shift(claimed: Score, true: Score, inside: np.ndarray, near: float) -> tuple[float, bool]:
    """Distance (beats) from the true score to the nearest place with the same notes in the claimed score, if there is one.

    Args:
        claimed: score of the claim
        true: score of the truth
        inside: true score times of the passage, s
        near: distance of the claim, beats
    """
    if len(inside) < 2:
        return 0.0, True
    first, last = beats_of(true, np.array([inside.min(), inside.max()]))
    shifts = [start - first for start in places(claimed, passage(true, first, last))]
    return (min(shifts, key=lambda shift: abs(shift - near)), True) if shifts else (near, False)


def passage(score: Score, first: float, last: float) -> np.ndarray:
    """Notes from beat `first` to `last` (notes, 2): distance from `first` in steps of GRID to a beat, and pitch; sorted."""
    step = np.round((beats_of(score, score.notes.onset) - first) * GRID).astype(int)
    inside = (step >= 0) & (step <= round((last - first) * GRID))
    return np.unique(np.stack([step[inside], score.notes.pitch[inside].astype(int)], 1), axis=0)


def places(score: Score, notes: np.ndarray) -> list[float]:
    """Beats at which the score holds exactly the notes of a passage."""
    length = notes[-1, 0] / GRID
    starts = np.unique(beats_of(score, score.notes.onset[score.notes.pitch == notes[0, 1]]))
    return [float(start) for start in starts if np.array_equal(passage(score, start, start + length), notes)]


def beats_of(score: Score, seconds: np.ndarray) -> np.ndarray:
    """Places in beats of score times (s)."""
    beats = _beats(score)
    return np.interp(seconds, beats, np.arange(len(beats)) - BEYOND)


def seconds_of(score: Score, beats: np.ndarray) -> np.ndarray:
    """Score times (s) of places in beats."""
    times = _beats(score)
    return np.interp(beats, np.arange(len(times)) - BEYOND, times)


def _beats(score: Score) -> np.ndarray:
    """Beats of a score and as many as `BEYOND` before and after, s."""
    steps, beats = np.arange(1, BEYOND + 1), score.beats
    before, after = np.diff(beats)[[0, -1]]
    return np.concatenate([beats[0] - before * steps[::-1], beats, beats[-1] + after * steps])


def bar_names(score: Score, onset: np.ndarray) -> str:
    """First and last bar of onsets (s), counted from 1; 0: before the first."""
    first, last = np.searchsorted(score.bars, [onset.min() + 1e-6, onset.max() + 1e-6], side="right")
    return f"bars {first}-{last}"
