"""Unfolding of written scores: measures, repeats and tempi -> `Score` in seconds, with grace notes before the beat."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from datamodules.alignment.metre import Measure, beats_and_bars
from datamodules.alignment.score import Origin, PlayedMeasure, Score, notes_of

PULSE = 120.0  # quarter notes a minute without a written tempo
GRACE = 0.07  # s: longest grace note
SHORTEST = 0.01  # s: shortest note

Stretch = tuple[float, float]
"""Start and end of a section played without a jump, quarter notes."""


class WrittenNote(NamedTuple):
    """Written note with its ties, in quarter notes from the start of the written score."""

    onset: float
    duration: float
    pitch: int
    grace: int  # 0: none; else position before the main note, counted backwards
    name: str  # id in the file; empty: none
    origin: Origin = Origin()
    lyrics: tuple[str, ...] = ()  # one per verse; pass n has verse n


class WrittenScore(NamedTuple):
    """Score as written, before unfolding."""

    notes: list[WrittenNote]
    measures: list[Measure]
    tempi: list[tuple[float, float]]  # onset in quarter notes, quarter notes a minute; rising
    ways: dict[str, list[Stretch]]  # unfoldings by name, the default first


def play(written: WrittenScore, stretches: Sequence[Stretch], path: str) -> Score:
    """Play stretches of a written score in sequence; with several unfoldings, ids get the suffixes "-1", "-2", ..."""
    starts = np.concatenate([[0.0], np.cumsum([end - start for start, end in stretches])])
    moved = [(start, end, at - start) for (start, end), at in zip(stretches, starts, strict=False)]
    seconds = _clock(written.tempi, moved)
    notes = _moved(written.notes, moved)
    onset, offset = _times(notes, seconds)
    played = [
        (measure, measure._replace(start=max(measure.start, start) + by, end=min(measure.end, end) + by))
        for start, end, by in moved
        for measure in written.measures
        if measure.start < end and measure.end > start
    ]
    measures = [measure for _, measure in played]
    beats, bars = (seconds(np.array(quarters, float)) for quarters in beats_and_bars(measures))
    early = min(0.0, float(onset.min()))  # grace notes before the first note
    pitch = np.array([note.pitch for note in notes])
    order = np.lexsort((pitch, onset))
    ids = _ids(notes, len(written.ways) > 1)
    return Score(
        notes_of(onset[order] - early, offset[order] - early, pitch[order]),
        beats - early,
        bars - early,
        path,
        tuple(ids[i] for i in order) if any(ids) else (),
        tuple(notes[i].origin for i in order),
        _numbered([measure for measure, _ in played], seconds(np.array([measure.start for measure in measures], float)) - early),
    )


def _numbered(measures: Sequence[Measure], starts: np.ndarray) -> tuple[PlayedMeasure, ...]:
    """Written measures in playing order, starts in s -> measures with the number of the pass."""
    count: Counter[float] = Counter()
    played = []
    for measure, start in zip(measures, starts.tolist(), strict=True):
        count[measure.start] += 1
        played.append(PlayedMeasure(start, measure.number, count[measure.start]))
    return tuple(played)


def _moved(notes: list[WrittenNote], moved: list[tuple[float, float, float]]) -> list[WrittenNote]:
    """Notes in playing order; each pass has its next verse, or else the last one."""
    passes: Counter[int] = Counter()
    played = []
    for start, end, by in moved:
        for index, note in enumerate(notes):
            if start <= note.onset < end:
                verse = note.lyrics[min(passes[index], len(note.lyrics) - 1)] if note.lyrics else ""
                passes[index] += 1
                played.append(note._replace(onset=note.onset + by, origin=note.origin._replace(lyric=verse)))
    return played


def _clock(tempi: list[tuple[float, float]], moved: list[tuple[float, float, float]]) -> Callable[[np.ndarray], np.ndarray]:
    """Function from played quarter notes to seconds. moved: (start, end, shift) of each stretch."""
    tempi = tempi or [(0.0, PULSE)]
    at, length = [], []
    for start, end, by in moved:
        inside = [mark for mark in tempi if start < mark[0] < end]
        before = [mark for mark in tempi if mark[0] <= start] or tempi[:1]
        for onset, tempo in [(start, before[-1][1]), *inside]:
            at.append(onset + by)
            length.append(60.0 / tempo)
    at, length = np.array(at), np.array(length)
    passed = np.concatenate([[0.0], np.cumsum(np.diff(at) * length[:-1])])

    def seconds(quarter: np.ndarray) -> np.ndarray:
        index = np.maximum(np.searchsorted(at, quarter, side="right") - 1, 0)
        return passed[index] + (quarter - at[index]) * length[index]

    return seconds


def _times(notes: list[WrittenNote], seconds: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and offsets in s; grace notes take at most half of the time since the previous onset."""
    quarter, grace = np.array([note.onset for note in notes]), np.array([note.grace for note in notes])
    onset = seconds(quarter)
    offset = np.maximum(seconds(quarter + [note.duration for note in notes]), onset + SHORTEST)
    main = np.unique(onset[grace == 0])
    for beat in np.unique(onset[grace > 0]):
        chosen = (onset == beat) & (grace > 0)
        before = main[main < beat - SHORTEST]
        room = (beat - before[-1]) / 2 if len(before) else np.inf
        length = min(GRACE, room / grace[chosen].max())
        offset[chosen] = beat - (grace[chosen] - 1) * length
        onset[chosen] = beat - grace[chosen] * length
    return onset, offset


def _ids(notes: list[WrittenNote], repeated: bool) -> list[str]:
    if not repeated:
        return [note.name for note in notes]
    count: Counter[str] = Counter()
    results = []
    for note in notes:
        count[note.name] += 1
        results.append(f"{note.name}-{count[note.name]}" if note.name else "")
    return results
