"""From a path to the times of a score's notes, beats and bars in the recording, each with how sure it is."""

from itertools import pairwise

import numpy as np

from models.alignment.dtw import Path
from models.alignment.similarity import Similarity
from models.alignment.time_map import TimeMap, confidence
from tasks.alignment.aligned import Aligned, Course, Pass
from tasks.alignment.options import AlignmentOptions
from tasks.alignment.pictures import pooled
from tasks.alignment.search import AlignmentPlan

# Onsets moved from the path to where the sound of their notes rises next to it.

WITHIN_S = 0.04
HOP_S = 0.004
WINDOW_S = 0.046
PARTIALS = 3


def refined(audio: np.ndarray, rate: int, onsets: np.ndarray, pitch: np.ndarray, cents: float) -> np.ndarray:
    """Onsets (notes,) in s of notes of these MIDI pitches; those that sound nowhere (NaN) stay.

    Around each the energy of its first partials is followed in windows of 46 ms, 4 ms apart. The onset goes to where it rises
    most, in dB over a window, within 40 ms, a rise far away counting less; where nothing rises it stays. It helps where
    notes stand apart and the path is off by a frame, not in a thick or noisy sound: off by default.
    """
    hop, window = round(HOP_S * rate), round(WINDOW_S * rate)
    reach = round(WITHIN_S / HOP_S)
    padded = np.pad(audio.astype(np.float64), window + (reach + 1) * hop)
    found = onsets.copy()
    times = np.arange(-reach, reach + 1)
    nearness = 1 - 0.9 * np.abs(times) / reach
    shape = np.hanning(window)
    for place, (onset, one) in enumerate(zip(onsets, pitch.astype(float), strict=True)):
        if not np.isfinite(onset):
            continue
        hertz = 440.0 * 2 ** ((one - 69 + cents / 100) / 12) * np.arange(1, PARTIALS + 1)
        probe = shape * np.exp(-2j * np.pi * hertz[hertz < rate / 2, None] * np.arange(window) / rate)
        centre = round(onset * rate) + window + (reach + 1) * hop
        after = centre + times * hop
        level = [10 * np.log10(_energy(padded, starts, probe) + 1e-9) for starts in (after, after - window)]
        rise = np.clip(level[0] - level[1], 0, 30) * nearness
        if rise.max() > 3.0:
            found[place] = max(0.0, onset + times[rise.argmax()] * hop / rate)
    return found


def _energy(audio: np.ndarray, starts: np.ndarray, probe: np.ndarray) -> np.ndarray:
    """Energy of the partials in a window from each start on, (starts,)."""
    starts = np.clip(starts, 0, len(audio) - probe.shape[1])
    windows = np.stack([audio[start : start + probe.shape[1]] for start in starts])
    return np.square(np.abs(windows @ probe.T)).sum(1)


SHORTEST_S = 0.02
"""What a note sounds at least, s."""
DOUBTFUL = 0.1
"""Confidence under which a passage is named to the user."""


class ScoreToRecording:
    """Score s -> recording s, in the first pass that has the moment; NaN where the recording leaves it out."""

    def __init__(self, parts: list[Path], plan: AlignmentPlan, frame_s: float) -> None:
        self.maps = [TimeMap.from_path(part, frame_s) for part in parts]
        self.passes, self.stretch = passes_of(parts, plan, frame_s), plan.stretch

    def __call__(self, score_s: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
        """Times of any shape; `of`: moments whose pass counts instead, as a note's onset does for its end."""
        score_s = np.asarray(score_s, np.float64)
        of = score_s if of is None else of
        found = np.full(score_s.shape, np.nan)
        for time_map, one in zip(self.maps, self.passes, strict=True):
            inside = np.isnan(found) & (one.score_start <= of) & (of < one.score_end)
            found[inside] = time_map(score_s[inside] * self.stretch)
        return np.maximum(found, 0.0)


def timed(path: str, audio: np.ndarray, plan: AlignmentPlan, course: Course, net: Similarity, how: AlignmentOptions) -> Aligned:
    """The alignment of a recording (samples,) at the network's rate by a course through its score as planned."""
    frame_s, score, clock = net.frame_s, plan.score, ScoreToRecording(course.parts, plan, net.frame_s)
    sure = np.max([confidence(course.costs, part) for part in course.parts], axis=0)

    def believed(score_s: np.ndarray) -> np.ndarray:
        return sure[np.clip(np.round(score_s * plan.stretch / frame_s).astype(int), 0, len(sure) - 1)]

    notes_s = _notes(audio, net.sample_rate, plan, clock, how)
    return Aligned(
        path=path,
        score=score,
        time_map=clock,
        notes_s=notes_s,
        beats_s=clock(score.beats),
        bars_s=clock(score.bars),
        note_confidence=believed(score.notes.onset),
        beat_confidence=believed(score.beats),
        bar_confidence=believed(score.bars),
        passes=clock.passes,
        rows=np.concatenate([part.rows for part in course.parts]),
        columns=np.concatenate([part.columns for part in course.parts]) / plan.stretch,
        frame_s=frame_s,
        distance=pooled(course.costs),
        extent=(course.costs.shape[0] * frame_s, course.costs.shape[1] * frame_s / plan.stretch),
        audio=audio,
        sample_rate=net.sample_rate,
        transposition=plan.semitones,
        tuning_cents=plan.cents,
        unfolding=plan.way,
        cost=course.cost,
        span=(float(np.nanmin(notes_s[:, 0])), float(np.nanmax(notes_s[:, 1]))),
        remarks=remarks(plan, clock.passes, sure),
    )


def _notes(audio: np.ndarray, rate: int, plan: AlignmentPlan, clock: ScoreToRecording, how: AlignmentOptions) -> np.ndarray:
    """Onsets and ends of the notes in the recording (notes, 2), each sounding a little and within it."""
    notes, duration = plan.score.notes, len(audio) / rate
    onsets = np.minimum(clock(notes.onset), duration)
    if how.refine:
        onsets = refined(audio, rate, onsets, notes.pitch + plan.semitones, plan.cents)
    offsets = np.minimum(clock(notes.offset, notes.onset), duration)
    return np.stack([onsets, np.maximum(offsets, onsets + SHORTEST_S)], 1)


def passes_of(parts: list[Path], plan: AlignmentPlan, frame_s: float) -> list[Pass]:
    """The ways through parts of the score: from jump to jump; the first begins before, the last ends after all there is."""
    end, bars = float(plan.score.notes.offset.max()) + 1.0, np.append(0.0, plan.score.bars)
    passes = []
    for place, part in enumerate(parts):
        first, last = part.columns[0] * frame_s / plan.stretch, (part.columns[-1] + 1) * frame_s / plan.stretch
        start = 0.0 if place == 0 else float(bars[np.abs(bars - first).argmin()])
        stop = end if place == len(parts) - 1 else float(bars[np.abs(bars - last).argmin()])
        following = parts[place + 1].rows[0] if place < len(parts) - 1 else part.rows[-1] + 1
        passes.append(Pass(start, stop, float(part.rows[0] * frame_s), float(following * frame_s)))
    return passes


def remarks(plan: AlignmentPlan, passes: list[Pass], sure: np.ndarray) -> list[str]:
    """What the user ought to know: another key or tuning, jumps, doubts."""
    said = []
    if plan.semitones:
        way = "above" if plan.semitones > 0 else "below"
        said.append(f"the recording is {abs(plan.semitones)} semitone{'s' * (abs(plan.semitones) > 1)} {way} the score.")
    if abs(plan.cents) > 20:
        said.append(f"the recording is tuned {plan.cents:+.0f} cents from 440 Hz.")
    for before, after in pairwise(passes):
        what = "leaves out" if after.score_start > before.score_end else "goes back over"
        span = sorted((before.score_end, after.score_start))
        said.append(f"at {after.start:.1f} s the recording {what} {span[0]:.1f} to {span[1]:.1f} s of the score.")
    if np.median(sure) < DOUBTFUL:
        said.append("score and recording hardly agree: are they of the same music?")
    return said
