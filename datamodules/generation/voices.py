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
"""Fraction 1 / SLACK of a quarter note by which played notes of a voice may overlap."""


def voice_names(voices: int, names: Sequence[str] = ()) -> list[str]:
    """Names of the voices of a piece: its own (`names`), else default names that `named_voice` reads."""
    usual = list(CHOIR) if voices == len(CHOIR) else [f"Voice {number + 1}" for number in range(voices)]
    return [names[number] if number < len(names) and names[number] else usual[number] for number in range(voices)]


def named_voice(name: str) -> int | None:
    """Voice number of a default name by `voice_names`; None for other names."""
    if name in CHOIR:
        return CHOIR.index(name)
    match = re.fullmatch(r"Voice ([1-9]\d{0,3})", name)
    return int(match[1]) - 1 if match else None


def monophonic(notes: NDArray[np.int32], slack: int = 0) -> bool:
    """Return whether notes (n, 5) are monophonic: only legato overlaps, no note lasts beyond the second next onset.

    A note ends at the next onset of its pitch. slack: allowed overlap in ticks; two notes with onsets closer than that and a
    longer overlap are a chord.
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
    """Separate notes (n, 5) into voices: the number of higher notes at the onset, or the next free voice.

    The first voice is the skyline, and voices are monophonic except for overlaps of `slack` ticks or half of the earlier note,
    whichever is less.
    """
    notes = np.array(notes, np.int32).reshape(-1, 5)
    notes = notes[np.lexsort((-notes[:, PITCH], notes[:, ONSET]))]
    sounding: list[tuple[int, int, int]] = []  # end, pitch, voice
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
    """Voice numbers of notes (n, 5) in descending order of mean pitch."""
    voices = np.unique(notes[:, VOICE])
    means = np.array([notes[notes[:, VOICE] == voice, PITCH].mean() for voice in voices])
    return voices[np.argsort(-means, kind="stable")]


WORDS = (
    r"\b(melod|mélod|mel\b)|旋律|メロディ|멜로디|мелоди",
    r"\b(lead voc|vocal|vox|sing(er|ing)?\b|sung|gesang|canto|chant|voz)|вокал|人声|主唱|ボーカル|보컬",
    r"\b(voice|voce|voix|stimme)|голос",
    r"\bsopran",
    r"\b(lead|solo|theme|thema|tema)",
)
"""Patterns in names of melodies, in order of priority."""
OTHERS = r"\b(back|bg|bv|harmon|choir|chor|coro|second|nd|counter|bass|drum|pad)"
"""Pattern in names of accompanying parts; numbers are removed from names first."""


def melody_voice(piece: Piece, choice: str | int | None = None) -> int:
    """Number of the voice to harmonise: `choice` as a number or a name, else `likely_melody`.

    Names are compared without case and spaces, and may be abbreviated. Raises DataError if no voice matches.
    """
    if choice is None:
        return likely_melody(piece.names)
    sounding = [number for number in range(piece.voices) if len(piece.voice(number))]
    if isinstance(choice, int) or str(choice).isdecimal():
        if int(choice) in sounding:
            return int(choice)
        raise DataError(f"there are no notes in --data.voice {choice}: {described(piece)}.")
    names = {number: _plain(piece.names[number]) for number in sounding if number < len(piece.names)}
    sought = _plain(str(choice))
    for fits in (str.__eq__, str.startswith):
        matches = [number for number, name in names.items() if name and fits(name, sought)]
        if matches:
            return matches[0]
    raise DataError(f"no voice is called --data.voice {choice}: {described(piece)}.")


def likely_melody(names: Sequence[str]) -> int:
    """Number of the voice whose name has the best match in WORDS; 0, the highest, without a match.

    Default names of our writer ("Voice 1", "Soprano") count as no match.
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
    """Index of the first matching pattern of WORDS; len(WORDS) without a match, one more for accompanying parts."""
    words = re.sub(r"[\d_]", " ", unicodedata.normalize("NFKC", name).casefold())
    if named_voice(name) is not None:
        return len(WORDS)
    if re.search(OTHERS, words):
        return len(WORDS) + 1
    return next((rank for rank, pattern in enumerate(WORDS) if re.search(pattern, words)), len(WORDS))
