"""Voice separation: notes of tracks -> voices, names of voices, and the voice of the melody."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece, in_order

CHOIR = ("Soprano", "Alto", "Tenor", "Bass")
SLACK = 8
"""Parts of a quarter note by which notes of one voice may overlap where they were played."""


def voice_names(voices: int, names: Sequence[str] = ()) -> list[str]:
    """Names of the voices of a piece: its own where it has them (`names`), else those that `named_voice` reads."""
    usual = list(CHOIR) if voices == len(CHOIR) else [f"Voice {number + 1}" for number in range(voices)]
    return [names[number] if number < len(names) and names[number] else usual[number] for number in range(voices)]


def named_voice(name: str) -> int | None:
    """The voice that a name by `voice_names` stands for; None for any other name."""
    if name in CHOIR:
        return CHOIR.index(name)
    match = re.fullmatch(r"Voice ([1-9]\d{0,3})", name)
    return int(match[1]) - 1 if match else None


def monophonic(notes: NDArray[np.int32], slack: int = 0) -> bool:
    """Whether notes (n, 5) are one line: none outlasts the next but one onset, so that overlaps are legato playing.

    A note ends where its own pitch is struck again. slack: ticks by which notes may overlap beyond that; two that begin within
    as many ticks of each other and overlap for longer are a chord.
    """
    notes = notes[np.lexsort((notes[:, PITCH], notes[:, ONSET]))].astype(np.int64)
    onset, end = notes[:, ONSET], _struck_again(notes)
    gap, overlap = np.diff(onset), end[:-1] - onset[1:]
    chord = (overlap > 0) & ((gap == 0) | (gap <= slack) & (overlap > slack))
    return not (chord.any() or (end[:-2] - onset[2:] > slack).any())


def _struck_again(notes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ends (n,) of notes in order, each no later than the next onset of its pitch."""
    order = np.lexsort((notes[:, ONSET], notes[:, PITCH]))
    pitch, onset = notes[order, PITCH], notes[order, ONSET]
    ends = onset + notes[order, DURATION]
    again = np.flatnonzero((pitch[1:] == pitch[:-1]) & (onset[1:] > onset[:-1]))
    ends[again] = np.minimum(ends[again], onset[again + 1])
    unsorted = np.empty_like(ends)
    unsorted[order] = ends
    return unsorted


def part(notes: NDArray[np.int32], slack: int = 0) -> NDArray[np.int32]:
    """Notes (n, 5) with voices by pitch: each gets the number of higher notes that sound at its onset, or the next free one.

    So the first voice is the skyline, and no voice sounds two notes at once, but for `slack` ticks (played legato overlaps)
    or half of the earlier note, whichever is less.
    """
    notes = np.array(notes, np.int32).reshape(-1, 5)
    notes = notes[np.lexsort((-notes[:, PITCH], notes[:, ONSET]))]
    sounding: list[tuple[int, int, int]] = []  # until when it counts as sounding, pitch, voice
    voices = []
    for onset, duration, pitch in notes[:, [ONSET, DURATION, PITCH]].tolist():
        sounding = [row for row in sounding if row[0] > onset]
        taken = {row[2] for row in sounding}
        voice = sum(row[1] > pitch for row in sounding)
        while voice in taken:
            voice += 1
        sounding.append((onset + duration - min(slack, duration // 2), pitch, voice))
        voices.append(voice)
    notes[:, VOICE] = voices
    return in_order(notes)


def from_high_to_low(notes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The order in which the voices of notes (n, 5) stand by mean pitch: `order[k]` is the k-th highest one's number."""
    voices = np.unique(notes[:, VOICE])
    means = np.array([notes[notes[:, VOICE] == voice, PITCH].mean() for voice in voices])
    return voices[np.argsort(-means, kind="stable")]


# Melody voice: by its name, by its lyrics, else the highest

WORDS = (
    r"\b(melod|mélod|mel\b)|旋律|メロディ|멜로디|мелоди",
    r"\b(lead voc|vocal|vox|sing(er|ing)?\b|sung|gesang|canto|chant|voz)|вокал|人声|主唱|ボーカル|보컬",
    r"\b(voice|voce|voix|stimme)|голос",
    r"\bsopran",
    r"\b(lead|solo|theme|thema|tema)",
)
"""Patterns in the names of melodies, the surest first."""
OTHERS = r"\b(back|bg|bv|harmon|choir|chor|coro|second|nd|counter|bass|drum|pad)"
"""What the name of a part holds that accompanies a voice or a lead; numbers are left out of names."""


def melody_voice(piece: Piece, wanted: str | int | None = None) -> int:
    """Number of the voice to harmonise: `wanted` as a number or a name, else `likely_melody`.

    A name is compared without case and spaces; the beginning of one alone will do. Raises DataError if no voice is meant.
    """
    if wanted is None:
        return likely_melody(piece.names)
    sounding = [number for number in range(piece.voices) if len(piece.voice(number))]
    if isinstance(wanted, int) or str(wanted).isdecimal():
        if int(wanted) in sounding:
            return int(wanted)
        raise DataError(f"there is no note in --data.voice {wanted}: {described(piece)}.")
    names = {number: _plain(piece.names[number]) for number in sounding if number < len(piece.names)}
    sought = _plain(str(wanted))
    for fits in (str.__eq__, str.startswith):
        matches = [number for number, name in names.items() if name and fits(name, sought)]
        if matches:
            return matches[0]
    raise DataError(f"no voice is called --data.voice {wanted}: {described(piece)}.")


def likely_melody(names: Sequence[str]) -> int:
    """Number of the voice whose name says most clearly that it is the melody; 0, the highest, where none does.

    Names that our own writer gives ("Voice 1", "Soprano") say no more than that the highest comes first.
    """
    ranks = [(_rank(name), number) for number, name in enumerate(names)]
    return min(ranks, default=(len(WORDS), 0))[1]


def described(piece: Piece) -> str:
    """The voices of a piece by number and name, for messages."""
    named = [f"{number} ({name})" if name else str(number) for number, name in enumerate(_all_names(piece))]
    return f"the file has {'voices' if len(named) > 1 else 'voice'} {', '.join(named)}"


def called(piece: Piece, voice: int) -> str:
    """A voice in words: its name in quotes, else its number."""
    name = _all_names(piece)[voice]
    return f"'{name}'" if name else f"voice {voice}"


def _all_names(piece: Piece) -> list[str]:
    return [piece.names[number] if number < len(piece.names) else "" for number in range(piece.voices)]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _rank(name: str) -> int:
    """Place of a name among WORDS; the number of WORDS where it names no melody, one more where it names another part."""
    words = re.sub(r"[\d_]", " ", unicodedata.normalize("NFKC", name).casefold())
    if named_voice(name) is not None:
        return len(WORDS)
    if re.search(OTHERS, words):
        return len(WORDS) + 1
    return next((rank for rank, pattern in enumerate(WORDS) if re.search(pattern, words)), len(WORDS))
