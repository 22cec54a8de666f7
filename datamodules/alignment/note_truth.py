"""From matched notes to events: times of the score beside times of the performance."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.alignment.match import Match, MatchNote, read_match
from datamodules.alignment.score import Score, read_score
from datamodules.errors import DataError

log = logging.getLogger(__name__)

CHORD = 1e-3  # s: onsets of the score that are as near are one event


class NoteTruth(NamedTuple):
    """Events, and what was left out on the way to them."""

    events: np.ndarray  # (events, 2) float64: s in the score, s in the performance; both rising
    graces: int  # played grace notes: when they are played, no score says
    unknown: int  # played notes that the score has not
    crossed: int  # events that the performance plays before an earlier one, or at once


def truth_from_match(match: Match, score: Score) -> np.ndarray:
    """Events of a performance (events, 2) float64: s in the score, s in the performance, both rising.

    An event is an onset of the score; its time in the performance is the median onset of its notes, which one note that
    was matched wrongly in a chord does not move. Notes are found by id, or in a score without ids as the n-th of their
    pitch. Grace notes count nowhere; of events that cross, as few as possible are left out.
    Raises DataError where fewer than two events are left.
    """
    found = note_truth(match, score)
    if found.unknown or found.crossed:
        log.info("%s: %d notes are not in %s, %d events cross.", match.path, found.unknown, score.path, found.crossed)
    return found.events


def matched_times(match: Path, score: Path) -> np.ndarray:
    """As `truth_from_match`, from files."""
    return truth_from_match(read_match(match), read_score(score))


def note_truth(match: Match, score: Score) -> NoteTruth:
    """As `truth_from_match`, with the count of what was left out."""
    where = _by_id(match, score) if score.ids else _by_pitch(match, score)
    plain = [(place, note) for place, note in zip(where, match.notes, strict=True) if note.onset is not None and not note.grace]
    found = defaultdict(list)
    for place, note in plain:
        if place is not None:
            found[round(float(score.notes.onset[place]) / CHORD)].append((float(score.notes.onset[place]), note.onset))
    events = np.array([np.median(found[key], axis=0) for key in sorted(found)]).reshape(-1, 2)
    kept = events[longest_rise(events[:, 1])]
    if len(kept) < 2:
        raise DataError(f"{match.path} and {score.path} have fewer than two notes in common: they belong to different pieces.")
    unknown = sum(place is None for place, _ in plain)
    return NoteTruth(kept, len(match.matched) - len(plain), unknown, len(events) - len(kept))


def _by_id(match: Match, score: Score) -> list[int | None]:
    """Place of each note in the score. The first time through has "-1" in match files whether there is a second or not."""
    places = {name: place for place, name in enumerate(score.ids)}

    def place(note: MatchNote) -> int | None:
        names = (note.name, f"{note.name}-1", note.name.removesuffix("-1"))
        found = next((places[name] for name in names if name in places), None)
        return found if found is not None and score.notes.pitch[found] == note.pitch else None

    return [place(note) for note in match.notes]


def _by_pitch(match: Match, score: Score) -> list[int | None]:
    """Place of each note in the score, where both have as many of its pitch."""
    in_score, in_match = defaultdict(list), defaultdict(list)
    for place, pitch in enumerate(score.notes.pitch):
        in_score[int(pitch)].append(place)
    for number in sorted(range(len(match.notes)), key=lambda number: match.notes[number].beat):
        in_match[match.notes[number].pitch].append(number)
    found: list[int | None] = [None] * len(match.notes)
    for pitch, numbers in in_match.items():
        if len(numbers) == len(in_score[pitch]):
            for number, place in zip(numbers, in_score[pitch], strict=True):
                found[number] = place
    return found


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
