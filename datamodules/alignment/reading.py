"""Files of scores -> `Score`: MIDI, MusicXML, MEI, Humdrum and ABC, with each way to play their repeats."""

from pathlib import Path

import numpy as np

from datamodules.alignment.engraved import read_engraved
from datamodules.alignment.metre import Measure, beats_and_bars
from datamodules.alignment.midi import read_midi, tick_clock
from datamodules.alignment.score import ENGRAVED, MIDI, SCORES, TUNES, Origin, Score, notes_of
from datamodules.common.errors import DataError
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import DURATION, ONSET, PITCH, VELOCITY, VOICE, Piece, same
from datamodules.generation.reading import read_piece


def read_score(path: str | Path) -> Score:
    """A score by its file's ending (SCORES): MIDI, MusicXML, MEI, Humdrum or ABC, the written repeats played.

    Engraved scores are read by partitura, of the extra `score`. Raises DataError for a file that is missing, damaged, of
    another kind or without notes.
    """
    return unfoldings(path)[0][1]


def unfoldings(path: str | Path) -> list[tuple[str, Score]]:
    """The ways in which the written repeats may be played, each with its name; first the usual one. Of MIDI there is one."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: name a score ({', '.join(SCORES)}).")
    if path.suffix.lower() in MIDI:
        return [("as written", read_midi(path))]
    if path.suffix.lower() in TUNES:
        return read_tune(path)
    if path.suffix.lower() not in ENGRAVED:
        raise DataError(f"{path} is no score: known are files that end in {', '.join(SCORES)}.")
    return read_engraved(path)


def read_tune(path: Path) -> list[tuple[str, Score]]:
    """The ways in which a tune may be played, each with its name: all repeats and jumps first, then none.

    Chord symbols are not played. Raises DataError as `datamodules.generation.reading.read_piece`.
    """
    played, once = read_piece(path, "played"), read_piece(path, "once")
    if same(played, once):
        return [("as written", _score(played, path))]
    return [("all repeats", _score(played, path)), ("no repeats", _score(once, path))]


def _score(piece: Piece, path: Path) -> Score:
    seconds = tick_clock([(int(tick), int(length)) for tick, length in piece.tempi], piece.ticks)
    beats, bars = beats_and_bars(_measures(piece))
    rows = piece.notes[np.lexsort((piece.notes[:, PITCH], piece.notes[:, ONSET]))]
    onset = seconds(rows[:, ONSET].astype(float))
    offset = seconds((rows[:, ONSET] + rows[:, DURATION]).astype(float))
    program = [piece.programs[voice] if voice < len(piece.programs) else 0 for voice in rows[:, VOICE]]
    origins = [Origin(piece.names[voice] if voice < len(piece.names) else "", voice=str(voice + 1)) for voice in rows[:, VOICE]]
    return Score(
        notes_of(onset, offset, rows[:, PITCH], rows[:, VELOCITY], program),
        *(seconds(np.array(quarters, float) * piece.ticks) for quarters in (beats, bars)),
        str(path),
        origins=tuple(origins),
    )


def _measures(piece: Piece) -> list[Measure]:
    """Bars of a piece in quarter notes, its pickup first."""
    edges = [0, *bar_edges(piece)] if piece.pickup else list(bar_edges(piece))
    metres = [piece.metres[np.searchsorted(piece.metres[:, 0], edge, side="right") - 1] for edge in edges]
    ends = [*edges[1:-1], max(piece.length, edges[-2] + 1)]
    return [
        Measure(float(start / piece.ticks), float(end / piece.ticks), int(over), int(under))
        for start, end, (_, over, under) in zip(edges, ends, metres, strict=False)
    ]
