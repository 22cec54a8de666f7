"""Score files (MIDI, MusicXML, MEI, Humdrum, ABC) -> `Score` in seconds, one per unfolding of the repeats."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datamodules.alignment.engraved import read_engraved
from datamodules.alignment.metre import Measure, beats_and_bars
from datamodules.alignment.score import ENGRAVED, MIDI, SCORES, TUNES, Origin, Score, notes_of
from datamodules.audio.midi_file import DRUMS, NAME
from datamodules.common.errors import DataError, printable
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import VOICE, Piece, same
from datamodules.generation.reading import read_piece
from datamodules.generation.reading.midi import LYRIC, MidiSource, read_midi, read_source
from datamodules.generation.reading.notation import seconds

WAYS = ("all repeats", "no repeats")
SHORTEST = 1e-3  # s: length of notes that end at their start
MOST_BEATS = 1e6  # more indicate a damaged file


def read_score(path: str | Path) -> Score:
    """Read a score with its repeats unfolded as written.

    Args:
        path: file with a suffix of SCORES; MEI and Humdrum need partitura (extra `score`)

    Raises:
        DataError: the file is missing, damaged, of another kind or without notes.
    """
    return unfoldings(path)[0][1]


def unfoldings(path: str | Path) -> list[tuple[str, Score]]:
    """Unfoldings (name, score) of a score, the default first; MIDI has one."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: name a score ({', '.join(SCORES)}).")
    if path.suffix.lower() in MIDI:
        piece = read_midi(path, drums_alone=True)[0]
        return [("as written", in_seconds(piece, path, _midi_origins(path.read_bytes(), piece)))]
    if path.suffix.lower() in TUNES:
        played, once = read_piece(path, "played"), read_piece(path, "once")
        if same(played, once):
            return [("as written", in_seconds(played, path, _voices_of(played)))]
        return [(name, in_seconds(piece, path, _voices_of(piece))) for name, piece in zip(WAYS, (played, once), strict=True)]
    if path.suffix.lower() not in ENGRAVED:
        raise DataError(f"{path} is not a score: expected one of {', '.join(SCORES)}.")
    return read_engraved(path)


def in_seconds(piece: Piece, path: Path, origins: Sequence[Origin]) -> Score:
    """Score of a piece with the times of its tempi and the beats and bars of its metres, without chord symbols.

    origins: of the notes, then of the drums. Raises DataError for more than MOST_BEATS beats.
    """
    if piece.length / piece.ticks * piece.metres[:, 2].max() / 4 > MOST_BEATS:
        raise DataError(f"{path} is damaged: it lasts more than {MOST_BEATS:.0e} beats.")
    onset, duration, pitch, velocity = np.concatenate([piece.notes[:, :VOICE], piece.drums]).astype(float).T
    programs = np.array([*piece.programs, *[0] * (piece.voices - len(piece.programs))], int)
    program = np.append(programs[piece.notes[:, VOICE]], np.full(len(piece.drums), -1))
    start, end = (seconds(piece.tempi, piece.ticks, ticks) for ticks in (onset, onset + duration))
    beats, bars = (np.array(quarters, float) * piece.ticks for quarters in beats_and_bars(_measures(piece)))
    order = np.lexsort((pitch, start))  # of `notes_of`
    return Score(
        notes_of(start, np.maximum(end, start + SHORTEST), pitch, velocity, program),
        *(seconds(piece.tempi, piece.ticks, ticks) for ticks in (beats, bars)),
        str(path),
        origins=tuple(origins[index] for index in order),
    )


def _measures(piece: Piece) -> list[Measure]:
    """Bars of a piece in quarter notes, its pickup first."""
    edges = [0, *bar_edges(piece)] if piece.pickup else list(bar_edges(piece))
    metres = [piece.metres[np.searchsorted(piece.metres[:, 0], edge, side="right") - 1] for edge in edges]
    ends = [*edges[1:-1], max(piece.length, edges[-2] + 1)]
    return [
        Measure(float(start / piece.ticks), float(end / piece.ticks), int(beats), int(beat_type))
        for start, end, (_, beats, beat_type) in zip(edges, ends, metres, strict=False)
    ]


def _voices_of(piece: Piece) -> list[Origin]:
    """Voice of each note."""
    voices = piece.notes[:, VOICE].tolist()
    return [Origin(piece.names[voice] if voice < len(piece.names) else "", voice=str(voice + 1)) for voice in voices]


def _midi_origins(data: bytes, piece: Piece) -> list[Origin]:
    """Track name and lyric of each note, then of each drum."""
    known: dict[tuple[int, int, bool], Origin] = {}
    try:
        source = read_source(data) if b"\xff\x03" in data or b"\xff\x05" in data else MidiSource(1, [])
    except (ValueError, IndexError):  # damaged events, which `read_midi` skips
        source = MidiSource(1, [])
    texts = [{(event.meta, event.tick): _text(event.message) for event in events if event.meta} for events in source.tracks]
    names = [next((text for (meta, _), text in track.items() if meta == NAME), "") for track in texts]
    for note in source.notes():
        key, lyric = (note.onset, note.pitch, note.channel == DRUMS), texts[note.track].get((LYRIC, note.onset), "")
        if key not in known or lyric:
            known[key] = Origin(names[note.track], lyric=lyric)
    notes = [known.get((onset, pitch, False), Origin()) for onset, _, pitch, *_ in piece.notes.tolist()]
    if piece.names:
        notes = [origin._replace(part=piece.names[voice]) for origin, voice in zip(notes, piece.notes[:, VOICE], strict=True)]
    return notes + [known.get((onset, pitch, True), Origin()) for onset, _, pitch, _ in piece.drums.tolist()]


def _text(message: bytes) -> str:
    """Text of a meta event (UTF-8, else Latin-1) without the line marks of karaoke files."""
    length = next((index for index in range(2, len(message)) if message[index] < 0x80), len(message)) + 1
    try:
        text = message[length:].decode()
    except UnicodeDecodeError:
        text = message[length:].decode("latin-1")
    return printable(text).strip().lstrip("/\\")
