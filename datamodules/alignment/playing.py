"""Written scores -> `Score` in seconds: repeats in order, grace notes before the beat."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from datamodules.alignment.metre import Measure, beats_and_bars
from datamodules.alignment.score import Origin, PlayedMeasure, Score, notes_of

PULSE = 120.0  # quarter notes a minute where no tempo is written
GRACE = 0.07  # s of a grace note, less where the note before its own is near
SHORTEST = 0.01  # s of any note

Stretch = tuple[float, float]
"""From where to where a written score is played without a jump, quarter notes."""


class WrittenNote(NamedTuple):
    """A note, tied ones as one; times in quarter notes from the start of the score as written."""

    onset: float
    duration: float
    pitch: int
    grace: int  # 0: none; else its place before the note it adorns, counted backwards from it
    name: str  # the file's id; empty: it has none
    origin: Origin = Origin()
    lyrics: tuple[str, ...] = ()  # one a verse: the first time through the first is sung, and so on


class WrittenScore(NamedTuple):
    """A score as written."""

    notes: list[WrittenNote]
    measures: list[Measure]
    tempi: list[tuple[float, float]]  # where, in quarter notes, and quarter notes a minute; rising
    ways: dict[str, list[Stretch]]  # the ways through its repeats; the usual one first


def play(written: WrittenScore, stretches: Sequence[Stretch], path: str) -> Score:
    """A written score as it sounds when these stretches follow each other.

    Ids get "-1", "-2", ... for the first and the second time where the score has more than one way.
    """
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
    beats, bars = (seconds(np.array(places, float)) for places in beats_and_bars(measures))
    early = min(0.0, float(onset.min()))  # grace notes before the first note of all
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
    """Written measures in the order of play, and the times at which they begin -> measures with the count of their playings."""
    count: Counter[float] = Counter()
    played = []
    for measure, start in zip(measures, starts.tolist(), strict=True):
        count[measure.start] += 1
        played.append(PlayedMeasure(start, measure.number, count[measure.start]))
    return tuple(played)


def _moved(notes: list[WrittenNote], moved: list[tuple[float, float, float]]) -> list[WrittenNote]:
    """Notes where they are played, each time with its next verse, or with the last that there is."""
    turns: Counter[int] = Counter()
    played = []
    for start, end, by in moved:
        for index, note in enumerate(notes):
            if start <= note.onset < end:
                verse = note.lyrics[min(turns[index], len(note.lyrics) - 1)] if note.lyrics else ""
                turns[index] += 1
                played.append(note._replace(onset=note.onset + by, origin=note.origin._replace(lyric=verse)))
    return played


def _clock(tempi: list[tuple[float, float]], moved: list[tuple[float, float, float]]) -> Callable[[np.ndarray], np.ndarray]:
    """The function from quarter notes, as played, to seconds. moved: (start, end, by how much later it is played)."""
    tempi = tempi or [(0.0, PULSE)]
    at, length = [], []
    for start, end, by in moved:
        inside = [mark for mark in tempi if start < mark[0] < end]
        before = [mark for mark in tempi if mark[0] <= start] or tempi[:1]
        for place, tempo in [(start, before[-1][1]), *inside]:
            at.append(place + by)
            length.append(60.0 / tempo)
    at, length = np.array(at), np.array(length)
    passed = np.concatenate([[0.0], np.cumsum(np.diff(at) * length[:-1])])

    def seconds(quarter: np.ndarray) -> np.ndarray:
        place = np.maximum(np.searchsorted(at, quarter, side="right") - 1, 0)
        return passed[place] + (quarter - at[place]) * length[place]

    return seconds


def _times(notes: list[WrittenNote], seconds: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and offsets in s; of grace notes in half of the time since the onset before theirs at most."""
    quarter, grace = np.array([note.onset for note in notes]), np.array([note.grace for note in notes])
    onset = seconds(quarter)
    offset = np.maximum(seconds(quarter + [note.duration for note in notes]), onset + SHORTEST)
    main = np.unique(onset[grace == 0])
    for place in np.unique(onset[grace > 0]):
        here = (onset == place) & (grace > 0)
        before = main[main < place - SHORTEST]
        room = (place - before[-1]) / 2 if len(before) else np.inf
        length = min(GRACE, room / grace[here].max())
        offset[here] = place - (grace[here] - 1) * length
        onset[here] = place - grace[here] * length
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
