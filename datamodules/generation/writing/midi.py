"""Pieces -> Standard MIDI Files, read back by `reading.midi` as the same pieces, and their sound."""

import math
import struct
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datamodules.audio.midi_file import CHANNELS, DRUMS, KEY, NAME, Events, file_bytes, meta, metre, tempo
from datamodules.audio.render import RATE, render
from datamodules.common.errors import DataError
from datamodules.generation.harmony import fifths_of
from datamodules.generation.piece import DURATION, ONSET, PITCH, VELOCITY, VOICE, Piece
from datamodules.generation.reading.midi import CHORD, END, FERMATA, MARKER
from datamodules.generation.reading.notation import MOST_TICKS, seconds, write_symbol
from datamodules.generation.voices import voice_names


def midi_bytes(piece: Piece) -> bytes:
    """MIDI file of format 1: tempi, metres, key and markers, then a track for each voice and one for drums.

    A pickup is a first bar in its own metre. Fermatas, chords and a rest at the end are markers, since MIDI has no event for
    them. Every track ends at `piece.length`. Overlapping notes of one voice and pitch are cut.
    """
    if piece.ticks > MOST_TICKS:
        piece = piece.at(480)
    tracks = [_frame(piece)]
    for voice, name in enumerate(voice_names(piece.voices, piece.names)):
        program = piece.programs[voice] if voice < len(piece.programs) else 0
        channel = CHANNELS[voice % len(CHANNELS)]
        start = [(0, 0, meta(NAME, name.encode())), (0, 0, bytes((0xC0 | channel, program)))]
        tracks.append(start + _played(piece.voice(voice)[:, :VOICE], channel))
    if len(piece.drums):
        tracks.append([(0, 0, meta(NAME, b"Drums")), *_played(piece.drums, DRUMS)])
    return file_bytes(tracks, piece.ticks, piece.length)


def _frame(piece: Piece) -> Events:
    """Events of the first track: title, metres, key, tempi and markers."""
    events: Events = [(0, 0, meta(NAME, piece.title.encode()))] if piece.title else []
    for tick, over, under in _metres(piece):
        events.append((tick, 1, metre(over, under)))
    if piece.tonic is not None and piece.mode is not None:
        fifths = fifths_of(piece.tonic, piece.mode)
        events.append((0, 1, meta(KEY, struct.pack("bB", fifths, piece.mode == "minor"))))
    events += [(tick, 2, tempo(length)) for tick, length in piece.tempi.tolist()]
    events += [(tick, 4, meta(MARKER, FERMATA.encode())) for tick in piece.fermatas.tolist()]
    return events + chord_markers(piece) + end_marker(piece)


def chord_markers(piece: Piece) -> Events:
    """Chord symbols as markers."""
    return [(tick, 3, meta(MARKER, (CHORD + write_symbol(*chord)).encode())) for tick, *chord in piece.chords.tolist()]


def end_marker(piece: Piece) -> Events:
    """Marker of the end of a piece that lasts beyond its last note; else empty."""
    ends = [int((rows[:, ONSET] + rows[:, DURATION]).max()) for rows in (piece.notes, piece.drums) if len(rows)]
    return [(piece.length, 5, meta(MARKER, END.encode()))] if piece.length > max(ends, default=0) else []


def _metres(piece: Piece) -> list[list[int]]:
    """Metres as (tick, beats, beat type); a pickup gets the shortest metre that holds it."""
    first, *rest = piece.metres.tolist()
    if not piece.pickup:
        return [first, *rest]
    whole = 4 * piece.ticks
    under = next((kind for kind in (4, 8, 16, 32) if piece.pickup * kind % whole == 0), 64)
    return [[0, math.ceil(piece.pickup * under / whole), under], [piece.pickup, *first[1:]], *rest]


def _played(notes: NDArray[np.int32], channel: int) -> Events:
    """Note-ons and note-offs of rows (onset, duration, pitch, velocity)."""
    notes = notes[np.lexsort((notes[:, ONSET], notes[:, PITCH]))].copy()
    gap = np.diff(notes[:, ONSET])
    again = np.append((np.diff(notes[:, PITCH]) == 0) & (gap > 0) & (gap < notes[:-1, DURATION]), False)[: len(notes)]
    notes[again, DURATION] = gap[again[:-1]] if len(gap) else 0
    events: Events = []
    for onset, duration, pitch, velocity in notes[:, [ONSET, DURATION, PITCH, VELOCITY]].tolist():
        events.append((onset, 2, bytes((0x90 | channel, pitch, min(max(velocity, 1), 127)))))
        events.append((onset + duration, 1, bytes((0x80 | channel, pitch, 0))))
    return events


GAIN = 2.0  # a melody at velocity 80 peaks near 0.1 as it is rendered
LONGEST = 3600  # s
TAIL = 1.0  # s that the last notes have to fade


def preview(piece: Piece, rate: int = 44_100) -> NDArray[np.float32]:
    """Render a piece to audio, (samples, 2) float32 within [-1, 1], with its tempi, programs and drums.

    All pieces have the same gain, unless the output would clip. Raises DataError if there
    is no renderer or SoundFont, or the piece is longer than an hour.
    """
    import soxr

    lasts = float(seconds(piece.tempi, piece.ticks, piece.length))
    if lasts > LONGEST:
        raise DataError(f"{piece.name or 'the piece'} lasts {lasts / 60:.0f} minutes: a preview has at most {LONGEST // 60}.")
    tail = round(TAIL * 1e6 / int(piece.tempi[-1, 1]) * piece.ticks)  # the renderer stops where the file ends
    try:
        sound = render(midi_bytes(replace(piece, length=piece.length + tail)), lasts + TAIL)
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(f"{piece.name or 'the piece'} cannot be rendered ({error}).") from error
    sound = soxr.resample(sound * np.float32(GAIN), RATE, rate) if len(sound) else sound
    return (sound / max(1.0, float(np.abs(sound).max(initial=0)))).astype(np.float32)
