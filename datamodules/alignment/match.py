"""Match files (Vienna 4x22, (n)ASAP, partitura): notes of a score matched with notes of a performance -> events.

Two dialects are read: versions 0 to 5 write a performed note's pitch as a name and an octave, 1.0.0 as a MIDI number.
"""

import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.alignment.reading import read_score
from datamodules.alignment.score import Score
from datamodules.common.errors import DataError
from datamodules.generation.piece import STEPS

ALTERATIONS = {"n": 0, "#": 1, "##": 2, "x": 2, "b": -1, "bb": -2}
CLOCK = {"midiClockUnits": 480.0, "midiClockRate": 500_000.0}
"""Defaults: ticks and microseconds per quarter note."""

_SCORE_NOTE = re.compile(r"snote\((.*?)\)-")
_PERFORMED = re.compile(r"(?:^|-)note\((.*?)\)\.?\s*$")
_CLOCK = re.compile(r"info\((midiClockUnits|midiClockRate),\s*(.*?)\)")
_FIELDS = re.compile(r"\[[^\]]*\]|[^,]+")


class MatchNote(NamedTuple):
    """Score note with its onset in the performance."""

    name: str  # id in the score
    pitch: int  # as written, MIDI number
    beat: float  # onset in beats of the time signature, from the first whole bar
    grace: bool  # grace note
    onset: float | None  # s in the performance; None: left out
    played: int | None  # played MIDI number, which may differ in ornaments


class MatchFile(NamedTuple):
    """Content of a match file."""

    notes: list[MatchNote]  # all of the score, in its order
    insertions: int  # played notes that are not written out in the score
    path: str

    @property
    def matched(self) -> list[MatchNote]:
        return [note for note in self.notes if note.onset is not None]

    @property
    def deletions(self) -> int:
        return len(self.notes) - len(self.matched)


def read_match(path: str | Path) -> MatchFile:
    """Read a match file of any version. Raises DataError if it is missing, damaged or without matched notes."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): expected a match file.") from error
    clock, notes, insertions = dict(CLOCK), [], 0
    tick = clock["midiClockRate"] / clock["midiClockUnits"] / 1e6  # s
    for number, line in enumerate(text.splitlines(), 1):
        try:
            result = _CLOCK.match(line)
            if result:
                clock[result[1]] = float(result[2])
                tick = clock["midiClockRate"] / clock["midiClockUnits"] / 1e6
            written, performed = _SCORE_NOTE.match(line), _PERFORMED.search(line)
            if written:
                played = _performed(performed[1], tick) if performed else (None, None)
                notes.append(_written(written[1])._replace(onset=played[0], played=played[1]))
            elif performed:
                insertions += 1
        except (ValueError, KeyError, IndexError, ZeroDivisionError) as error:
            raise DataError(f"{path} line {number} is damaged ({line[:60]}): expected a match file.") from error
    match = MatchFile(notes, insertions, str(path))
    if not match.matched:
        raise DataError(f"{path} matches no note: expected a match file (lines snote(...)-note(...).).")
    return match


def _written(text: str) -> MatchNote:
    """snote(id,[step,alteration],octave,bar:beat,offset,duration,onset,offset,[attributes])."""
    name, pitch, octave, _, _, duration, beat, _, *attributes = _FIELDS.findall(text)
    grace = duration.strip() in ("0", "0/1") or any("grace" in attribute for attribute in attributes)
    return MatchNote(name.strip(), _pitch(pitch, octave), float(beat), grace, None, None)


def _performed(text: str, tick: float) -> tuple[float, int]:
    """Onset in s and pitch of note(id,pitch,onset,...) or note(id,[step,alteration],octave,onset,...)."""
    _, pitch, *rest = _FIELDS.findall(text)
    if pitch.startswith("["):
        return float(rest[1]) * tick, _pitch(pitch, rest[0])
    return float(rest[0]) * tick, int(pitch)


def _pitch(name: str, octave: str) -> int:
    step, alteration = name.strip("[] ").split(",")
    return 12 * (int(octave) + 1) + STEPS[step.strip().upper()] + ALTERATIONS[alteration.strip()]


# Matched notes -> events

log = logging.getLogger(__name__)

CHORD = 1e-3  # s: score onsets at this distance are one event


class NoteTruth(NamedTuple):
    """Events, and numbers of unused notes and events."""

    events: np.ndarray  # (events, 2) float64: s in the score, s in the performance; both rising
    graces: int  # played grace notes, which have no time in the score
    unknown: int  # played notes without a note in the score
    crossed: int  # events not in the order of the score


def truth_from_match(match: MatchFile, score: Score) -> np.ndarray:
    """Events of a performance (events, 2) float64, rising: s in the score, s in the performance.

    An event is a score onset with the median of the performed onsets of its notes. Notes are identified by id, or in a
    score without ids as the n-th of their pitch. Grace notes and the fewest crossing events are dropped.
    Raises DataError if fewer than two events are left.
    """
    result = note_truth(match, score)
    if result.unknown or result.crossed:
        log.info("%s: %d notes are not in %s, %d events cross.", match.path, result.unknown, score.path, result.crossed)
    return result.events


def matched_times(match: Path, score: Path) -> np.ndarray:
    """`truth_from_match` of two files."""
    return truth_from_match(read_match(match), read_score(score))


def note_truth(match: MatchFile, score: Score) -> NoteTruth:
    """`truth_from_match` with numbers of dropped notes and events."""
    matches = _by_id(match, score) if score.ids else _by_pitch(match, score)
    plain = [(index, note) for index, note in zip(matches, match.notes, strict=True) if note.onset is not None and not note.grace]
    result = defaultdict(list)
    for index, note in plain:
        if index is not None:
            result[round(float(score.notes.onset[index]) / CHORD)].append((float(score.notes.onset[index]), note.onset))
    events = np.array([np.median(result[key], axis=0) for key in sorted(result)]).reshape(-1, 2)
    kept = events[longest_rise(events[:, 1])]
    if len(kept) < 2:
        raise DataError(f"{match.path} and {score.path} have fewer than two notes in common: they belong to different pieces.")
    unknown = sum(index is None for index, _ in plain)
    return NoteTruth(kept, len(match.matched) - len(plain), unknown, len(events) - len(kept))


def _by_id(match: MatchFile, score: Score) -> list[int | None]:
    """Index of each note in the score; in match files the first pass has "-1" even without a second one."""
    indices = {name: index for index, name in enumerate(score.ids)}

    def index_of(note: MatchNote) -> int | None:
        names = (note.name, f"{note.name}-1", note.name.removesuffix("-1"))
        result = next((indices[name] for name in names if name in indices), None)
        return result if result is not None and score.notes.pitch[result] == note.pitch else None

    return [index_of(note) for note in match.notes]


def _by_pitch(match: MatchFile, score: Score) -> list[int | None]:
    """Index of each note in the score, for pitches with the same number of notes in both."""
    in_score, in_match = defaultdict(list), defaultdict(list)
    for index, pitch in enumerate(score.notes.pitch):
        in_score[int(pitch)].append(index)
    for number in sorted(range(len(match.notes)), key=lambda number: match.notes[number].beat):
        in_match[match.notes[number].pitch].append(number)
    result: list[int | None] = [None] * len(match.notes)
    for pitch, numbers in in_match.items():
        if len(numbers) == len(in_score[pitch]):
            for number, index in zip(numbers, in_score[pitch], strict=True):
                result[number] = index
    return result


def longest_rise(values: np.ndarray) -> np.ndarray:
    """Indices of the longest strictly rising subsequence: (values,) -> (kept,) int64."""
    tails, ends, before = [], [], np.full(len(values), -1)
    for i, value in enumerate(values):
        at = int(np.searchsorted(tails, value))
        before[i] = ends[at - 1] if at else -1
        tails[at : at + 1], ends[at : at + 1] = [value], [i]
    chain, at = [], ends[-1] if ends else -1
    while at >= 0:
        chain.append(at)
        at = int(before[at])
    return np.array(chain[::-1], np.int64)
