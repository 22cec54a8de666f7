"""Match files: which note of a performance is which note of its score. Vienna 4x22, (n)ASAP and what partitura writes.

Two dialects are read: versions 0 to 5 write a performed note's pitch as a name and an octave, 1.0.0 as a MIDI number.
"""

import re
from pathlib import Path
from typing import NamedTuple

from datamodules.errors import DataError

STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
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


class Match(NamedTuple):
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


def read_match(path: str | Path) -> Match:
    """A match file of any version. Raises DataError for one that is missing, damaged or matches no note."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): expected a match file.") from error
    clock, notes, insertions = dict(CLOCK), [], 0
    tick = clock["midiClockRate"] / clock["midiClockUnits"] / 1e6  # s
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = _CLOCK.match(line)
            if found:
                clock[found[1]] = float(found[2])
                tick = clock["midiClockRate"] / clock["midiClockUnits"] / 1e6
            written, performed = _SCORE_NOTE.match(line), _PERFORMED.search(line)
            if written:
                played = _performed(performed[1], tick) if performed else (None, None)
                notes.append(_written(written[1])._replace(onset=played[0], played=played[1]))
            elif performed:
                insertions += 1
        except (ValueError, KeyError, IndexError, ZeroDivisionError) as error:
            raise DataError(f"{path} line {number} is damaged ({line[:60]}): expected a match file.") from error
    match = Match(notes, insertions, str(path))
    if not match.matched:
        raise DataError(f"{path} matches no note: expected a match file (lines snote(...)-note(...).).")
    return match


def _written(text: str) -> MatchNote:
    """snote(id,[step,alteration],octave,bar:beat,offset,duration,onset,offset,[attributes])."""
    name, pitch, octave, _, _, duration, beat, _, *attributes = _FIELDS.findall(text)
    grace = duration.strip() in ("0", "0/1") or any("grace" in one for one in attributes)
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
