"""What is decided about a recording before its frames are compared: key, tuning, tempo, and the way through the score."""

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
from models.alignment.multiscale import Outline, course, tuning_cents
from tasks.alignment.options import AlignmentOptions

CLEARLY = 0.97
"""Another key or way must cost less than this share of what is written."""
TEMPI = (0.2, 5.0)
RANGE_DB = 45.0
"""Under the loudest half second by which others still sound."""
LAST_S = 0.5
"""Of a score's own sound after its last note."""


class Leap(NamedTuple):
    """A jump from the end of one bar to the beginning of another, s in the score."""

    source: float
    target: float


class AlignmentPlan(NamedTuple):
    """How the score is to be played so that it is like the recording."""

    score: Score
    way: str  # through the repeats, as the file calls it; empty where it has one
    cents: float  # the recording is tuned above 440 Hz
    semitones: int  # the recording is above the score
    stretch: float  # seconds of the recording for one of the score, on average
    leaps: tuple[Leap, ...]


class Searcher:
    """Decides by the outlines of a recording and of its score, played in each of the ways it may be.

    Args:
        how: what is to be decided
        sample_rate: of the recordings, which is the network's, Hz; outlines have a rate of their own, whatever it is
    """

    def __init__(self, how: AlignmentOptions, sample_rate: int) -> None:
        self.how, self.sample_rate, self.outline = how, sample_rate, Outline()
        self.rate = self.outline.front.sample_rate

    def __call__(self, audio: np.ndarray, ways: list[tuple[str, Score]]) -> AlignmentPlan:
        """The plan for a recording (samples,) at `sample_rate`. Raises DataError for one without sound."""
        audio = mono(audio, self.sample_rate, self.rate)
        begin, end = sounding(audio, self.rate)
        ways = ways if self.how.repeats == "find" else ways[:1]
        cents = tuning_cents(audio, self.rate) if self.how.tuning else 0.0
        heard = self.outline(audio, cents)
        sketches = [self.played(score, tempo(score, end - begin)) for _, score in ways]
        semitones = self._key(heard, sketches[0])
        heard = self.outline.shifted(heard, semitones)
        way = _cheapest({place: _misfit(heard, sketch) for place, sketch in enumerate(sketches)}, 0)
        name, score = ways[way]
        stretch, leaps = self._leaps(heard, score, tempo(score, end - begin), sketches[way])
        return AlignmentPlan(score, name if len(ways) > 1 else "", cents, semitones, stretch, leaps)

    def played(self, score: Score, stretch: float) -> np.ndarray:
        """Outline of a score, so many times slower."""
        return self.outline(sound_of(score, stretch, self.rate))

    def _key(self, heard: np.ndarray, sketch: np.ndarray) -> int:
        """Semitones that the recording is above the score."""
        shifts = range(-self.how.transposition, self.how.transposition + 1)
        return _cheapest({shift: course(self.outline.shifted(heard, shift), sketch)[1] for shift in shifts}, 0)

    def _leaps(self, heard: np.ndarray, score: Score, stretch: float, sketch: np.ndarray) -> tuple[float, tuple[Leap, ...]]:
        """Jumps between bars that pay, and the tempo when what they leave out or repeat is reckoned with."""
        leaps: tuple[Leap, ...] = ()
        for again in (False, True):  # the second time at a tempo that reckons with the jumps of the first
            sketch = self.played(score, stretch) if again else sketch
            places = np.round(score.bars * stretch / self.outline.frame_s).astype(int)
            bars = np.flatnonzero((places > 0) & (places < len(sketch))) if self.how.repeats == "find" else np.zeros(0, int)
            jumped, parts = self._jumped(heard, sketch, places[bars])
            known = dict(zip([0, *places[bars].tolist()], [0.0, *score.bars[bars].tolist()], strict=True))
            leaps = tuple(Leap(known[jump.source], known[jump.target - 1]) for jump in jumped.jumps)
            rows, columns = (sum(_span(getattr(part, side)) for part in parts) for side in ("rows", "columns"))
            stretch = float(np.clip(stretch * rows / columns, *TEMPI))
            if not leaps:
                break
        return stretch, leaps

    def _jumped(self, heard: np.ndarray, sketch: np.ndarray, bars: np.ndarray) -> tuple[JumpPath, list[Path]]:
        """The path through the outlines with jumps from bar to bar, in surrounded columns, and its parts in the score's own."""
        costs = FeatureCosts(heard, sketch, "cosine")
        around, level = surrounded(costs, self.how.open_ends)
        penalty = self.how.jump_s / self.outline.frame_s * level
        jumped = jump_dtw(around, STEPS["unit"], bars, np.append(0, bars) + 1, penalty)
        return jumped, [part for one in jumped.segments if (part := inner(one, costs.shape))]


def sounding(audio: np.ndarray, rate: int) -> tuple[float, float]:
    """Where a recording begins and ends to sound, s. Raises DataError where it is silent."""
    size = max(1, rate // 2)
    blocks = np.pad(audio, (0, -len(audio) % size)).reshape(-1, size)
    level = 10 * np.log10(np.square(blocks, dtype=np.float64).mean(1) + 1e-12)
    if is_silent(audio):
        raise DataError("it is silent: expected a recording of the score's music.")
    loud = np.flatnonzero(level > level.max() - RANGE_DB)
    return float(loud[0] * size / rate), min((loud[-1] + 1) * size, len(audio)) / rate


def sound_of(score: Score, stretch: float, rate: int, semitones: int = 0) -> np.ndarray:
    """A score's own sound (samples,), so many times slower and semitones higher, until just after its last note."""
    notes = score.notes
    pitch = np.where(notes.program < 0, notes.pitch, np.clip(notes.pitch + semitones, 0, 127)).astype(np.int16)
    notes = notes._replace(onset=notes.onset * stretch, offset=notes.offset * stretch, pitch=pitch)
    return synthesize(notes, rate)[: round((float(notes.offset.max()) + LAST_S) * rate)]


def tempo(score: Score, duration: float) -> float:
    """Seconds of a recording for one of the score, were all of it played."""
    return float(np.clip(duration / max(float(score.notes.offset.max()), 0.1), *TEMPI))


def _misfit(heard: np.ndarray, sketch: np.ndarray) -> float:
    """Mean cost of the best path, and something for what it leaves out: a way that is too short must not win by that."""
    path, cost = course(heard, sketch)
    return cost + 0.5 * (1 - _span(path.rows) / len(heard))


def _cheapest(costs: dict[int, float], written: int) -> int:
    """What costs least; what is written unless something else clearly costs less."""
    best = min(costs, key=lambda one: (costs[one], abs(one)))
    return best if costs[best] < CLEARLY * costs[written] else written


def _span(frames: np.ndarray) -> int:
    return int(frames[-1] - frames[0]) + 1
