"""Files of symbolic music (MIDI, MusicXML, ABC; MEI and Humdrum by music21) -> pieces."""

from pathlib import Path

from datamodules.common.errors import DataError, printable
from datamodules.generation.piece import Piece
from datamodules.generation.reading.notation import Repeats

MIDI = (".mid", ".midi", ".kar")
MUSICXML = (".musicxml", ".xml", ".mxl")
ABC = (".abc",)
CONVERTED = (".krn", ".mei")
MUSIC = MIDI + MUSICXML + ABC + CONVERTED
"""File suffixes that `read_piece` reads."""


def read_piece(path: str | Path, repeats: Repeats = "once") -> Piece:
    """First piece of a file with a suffix of MUSIC; `repeats` sets the order of measures of a score or tune.

    Raises DataError, naming the file, if it is missing, empty, damaged, without pitched notes or more than a day long.
    """
    return read_pieces(path, repeats)[0]


def read_pieces(path: str | Path, repeats: Repeats = "once") -> list[Piece]:
    """All pieces of a file, at least one; an ABC file can hold many tunes. Raises as `read_piece`."""
    path = Path(path)
    ending, shown = path.suffix.lower(), printable(str(path))
    if ending not in MUSIC:
        raise DataError(f"{shown} has an unknown suffix: expected a file of symbolic music ({' '.join(MUSIC)}).")
    if not path.is_file():
        raise DataError(f"{shown} does not exist: expected a file of symbolic music.")
    if not path.stat().st_size:
        raise DataError(f"{shown} is empty (0 bytes): expected a file of symbolic music.")
    if ending in MIDI:
        from datamodules.generation.reading.midi import read_midi

        return read_midi(path)
    if ending in ABC:
        from datamodules.generation.reading.abc import read_abc

        return read_abc(path, repeats)
    from datamodules.generation.reading.scores import read_score

    return [read_score(path, repeats)]
