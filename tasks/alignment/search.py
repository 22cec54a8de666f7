"""Alignment search: recording and unfoldings of its score -> plan with transposition, tuning, tempo and passages."""

from typing import NamedTuple

import numpy as np

from datamodules.alignment.score import Score
from datamodules.alignment.sounds import synthesize_long
from datamodules.audio.level import is_silent
from datamodules.audio.reading import mono
from datamodules.common.errors import DataError
from models.alignment.dtw import NoPath
from models.alignment.outline import tuning_cents
from models.alignment.renderings import RenderedNotes
from models.alignment.search import Limits, ScoreSearch, SearchResult
from tasks.alignment.anchors import anchor_times
from tasks.alignment.options import AlignmentOptions

PROGRAMS = {"sustained": 48}
"""Timbre of the outline -> General MIDI program of the rendering; others are rendered with the score's own programs."""


class AlignmentPlan(NamedTuple):
    """Score, its search result and constraints for the exact alignment."""

    score: Score
    way: str  # name of the unfolding; empty if there is only one
    cents: float  # tuning of the recording above 440 Hz
    result: SearchResult
    limits: Limits


class AlignmentSearch:
    """Compare outlines (coarse features) of a recording and of its score in each unfolding.

    Args:
        options: inference options
        sample_rate: sample rate of recordings, the network's, Hz; outlines have their own
    """

    def __init__(self, options: AlignmentOptions, sample_rate: int) -> None:
        self.options, self.sample_rate = options, sample_rate
        finding = options.repeats == "find"
        self.search = ScoreSearch(options.transposition, options.open_ends, finding, options.jump_s)

    def __call__(self, audio: np.ndarray, ways: list[tuple[str, Score]]) -> AlignmentPlan:
        """Plan the alignment of a recording (samples,) at `sample_rate`.

        Raises:
            DataError: the recording is silent, an anchor is not in the score, or the limits forbid every path.
        """
        rate = self.search.outline.rate
        audio = mono(audio, self.sample_rate, rate)
        if is_silent(audio):
            raise DataError("it is silent: expected a recording of the score's music.")
        ways = ways if self.options.repeats == "find" else ways[:1]
        cents = tuning_cents(audio, rate) if self.options.tuning else 0.0
        ways, limits = self._anchored(ways)
        try:
            result = self.search(audio, [score for _, score in ways], cents, limits)
        except NoPath as error:
            raise DataError(f"no path found ({error}): loosen --model.inference.max_deviation or the anchors") from None
        name, score = ways[result.way]
        return AlignmentPlan(score, name if len(ways) > 1 else "", cents, result, limits[result.way])


    def _anchored(self, ways: list[tuple[str, Score]]) -> tuple[list[tuple[str, Score]], list[Limits]]:
        """Unfoldings that have all anchors, and their limits. Raises DataError if there is none."""
        limits: list[Limits] = []
        anchored, problem = [], None
        for way in ways:
            try:
                limits.append(Limits(self.options.max_deviation, anchor_times(self.options.anchors, way[1])))
                anchored.append(way)
            except DataError as error:
                problem = problem or error
        if problem and not anchored:
            raise problem
        return anchored, limits


def synthesized(plan: AlignmentPlan, played: RenderedNotes, seconds: float, rate: int) -> np.ndarray:
    """Synthesize the notes of a plan's passages in the recording's key: (samples,) int16 of `seconds` at `rate` Hz."""
    notes = plan.score.notes
    pitch, velocity, program = (column[played.index] for column in (notes.pitch, notes.velocity, notes.program))
    pitch = np.where(program < 0, pitch, np.clip(pitch + plan.result.semitones, 0, 127)).astype(np.int16)
    other = PROGRAMS.get(plan.result.timbre)
    program = program if other is None else np.where(program < 0, program, other)
    order = np.lexsort((pitch, played.onset))
    columns = (played.onset, played.offset, pitch, velocity, program)
    sound = synthesize_long(type(notes)(*(column[order] for column in columns)), rate)
    samples = round(seconds * rate)
    return sound[:samples] if len(sound) >= samples else np.pad(sound, (0, samples - len(sound)))
