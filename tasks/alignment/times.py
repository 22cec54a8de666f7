"""Times of a score's events: warping path -> notes, beats and bars in recording time with confidences; onset refinement."""

import numpy as np

from datamodules.alignment.score import Score
from models.alignment.passages import PassageMap
from models.alignment.similarity import Similarity
from tasks.alignment.aligned import Aligned, ScoreSegment
from tasks.alignment.options import AlignmentOptions
from tasks.alignment.pictures import pooled
from tasks.alignment.remarks import remarks
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


class ScoreToRecording:
    """Map from score time to recording time (s) in the first matching passage; NaN for omitted ones."""

    def __init__(self, passages: list[PassageMap], score: Score) -> None:
        self.passages, end = passages, float(score.notes.offset.max()) + 1.0
        following = [passage.start for passage in passages[1:]] + [passages[-1].end]
        self.segments = [
            ScoreSegment(max(0.0, passage.score_start), min(end, passage.score_end), passage.start, min(passage.end, after))
            for passage, after in zip(passages, following, strict=True)
        ]

    def __call__(self, score_s: np.ndarray, anchors: np.ndarray | None = None) -> np.ndarray:
        """Map times of any shape.

        Args:
            score_s: times in the score, s
            anchors: times that choose the passage instead, such as the onset of a note for its offset
        """
        score_s = np.asarray(score_s, np.float64)
        anchors = score_s if anchors is None else anchors
        times = np.full(score_s.shape, np.nan)
        for passage in self.passages:
            inside = np.isnan(times) & (passage.score_start <= anchors) & (anchors < passage.score_end)
            times[inside] = passage.time_map(score_s[inside])
        return np.maximum(times, 0.0)

    def confidence(self, score_s: np.ndarray) -> np.ndarray:
        """Confidence of times (k,) in the score; of the surest passage if several play them, 0 if none does."""
        values = np.zeros(len(score_s))
        for passage in self.passages:
            inside = (passage.score_start <= score_s) & (score_s < passage.score_end)
            own = np.interp(score_s[inside], passage.time_map.score_s, passage.confidence)
            values[inside] = np.maximum(values[inside], own)
        return values


def timed(
    path: str, audio: np.ndarray, plan: AlignmentPlan, passages: list[PassageMap], net: Similarity, options: AlignmentOptions
) -> Aligned:
    """Alignment of a recording (samples,) at the network's rate from its plan and passages."""
    score, result, clock = plan.score, plan.result, ScoreToRecording(passages, plan.score)
    notes_s = _notes(audio, net.sample_rate, plan, clock, options)
    aligned = Aligned(
        path=path,
        score=score,
        time_map=clock,
        notes_s=notes_s,
        beats_s=clock(score.beats),
        bars_s=clock(score.bars),
        note_confidence=clock.confidence(score.notes.onset),
        beat_confidence=clock.confidence(score.beats),
        bar_confidence=clock.confidence(score.bars),
        segments=clock.segments,
        rows=np.concatenate([passage.rows for passage in passages]),
        columns=np.concatenate([passage.score_s for passage in passages]) / net.frame_s,
        frame_s=net.frame_s,
        distance=pooled(result.distances),
        extent=(result.distances.shape[0] * result.frame_s, result.distances.shape[1] * result.frame_s / result.stretch),
        audio=audio,
        sample_rate=net.sample_rate,
        transposition=result.semitones if result.related else 0,
        tuning_cents=plan.cents,
        unfolding=plan.way,
        cost=float(np.concatenate([passage.costs for passage in passages]).mean()),
        span=_span(notes_s, passages[-1], score, len(audio) / net.sample_rate),
        remarks=[],
    )
    messages = remarks(aligned, result.related)
    if not result.related and (options.max_deviation is not None or options.anchors):
        messages.append("--model.inference.max_deviation and anchors may forbid its path.")
    return aligned._replace(remarks=messages)


def _span(notes_s: np.ndarray, last: PassageMap, score: Score, duration: float) -> tuple[float, float]:
    """Start of the first played note and end of the last, s; NaN if none is played.

    `notes_s` are times of the first playing, so that the end of the last passage, which may repeat another, is its own.
    """
    played = notes_s[np.isfinite(notes_s).all(1)]
    if not len(played):
        return float("nan"), float("nan")
    notes = score.notes
    inside = (last.score_start <= notes.onset) & (notes.onset < last.score_end)
    end = float(np.max(last.time_map(notes.offset[inside]), initial=0.0))
    return float(played[:, 0].min()), max(float(played[:, 1].max()), min(end, duration))


def _notes(audio: np.ndarray, rate: int, plan: AlignmentPlan, clock: ScoreToRecording, options: AlignmentOptions) -> np.ndarray:
    """Onsets and offsets of the notes in the recording (notes, 2), s, with a minimum duration."""
    notes, duration = plan.score.notes, len(audio) / rate
    onsets = np.minimum(clock(notes.onset), duration)
    if options.refine:
        onsets = refined(audio, rate, onsets, notes.pitch + plan.result.semitones, plan.cents)
    offsets = np.minimum(clock(notes.offset, notes.onset), duration)
    return np.stack([onsets, np.maximum(offsets, onsets + SHORTEST_S)], 1)
