"""Recordings with known times for the benchmarks of alignment: Vienna 4x22, the demo's test pieces, two real recordings."""

import os
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.alignment import asap
from datamodules.alignment.degrade import Curve, degrade
from datamodules.alignment.listing import Pair
from datamodules.alignment.match import matched_times
from datamodules.alignment.reading import unfoldings
from datamodules.alignment.rendered import Vienna
from datamodules.alignment.score import Score, notes_of
from datamodules.alignment.sounds import hear, synthesize
from datamodules.audio.reading import read_file
from datamodules.demo import alignment as demo
from datamodules.demo.music import DemoPiece

RATE = 22_050
CLEAN, DEGRADED = "Vienna 4x22, clean", "Vienna 4x22, degraded"
DEMO, REAL = "demo, test pieces", "real recordings"

Ways = list[tuple[str, Score]]


class Recording:
    """Recording with its score and true times; sound and truth are computed once, when they are asked for.

    Args:
        kind: kind of material
        name: unique name
        sound: () -> samples (samples,) float32 at RATE
        ways: unfoldings of the score
        truth: () -> (events, 2) float64: s in the score, s in the recording; rising
        score: score that the true times refer to (default: the first unfolding)
    """

    def __init__(
        self,
        kind: str,
        name: str,
        sound: Callable[[], np.ndarray],
        ways: Ways,
        truth: Callable[[], np.ndarray],
        score: Score | None = None,
    ) -> None:
        self.kind, self.name, self.ways = kind, name, ways
        self.score = score or ways[0][1]
        self._sound, self._truth = sound, truth

    @cached_property
    def audio(self) -> np.ndarray:
        return self._sound()

    @cached_property
    def truth(self) -> np.ndarray:
        return self._truth()

    @property
    def duration_s(self) -> float:
        return len(self.audio) / RATE


class Excerpt(NamedTuple):
    """Part of a recording, begin to end in s."""

    recording: Recording
    begin: float
    end: float

    @property
    def audio(self) -> np.ndarray:
        return self.recording.audio[round(self.begin * RATE) : round(self.end * RATE)]

    @property
    def truth(self) -> np.ndarray:
        """Events inside (events, 2): s in the score, s in the excerpt."""
        truth = self.recording.truth
        inside = (self.begin <= truth[:, 1]) & (truth[:, 1] < self.end)
        return truth[inside] - [0.0, self.begin]


def whole(recording: Recording) -> Excerpt:
    """Recording from end to end."""
    return Excerpt(recording, 0.0, recording.duration_s)


def data_folder() -> Path | None:
    """Folder of real data named by QUINTET_DATA, or None."""
    folder = Path(os.environ.get("QUINTET_DATA", "/nonexistent"))
    return folder if folder.is_dir() else None


# Synthesized performances of a score


def performed(
    name: str,
    score: Score,
    seed: int = 3,
    pace: float = 1.0,
    program: int | None = 1,
    semitones: int = 0,
    cents: float = 0.0,
    worse: str | None = None,
    ways: Ways | None = None,
) -> Recording:
    """Recording of a score with a random tempo curve.

    Args:
        name: name of the recording
        score: what is played
        seed: seed of the tempo curve and of the degradation
        pace: duration of a second of the score, besides the curve
        program: General MIDI program; None: those of the score
        semitones: transposition
        cents: tuning above 440 Hz
        worse: name of a degradation
        ways: unfoldings of the score to align with (default: what is played)
    """
    notes, curve = score.notes, Curve(seed, float(score.notes.offset.max()))
    onsets = np.unique(notes.onset)

    def sound() -> np.ndarray:
        times = {"onset": pace * curve(notes.onset), "offset": pace * curve(notes.offset)}
        audio = synthesize(notes._replace(**times, pitch=notes.pitch + semitones), RATE, cents=cents, program=program)
        return degrade(audio, RATE, worse, seed) if worse else audio

    truth = np.stack([onsets, pace * curve(onsets)], 1)
    return Recording("synthesized", name, sound, ways or [("", score)], lambda: truth, score)


def written(piece: DemoPiece, quarter_s: float = 0.6) -> Score:
    """Score of a chorale or tune at a steady tempo, from its first downbeat or pickup on."""
    rows = np.array([(note.onset, note.duration, note.pitch) for part in piece.parts for note in part])
    early = -min(rows[:, 0].min(), 0.0)
    beat, end = 4 / piece.beat_type, piece.length - 1e-6
    beats, bars = (early + np.arange(0, end, step) for step in (beat, piece.bar))
    before = early - beat * np.arange(1, int(early / beat + 1e-6) + 1)[::-1]
    notes = notes_of(quarter_s * (early + rows[:, 0]), quarter_s * (early + rows[:, 0] + rows[:, 1]), rows[:, 2])
    return Score(notes, quarter_s * np.concatenate([before, beats]), quarter_s * bars, f"{piece.name}.mid")


# Vienna 4x22


def vienna(root: Path, degraded: bool, pianists: range) -> list[Recording]:
    """Real performances rendered as the data module does for training (clean) or for the test (degraded and detuned)."""
    kind = DEGRADED if degraded else CLEAN
    pieces = sorted({pair.piece for pair in asap.list_vienna(root).pairs})
    listed = [pair for piece in pieces for pair in Vienna(str(root), test_piece=piece if degraded else "").listing.pairs]
    chosen = {pair.name: pair for pair in listed if int(pair.name[-2:]) in pianists and degraded == (pair.split == "test")}
    return [_rendered(kind, pair) for pair in chosen.values()]


def _rendered(kind: str, pair: Pair) -> Recording:
    return Recording(kind, pair.name, lambda: hear(pair.performance, RATE), _ways(pair.score.path), pair.truth)


@cache
def _ways(path: Path) -> Ways:
    return unfoldings(path)


# Demo


def demo_recordings(split: str = "test") -> list[Recording]:
    """Pieces of the demo as their players perform them; the score is in strict tempo."""
    return [_performed(item) for item in demo.performances() if demo.PLAYERS[item.player].split == split]


def _performed(performance: demo.Performance) -> Recording:
    score, curve = demo_score(performance), Curve(performance.seed, demo.SECONDS)
    onsets = np.unique(score.notes.onset)
    truth = np.stack([onsets, curve(onsets)], 1)
    name = f"{performance.name}, {performance.player}"
    return Recording(DEMO, name, lambda: demo.rendered(performance)[1], [("", score)], lambda: truth)


def demo_score(performance: demo.Performance) -> Score:
    """Score of a performance in strict tempo, with the beats and bars of its metre."""
    excerpt = demo.arranged(performance.piece, np.random.default_rng(performance.seed))
    tones = {(tone.start, tone.pitch): tone.length for line in excerpt.parts for tone in line if demo.sounds(tone)}
    onset, pitch = np.round(list(tones), 6).T  # equal onsets are one event
    grid = excerpt.grid
    bars = np.array([bar for bar in grid.bars if bar > -1e-6])
    beats = np.concatenate([bar + grid.beat * np.arange(grid.beats) for bar in grid.bars])
    length = np.array(list(tones.values()))
    return Score(notes_of(onset, onset + length, pitch), beats[beats > -1e-6], bars, f"{performance.name}.mid")


# Real recordings


def real(folder: Path) -> dict[str, Recording]:
    """Piano recordings of K. 265 (variation 1) and of BWV 858 (fugue).

    K. 265 has note-level truth. BWV 858 is a strict rendition of its score at the tempo of the file: times are equal.
    """
    mozart, bach = (folder / "alignment/real_audio" / name for name in ("mozart_k265_var1", "Bach-fugue_bwv_858"))
    return {path.name: _real(path) for path in (mozart, bach)}


def _real(path: Path) -> Recording:
    score, match = path.with_suffix(".musicxml"), path.with_suffix(".match")

    def truth() -> np.ndarray:
        onsets = np.unique(_ways(score)[0][1].notes.onset)
        return matched_times(match, score) if match.is_file() else np.stack([onsets, onsets], 1)

    return Recording(REAL, path.name, lambda: read_file(path.with_suffix(".mp3"), RATE), _ways(score), truth)


# Excerpts


def excerpts(
    recordings: list[Recording], count: int, lengths: tuple[float, float], random: np.random.Generator
) -> Iterator[Excerpt]:
    """Random excerpts, the recordings in turn in random order.

    lengths: shortest and longest, s; no excerpt is longer than 0.9 of its recording.
    """
    order = [recordings[index] for index in random.permutation(len(recordings))]
    for recording in (order * (1 + count // len(order)))[:count]:
        shortest, longest = np.minimum(lengths, 0.9 * recording.duration_s)
        length = random.uniform(shortest, longest)
        begin = random.uniform(0, recording.duration_s - length)
        yield Excerpt(recording, float(begin), float(begin + length))
