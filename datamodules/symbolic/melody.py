"""Melody voice of a piece: by its name, by lyrics that are sung to it, else the highest."""

import re
import unicodedata
from collections.abc import Sequence

from datamodules.errors import DataError
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.voices import named_voice

WORDS = (
    r"\b(melod|mélod|mel\b)|旋律|メロディ|멜로디|мелоди",
    r"\b(lead voc|vocal|vox|sing(er|ing)?\b|sung|gesang|canto|chant|voz)|вокал|人声|主唱|ボーカル|보컬",
    r"\b(voice|voce|voix|stimme)|голос",
    r"\bsopran",
    r"\b(lead|solo|theme|thema|tema)",
)
"""What the name of a melody holds, the surest first."""
OTHERS = r"\b(back|bg|bv|harmon|choir|chor|coro|second|nd|counter|bass|drum|pad)"
"""What the name of a part holds that accompanies a voice or a lead; numbers are left out of names."""


def melody_voice(piece: Piece, wanted: str | int | None = None) -> int:
    """Number of the voice to harmonise: `wanted` as a number or a name, else `likely_melody`.

    A name is compared without case and spaces; the beginning of one alone will do. Raises DataError where no voice is meant.
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
