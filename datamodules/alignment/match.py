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
"""Ticks a quarter note and microseconds a quarter note, where a file does not say."""

_SCORE_NOTE = re.compile(r"snote\((.*?)\)-")
_PERFORMED = re.compile(r"(?:^|-)note\((.*?)\)\.?\s*$")
_CLOCK = re.compile(r"info\((midiClockUnits|midiClockRate),\s*(.*?)\)")
_FIELDS = re.compile(r"\[[^\]]*\]|[^,]+")


class MatchNote(NamedTuple):
    """A note of the score and when it was played."""

    name: str  # id in the score
    pitch: int  # as written, MIDI number
    beat: float  # onset in beats of the time signature, from the first whole bar
    grace: bool  # without a duration of its own
    onset: float | None  # s in the performance; None: left out
    played: int | None  # MIDI number that was played; an ornament's may be another than the written one


class MatchFile(NamedTuple):
    """What a match file says."""

    notes: list[MatchNote]  # all of the score, in its order
    insertions: int  # played notes that the score has not, or has as an ornament's sign alone
    path: str

    @property
    def matched(self) -> list[MatchNote]:
        """Notes of the score that were played."""
        return [note for note in self.notes if note.onset is not None]

    @property
    def deletions(self) -> int:
        """Notes of the score that were not played."""
        return len(self.notes) - len(self.matched)


def read_match(path: str | Path) -> MatchFile:
    """A match file of any version. Raises DataError for one that is missing, damaged or matches no note."""
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

CHORD = 1e-3  # s: onsets of the score that are as near are one event


class NoteTruth(NamedTuple):
    """Events, and what was left out on the way to them."""

    events: np.ndarray  # (events, 2) float64: s in the score, s in the performance; both rising
    graces: int  # played grace notes: when they are played, no score says
    unknown: int  # played notes that the score has not
    crossed: int  # events that the performance plays before an earlier one, or at once


def truth_from_match(match: MatchFile, score: Score) -> np.ndarray:
    """Events of a performance (events, 2) float64: s in the score, s in the performance, both rising.

    An event is an onset of the score; its time in the performance is the median onset of its notes, which one note that
    was matched wrongly in a chord does not move. Notes are found by id, or in a score without ids as the n-th of their
    pitch. Grace notes count nowhere; of events that cross, as few as possible are left out.
    Raises DataError if fewer than two events are left.
    """
    result = note_truth(match, score)
    if result.unknown or result.crossed:
        log.info("%s: %d notes are not in %s, %d events cross.", match.path, result.unknown, score.path, result.crossed)
    return result.events


def matched_times(match: Path, score: Path) -> np.ndarray:
    """As `truth_from_match`, from files."""
    return truth_from_match(read_match(match), read_score(score))


def note_truth(match: MatchFile, score: Score) -> NoteTruth:
    """As `truth_from_match`, with the count of what was left out."""
    where = _by_id(match, score) if score.ids else _by_pitch(match, score)
    plain = [(place, note) for place, note in zip(where, match.notes, strict=True) if note.onset is not None and not note.grace]
    result = defaultdict(list)
    for place, note in plain:
        if place is not None:
            result[round(float(score.notes.onset[place]) / CHORD)].append((float(score.notes.onset[place]), note.onset))
    events = np.array([np.median(result[key], axis=0) for key in sorted(result)]).reshape(-1, 2)
    kept = events[longest_rise(events[:, 1])]
    if len(kept) < 2:
        raise DataError(f"{match.path} and {score.path} have fewer than two notes in common: they belong to different pieces.")
    unknown = sum(place is None for place, _ in plain)
    return NoteTruth(kept, len(match.matched) - len(plain), unknown, len(events) - len(kept))


def _by_id(match: MatchFile, score: Score) -> list[int | None]:
    """Place of each note in the score. The first time through has "-1" in match files whether there is a second or not."""
    places = {name: place for place, name in enumerate(score.ids)}

    def place(note: MatchNote) -> int | None:
        names = (note.name, f"{note.name}-1", note.name.removesuffix("-1"))
        result = next((places[name] for name in names if name in places), None)
        return result if result is not None and score.notes.pitch[result] == note.pitch else None

    return [place(note) for note in match.notes]


def _by_pitch(match: MatchFile, score: Score) -> list[int | None]:
    """Place of each note in the score, where both have as many of its pitch."""
    in_score, in_match = defaultdict(list), defaultdict(list)
    for place, pitch in enumerate(score.notes.pitch):
        in_score[int(pitch)].append(place)
    for number in sorted(range(len(match.notes)), key=lambda number: match.notes[number].beat):
        in_match[match.notes[number].pitch].append(number)
    result: list[int | None] = [None] * len(match.notes)
    for pitch, numbers in in_match.items():
        if len(numbers) == len(in_score[pitch]):
            for number, place in zip(numbers, in_score[pitch], strict=True):
                result[number] = place
    return result


def longest_rise(values: np.ndarray) -> np.ndarray:
    """Places of the longest strictly rising subsequence (values,) -> (kept,) int64."""
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
