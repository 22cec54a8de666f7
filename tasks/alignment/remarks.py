"""Messages on an alignment: key, tuning, omitted and repeated bars, parts without music of the score, another piece."""

from bisect import bisect_right
from itertools import pairwise

import numpy as np

from datamodules.alignment.score import Score
from datamodules.audio.level import is_silent
from tasks.alignment.aligned import Aligned

SAME_S = 1e-6
"""Tolerance for equal times in the score, s."""
NEAR_S = 0.25
"""Distance from the beginning of a passage to a note that counts as its first, s of the score."""
LEAST_S = 2.0
"""Shortest part of the recording without music of the score that is named, s."""
RANGE_DB = 45.0
"""Level below the loudest half second above which others count as sound, dB."""
ANOTHER = "recording and score hardly agree: the score may belong to another piece, and the times are guesses."


def remarks(aligned: Aligned, related: bool) -> list[str]:
    """Messages for the user.

    Args:
        aligned: alignment
        related: False if the score seems to belong to another piece; nothing else is said then
    """
    if not related:
        return [ANOTHER]
    messages = []
    if aligned.transposition:
        direction = "above" if aligned.transposition > 0 else "below"
        count = abs(aligned.transposition)
        messages.append(f"the recording is {count} semitone{'s' * (count > 1)} {direction} the score.")
    if abs(aligned.tuning_cents) > 20:
        messages.append(f"the recording is tuned {aligned.tuning_cents:+.0f} cents from 440 Hz.")
    return messages + left_out_of_score(aligned) + jumps(aligned) + left_out_of_recording(aligned)


def jumps(aligned: Aligned) -> list[str]:
    """Bars omitted or repeated between passages."""
    messages = []
    for before, after in pairwise(aligned.segments):
        action = "omits" if after.score_start > before.score_end else "repeats"
        bars = bars_between(aligned.score, *sorted((before.score_end, after.score_start)))
        if bars:
            messages.append(f"at {after.start:.1f} s the recording {action} {bars}.")
    return messages


def left_out_of_score(aligned: Aligned) -> list[str]:
    """Bars before the first passage and after the last that the recording does not hold."""
    score, onsets = aligned.score, aligned.score.notes.onset
    first = _onset_near(onsets, min(segment.score_start for segment in aligned.segments))
    last = max(segment.score_end for segment in aligned.segments)
    parts = []
    if (onsets < first - SAME_S).any():
        parts.append(bars_between(score, 0.0, first))
    if (onsets >= last).any():
        parts.append(bars_between(score, last, float(onsets.max()) + 1.0, whole=False))
    parts = [part for part in parts if part]
    if not parts:
        return []
    begin, end = _bar_near(score, aligned.segments[0].score_start), aligned.segments[-1].score_end - 2 * SAME_S
    begin, end = bar_name(score, begin), bar_name(score, end)
    verb = "is" if len(parts) == 1 and parts[0].startswith("bar ") else "are"
    return [f"the recording begins in bar {begin} and ends in bar {end}; {' and '.join(parts)} of the score {verb} not in it."]


def _onset_near(onsets: np.ndarray, start: float) -> float:
    """First onset within `NEAR_S` after a time in the score, else the time: an excerpt may be cut just before a bar."""
    near = onsets[(onsets >= start) & (onsets <= start + NEAR_S)]
    return float(near.min()) if len(near) else start


def _bar_near(score: Score, start: float) -> float:
    """Start of a bar within `NEAR_S` after a time in the score, else the first onset after it, or the time."""
    near = score.bars[(score.bars >= start) & (score.bars <= start + NEAR_S)]
    return float(near[0]) if len(near) else _onset_near(score.notes.onset, start)


def left_out_of_recording(aligned: Aligned) -> list[str]:
    """Parts of the recording that sound and hold no music of the score."""
    edges = [(0.0, aligned.segments[0].start), (aligned.span[1], aligned.duration_s)]
    gaps = [(before.end, after.start) for before, after in pairwise(aligned.segments)]
    messages = []
    for start, end in sorted([*edges, *gaps]):
        if end - start >= LEAST_S and sounds(aligned, start, end):
            messages.append(f"{start:.1f} to {end:.1f} s of the recording are not in the score.")
    return messages


def sounds(aligned: Aligned, start: float, end: float) -> bool:
    """True if more than `LEAST_S` of a part of the recording are louder than `RANGE_DB` below its loudest."""
    rate, size = aligned.sample_rate, max(1, aligned.sample_rate // 2)
    level = _level(aligned.audio, size)
    part = aligned.audio[round(start * rate) : round(end * rate)]
    loud = _level(part, size) > level.max() - RANGE_DB
    return not is_silent(part) and loud.sum() * 0.5 >= LEAST_S


def _level(audio: np.ndarray, size: int) -> np.ndarray:
    """Level of blocks of `size` samples, dB."""
    edges = np.arange(0, max(len(audio), 1), size)
    power = np.array([np.square(audio[edge : edge + size], dtype=np.float64).sum() / size for edge in edges])
    return 10 * np.log10(power + 1e-12)


def measure_of(score: Score, score_s: float) -> tuple[str, int | str]:
    """Printed number of the measure at a time in the score, and the count of its playings; empty for MIDI and ABC."""
    index = bisect_right(score.measures, score_s + SAME_S, key=lambda measure: measure.start) - 1
    return (score.measures[index].measure, score.measures[index].playing) if index >= 0 else ("", "")


def bar_name(score: Score, score_s: float) -> str:
    """Bar at a time in the score: the printed number, with the pass if it is played again; else counted from 1, 0 before it."""
    number, playing = measure_of(score, score_s)
    if not number:
        return str(int(np.searchsorted(score.bars, score_s + SAME_S, side="right")))
    return number + (f" (pass {playing})" if playing != 1 else "")


def bars_between(score: Score, start: float, end: float, whole: bool = True) -> str:
    """Bars that begin between two times in the score, such as `bars 3 to 8`; empty if there is none.

    whole: omit a bar that ends after `end`
    """
    starts = np.array([measure.start for measure in score.measures]) if score.measures else score.bars
    inside = (starts >= start - SAME_S) & (starts < end - SAME_S)
    if whole:
        inside &= np.append(starts[1:], score.notes.offset.max())[: len(starts)] <= end + SAME_S
    inside = starts[inside]
    if not len(inside):
        return ""
    names = [bar_name(score, float(time)) for time in (inside[0], inside[-1])]
    return f"bar {names[0]}" if names[0] == names[1] else f"bars {names[0]} to {names[1]}"
