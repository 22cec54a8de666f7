"""One piece as the files that a user can open: MIDI, MusicXML, a picture, sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.errors import DataError
from datamodules.symbolic.piece import Piece
from tasks.writers.parts import counted
from tasks.writers.whole import whole, write_figure, write_text

if TYPE_CHECKING:
    from tasks.generation.ladder import Answer

RATE = 44_100
PATTERNS = ("*.mid", "*.musicxml", "*.png", "*.svg", "*.wav")
"""What is written of pieces, and goes when they are written anew."""


@dataclass
class Wanted:
    """Which files; MIDI always."""

    score: bool = True
    picture: bool = True
    sound: bool = True


def write_piece(
    folder: Path, stem: str, piece: Piece, given: Piece | None, title: str, wanted: Wanted, midi: bytes | None = None
) -> list[str]:
    """Write `folder`/`stem`.mid, .musicxml, .png, .svg (where verovio is installed) and .wav; returns what could not be made.

    midi: what goes into the MIDI file, where that is more than the piece
    """
    from datamodules.symbolic.writing.midi import midi_bytes

    missing = []
    _bytes(folder / f"{stem}.mid", midi or midi_bytes(piece))
    if wanted.score:
        missing += _score(folder, stem, piece)
    if wanted.picture:
        from tasks.figures.generation import piano_roll

        write_figure(folder / f"{stem}.png", piano_roll(piece, given, title))
    if wanted.sound and len(piece.notes):
        try:
            _sound(folder / f"{stem}.wav", piece)
        except DataError as reason:
            missing.append(f"no sound: {reason}")
    return missing


def only_in_midi(answer: "Answer", wanted: Wanted) -> list[str]:
    """What of a user's file stands in the MIDI file of an answer alone, in sentences."""
    remarks, original = [], answer.original
    if original is None:
        return []
    if original.voice is not None and original.piece.voices > 1 and (wanted.score or wanted.picture or wanted.sound):
        remarks.append("score, picture and sound hold the melody and the written voices; the MIDI file holds the others too")
    counts = original.source.counts() if original.source and wanted.score else {}
    if counts:
        listed = ", ".join(counted(number, name.removesuffix("s")) for name, number in counts.items())
        remarks.append(f"the score holds notes alone: {listed} stand in the MIDI file as they were")
    return remarks


def _score(folder: Path, stem: str, piece: Piece) -> list[str]:
    from datamodules.symbolic.writing.musicxml import musicxml_bytes
    from tasks.figures.generation import score_svg

    try:
        _bytes(folder / f"{stem}.musicxml", musicxml_bytes(piece))
        if (drawn := score_svg(piece)) is not None:
            write_text(folder / f"{stem}.svg", drawn)
    except ValueError as reason:
        return [f"no score: {reason}"]
    return []


def _sound(path: Path, piece: Piece) -> None:
    import soundfile

    from datamodules.symbolic.writing.preview import preview

    samples = preview(piece, RATE)
    with whole(path) as temporary:
        soundfile.write(temporary, samples, RATE, subtype="PCM_16", format="WAV")


def _bytes(path: Path, content: bytes) -> None:
    with whole(path) as temporary:
        temporary.write_bytes(content)
