"""Times of a score's events: warping path -> notes, beats and bars in recording time with confidences; onset refinement."""

from itertools import pairwise

import numpy as np

from models.alignment.dtw import Path
from models.alignment.similarity import Similarity
from models.alignment.time_map import TimeMap, confidence
from tasks.alignment.aligned import Aligned, ScoreSegment, WarpingPath
from tasks.alignment.options import AlignmentOptions
from tasks.alignment.pictures import pooled
from tasks.alignment.search import AlignmentPlan

# Onset refinement

WITHIN_S = 0.04
HOP_S = 0.004
WINDOW_S = 0.046
PARTIALS = 3


def refined(audio: np.ndarray, rate: int, onsets: np.ndarray, pitch: np.ndarray, cents: float) -> np.ndarray:
    """Move onsets to the strongest rise of their notes' energy.

    The energy of the first partials is measured in windows of 46 ms with a hop of 4 ms. An onset moves to the largest rise in
    dB within 40 ms, weighted by nearness, and stays if there is none. This helps if notes are separate and the path is wrong by
    a frame, but not in dense or noisy recordings: off by default.

    Args:
        audio: (samples,) recording
        rate: sample rate, Hz
        onsets: (notes,) s; NaN for omitted notes, which stay
        pitch: (notes,) MIDI numbers
        cents: tuning above 440 Hz
    """
    hop, window = round(HOP_S * rate), round(WINDOW_S * rate)
    reach = round(WITHIN_S / HOP_S)
    padded = np.pad(audio.astype(np.float64), window + (reach + 1) * hop)
    moved = onsets.copy()
    times = np.arange(-reach, reach + 1)
    nearness = 1 - 0.9 * np.abs(times) / reach
    shape = np.hanning(window)
    for index, (onset, note) in enumerate(zip(onsets, pitch.astype(float), strict=True)):
        if not np.isfinite(onset):
            continue
        hertz = 440.0 * 2 ** ((note - 69 + cents / 100) / 12) * np.arange(1, PARTIALS + 1)
        probe = shape * np.exp(-2j * np.pi * hertz[hertz < rate / 2, None] * np.arange(window) / rate)
        centre = round(onset * rate) + window + (reach + 1) * hop
        after = centre + times * hop
        level = [10 * np.log10(_energy(padded, starts, probe) + 1e-9) for starts in (after, after - window)]
        rise = np.clip(level[0] - level[1], 0, 30) * nearness
        if rise.max() > 3.0:
            moved[index] = max(0.0, onset + times[rise.argmax()] * hop / rate)
    return moved


def _energy(audio: np.ndarray, starts: np.ndarray, probe: np.ndarray) -> np.ndarray:
    """Energy of the partials in the window after each start, (starts,)."""
    starts = np.clip(starts, 0, len(audio) - probe.shape[1])
    windows = np.stack([audio[start : start + probe.shape[1]] for start in starts])
    return np.square(np.abs(windows @ probe.T)).sum(1)


# Times and confidences

SHORTEST_S = 0.02
"""Shortest duration of a note, s."""
DOUBTFUL = 0.1
"""Median confidence below which the user is warned."""


class ScoreToRecording:
    """Map from score time to recording time (s) in the first matching segment; NaN for omitted passages."""

    def __init__(self, parts: list[Path], plan: AlignmentPlan, frame_s: float) -> None:
        self.maps = [TimeMap.from_path(part, frame_s) for part in parts]
        self.segments, self.stretch = segments_of(parts, plan, frame_s), plan.stretch

    def __call__(self, score_s: np.ndarray, anchors: np.ndarray | None = None) -> np.ndarray:
        """Map times of any shape.

        Args:
            score_s: times in the score, s
            anchors: times that choose the segment instead, such as the onset of a note for its offset
        """
        score_s = np.asarray(score_s, np.float64)
        anchors = score_s if anchors is None else anchors
        times = np.full(score_s.shape, np.nan)
        for time_map, segment in zip(self.maps, self.segments, strict=True):
            inside = np.isnan(times) & (segment.score_start <= anchors) & (anchors < segment.score_end)
            times[inside] = time_map(score_s[inside] * self.stretch)
        return np.maximum(times, 0.0)


def timed(
    path: str, audio: np.ndarray, plan: AlignmentPlan, warping: WarpingPath, net: Similarity, options: AlignmentOptions
) -> Aligned:
    """Alignment of a recording (samples,) at the network's rate from its plan and warping path."""
    frame_s, score, clock = net.frame_s, plan.score, ScoreToRecording(warping.parts, plan, net.frame_s)
    by_frame = np.max([confidence(warping.costs, part) for part in warping.parts], axis=0)

    def confidence_at(score_s: np.ndarray) -> np.ndarray:
        return by_frame[np.clip(np.round(score_s * plan.stretch / frame_s).astype(int), 0, len(by_frame) - 1)]

    notes_s = _notes(audio, net.sample_rate, plan, clock, options)
    return Aligned(
        path=path,
        score=score,
        time_map=clock,
        notes_s=notes_s,
        beats_s=clock(score.beats),
        bars_s=clock(score.bars),
        note_confidence=confidence_at(score.notes.onset),
        beat_confidence=confidence_at(score.beats),
        bar_confidence=confidence_at(score.bars),
        segments=clock.segments,
        rows=np.concatenate([part.rows for part in warping.parts]),
        columns=np.concatenate([part.columns for part in warping.parts]) / plan.stretch,
        frame_s=frame_s,
        distance=pooled(warping.costs),
        extent=(warping.costs.shape[0] * frame_s, warping.costs.shape[1] * frame_s / plan.stretch),
        audio=audio,
        sample_rate=net.sample_rate,
        transposition=plan.semitones,
        tuning_cents=plan.cents,
        unfolding=plan.way,
        cost=warping.cost,
        span=(float(np.nanmin(notes_s[:, 0])), float(np.nanmax(notes_s[:, 1]))),
        remarks=remarks(plan, clock.segments, by_frame),
    )


def _notes(audio: np.ndarray, rate: int, plan: AlignmentPlan, clock: ScoreToRecording, options: AlignmentOptions) -> np.ndarray:
    """Onsets and offsets of the notes in the recording (notes, 2), s, with a minimum duration."""
    notes, duration = plan.score.notes, len(audio) / rate
    onsets = np.minimum(clock(notes.onset), duration)
    if options.refine:
        onsets = refined(audio, rate, onsets, notes.pitch + plan.semitones, plan.cents)
    offsets = np.minimum(clock(notes.offset, notes.onset), duration)
    return np.stack([onsets, np.maximum(offsets, onsets + SHORTEST_S)], 1)


def segments_of(parts: list[Path], plan: AlignmentPlan, frame_s: float) -> list[ScoreSegment]:
    """Segments of the score between jumps; the first starts at 0, the last ends after the last note."""
    end, bars = float(plan.score.notes.offset.max()) + 1.0, np.append(0.0, plan.score.bars)
    segments = []
    for index, part in enumerate(parts):
        first, last = part.columns[0] * frame_s / plan.stretch, (part.columns[-1] + 1) * frame_s / plan.stretch
        start = 0.0 if index == 0 else float(bars[np.abs(bars - first).argmin()])
        stop = end if index == len(parts) - 1 else float(bars[np.abs(bars - last).argmin()])
        following = parts[index + 1].rows[0] if index < len(parts) - 1 else part.rows[-1] + 1
        segments.append(ScoreSegment(start, stop, float(part.rows[0] * frame_s), float(following * frame_s)))
    return segments


def remarks(plan: AlignmentPlan, segments: list[ScoreSegment], by_frame: np.ndarray) -> list[str]:
    """Messages for the user: transposition, tuning, jumps and low confidence."""
    messages = []
    if plan.semitones:
        direction = "above" if plan.semitones > 0 else "below"
        count = abs(plan.semitones)
        messages.append(f"the recording is {count} semitone{'s' * (count > 1)} {direction} the score.")
    if abs(plan.cents) > 20:
        messages.append(f"the recording is tuned {plan.cents:+.0f} cents from 440 Hz.")
    for before, after in pairwise(segments):
        action = "omits" if after.score_start > before.score_end else "repeats"
        span = sorted((before.score_end, after.score_start))
        messages.append(f"at {after.start:.1f} s the recording {action} {span[0]:.1f} to {span[1]:.1f} s of the score.")
    if (median := np.median(by_frame)) < DOUBTFUL:
        messages.append(f"low confidence (median {median:.2f}): the score may belong to another piece")
    return messages
