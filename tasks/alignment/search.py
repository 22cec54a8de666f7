"""Alignment search: recording and unfoldings of its score -> plan with transposition, tuning, tempo, repeats and jumps."""

from typing import NamedTuple

import numpy as np

from datamodules.alignment.score import Score
from datamodules.alignment.sounds import synthesize
from datamodules.audio.level import is_silent
from datamodules.audio.reading import mono
from datamodules.common.errors import DataError
from models.alignment.costs import FeatureCosts
from models.alignment.dtw import STEPS, Path
from models.alignment.jumps import JumpPath, inner, jump_dtw, surrounded
from models.alignment.multiscale import Outline, subsequence_path, tuning_cents
from tasks.alignment.options import AlignmentOptions

CLEARLY = 0.97
"""Largest cost of another key or unfolding relative to the written one."""
TEMPI = (0.2, 5.0)
RANGE_DB = 45.0
"""Level below the loudest half second above which others count as sound, dB."""
LAST_S = 0.5
"""Duration of the synthesized score after its last note, s."""


class BarJump(NamedTuple):
    """Jump from the end of one bar to the start of another, s in the score."""

    source: float
    target: float


class AlignmentPlan(NamedTuple):
    """Performance of the score that resembles the recording."""

    score: Score
    way: str  # name of the unfolding; empty if there is only one
    cents: float  # tuning of the recording above 440 Hz
    semitones: int  # transposition of the recording above the score
    stretch: float  # mean duration of one second of the score in the recording, s
    jumps: tuple[BarJump, ...]


class AlignmentSearch:
    """Compare outlines (coarse features) of a recording and of its score in each unfolding.

    Args:
        options: inference options
        sample_rate: sample rate of recordings, the network's, Hz; outlines have their own
    """

    def __init__(self, options: AlignmentOptions, sample_rate: int) -> None:
        self.options, self.sample_rate, self.outline = options, sample_rate, Outline()
        self.rate = self.outline.front.sample_rate

    def __call__(self, audio: np.ndarray, ways: list[tuple[str, Score]]) -> AlignmentPlan:
        """Plan the alignment of a recording (samples,) at `sample_rate`.

        Raises:
            DataError: the recording is silent.
        """
        audio = mono(audio, self.sample_rate, self.rate)
        begin, end = sounding(audio, self.rate)
        ways = ways if self.options.repeats == "find" else ways[:1]
        cents = tuning_cents(audio, self.rate) if self.options.tuning else 0.0
        recording = self.outline(audio, cents)
        sketches = [self.outline_of(score, tempo(score, end - begin)) for _, score in ways]
        semitones = self._key(recording, sketches[0])
        recording = self.outline.shifted(recording, semitones)
        way = _cheapest({index: _misfit(recording, sketch) for index, sketch in enumerate(sketches)}, 0)
        name, score = ways[way]
        stretch, jumps = self._bar_jumps(recording, score, tempo(score, end - begin), sketches[way])
        return AlignmentPlan(score, name if len(ways) > 1 else "", cents, semitones, stretch, jumps)

    def outline_of(self, score: Score, stretch: float) -> np.ndarray:
        """Outline of a score, slower by the factor `stretch`."""
        return self.outline(synthesized(score, stretch, self.rate))

    def _key(self, recording: np.ndarray, sketch: np.ndarray) -> int:
        """Transposition of the recording above the score, semitones."""
        shifts = range(-self.options.transposition, self.options.transposition + 1)
        return _cheapest({shift: subsequence_path(self.outline.shifted(recording, shift), sketch)[1] for shift in shifts}, 0)

    def _bar_jumps(
        self, recording: np.ndarray, score: Score, stretch: float, sketch: np.ndarray
    ) -> tuple[float, tuple[BarJump, ...]]:
        """Tempo, corrected for omitted and repeated passages, and jumps between bars that reduce the cost."""
        jumps: tuple[BarJump, ...] = ()
        for again in (False, True):  # the second time at a tempo corrected by the jumps of the first
            sketch = self.outline_of(score, stretch) if again else sketch
            frames = np.round(score.bars * stretch / self.outline.frame_s).astype(int)
            bars = np.flatnonzero((frames > 0) & (frames < len(sketch))) if self.options.repeats == "find" else np.zeros(0, int)
            jumped, parts = self._jumped(recording, sketch, frames[bars])
            times = dict(zip([0, *frames[bars].tolist()], [0.0, *score.bars[bars].tolist()], strict=True))
            jumps = tuple(BarJump(times[jump.source], times[jump.target - 1]) for jump in jumped.jumps)
            rows, columns = (sum(_span(getattr(part, side)) for part in parts) for side in ("rows", "columns"))
            stretch = float(np.clip(stretch * rows / columns, *TEMPI))
            if not jumps:
                break
        return stretch, jumps

    def _jumped(self, recording: np.ndarray, sketch: np.ndarray, bars: np.ndarray) -> tuple[JumpPath, list[Path]]:
        """Path through the outlines with jumps between bars in padded columns, and its parts in the score's columns."""
        costs = FeatureCosts(recording, sketch, "cosine")
        around, level = surrounded(costs, self.options.open_ends)
        penalty = self.options.jump_s / self.outline.frame_s * level
        jumped = jump_dtw(around, STEPS["unit"], bars, np.append(0, bars) + 1, penalty)
        return jumped, [part for segment in jumped.segments if (part := inner(segment, costs.shape))]


def sounding(audio: np.ndarray, rate: int) -> tuple[float, float]:
    """Start and end of the sound in a recording, s.

    Raises:
        DataError: the recording is silent.
    """
    size = max(1, rate // 2)
    blocks = np.pad(audio, (0, -len(audio) % size)).reshape(-1, size)
    level = 10 * np.log10(np.square(blocks, dtype=np.float64).mean(1) + 1e-12)
    if is_silent(audio):
        raise DataError("it is silent: expected a recording of the score's music.")
    loud = np.flatnonzero(level > level.max() - RANGE_DB)
    return float(loud[0] * size / rate), min((loud[-1] + 1) * size, len(audio)) / rate


def synthesized(score: Score, stretch: float, rate: int, semitones: int = 0) -> np.ndarray:
    """Synthesize a score (samples,) slower by `stretch` and higher by `semitones`, until `LAST_S` after its last note."""
    notes = score.notes
    pitch = np.where(notes.program < 0, notes.pitch, np.clip(notes.pitch + semitones, 0, 127)).astype(np.int16)
    notes = notes._replace(onset=notes.onset * stretch, offset=notes.offset * stretch, pitch=pitch)
    return synthesize(notes, rate)[: round((float(notes.offset.max()) + LAST_S) * rate)]


def tempo(score: Score, duration: float) -> float:
    """Mean duration of one second of the score in the recording if it is played completely, s."""
    return float(np.clip(duration / max(float(score.notes.offset.max()), 0.1), *TEMPI))


def _misfit(recording: np.ndarray, sketch: np.ndarray) -> float:
    """Mean cost of the best path plus a penalty for omitted frames, so that a short unfolding is not preferred."""
    path, cost = subsequence_path(recording, sketch)
    return cost + 0.5 * (1 - _span(path.rows) / len(recording))


def _cheapest(costs: dict[int, float], written: int) -> int:
    """Choice of least cost; `written` unless another costs less than `CLEARLY` times as much."""
    best = min(costs, key=lambda choice: (costs[choice], abs(choice)))
    return best if costs[best] < CLEARLY * costs[written] else written


def _span(frames: np.ndarray) -> int:
    return int(frames[-1] - frames[0]) + 1
