"""Edited MIDI files: events of a user's file with the notes of a changed piece."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from datamodules.audio.midi_file import CHANNELS, DRUMS, METRE, NAME, TEMPO, Events, file_bytes, meta
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import DURATION, ONSET, PITCH, VELOCITY, VOICE, Piece
from datamodules.generation.reading.midi import CHORD, END, MARKER, META, OFF, ON, MidiEvent, MidiSource, SourceNote
from datamodules.generation.voices import voice_names
from datamodules.generation.writing.midi import chord_markers, end_marker

BEFORE, GIVEN, AFTER = range(3)
"""Ranks among the events of a tick: ends of new notes, the file's own events, beginnings of new notes."""
Channel = tuple[int, int]  # track, channel
Key = tuple[int, int, int]  # onset, duration, pitch


def edited_midi(source: MidiSource, original: Piece, piece: Piece) -> bytes:
    """Replace the notes, drums and chords of `original` in the file `source` by those of `piece`.

    All other events up to the last bar of `original` are kept: controllers, bends, programs, lyrics, markers, names. A voice
    keeps its track and channel of the file; a new voice gets its own track.

    Args:
        source: events of the file
        original: the piece read from the file, with every voice
        piece: the piece to write, its ticks a multiple of the file's; voices beyond those of `original` are new
    """
    scale = piece.ticks // source.ticks
    last = int(bar_edges(original)[-1])
    tracks = [_kept(events, original, last) for events in source.tracks]
    notes = source.notes()
    gone, new = _changes(notes, original, piece, scale)
    out: list[Events] = [
        [(event.tick * scale, GIVEN, event.message) for index, event in events if (number, index) not in gone]
        for number, events in enumerate(tracks)
    ]
    _add_markers(out, original, piece, scale)
    homes = _homes(notes, original)
    _name_tracks(out, source, homes, original, piece)
    sounding = [(n.track, n.channel, n.pitch, n.onset * scale, (n.onset + n.duration) * scale) for n in notes]
    sounding = [row for row, note in zip(sounding, notes, strict=True) if (note.track, note.on) not in gone]
    _add_notes(out, new, homes, piece, _Pitches(sounding), _free_channels(source))
    return file_bytes(out, piece.ticks, piece.length)


def _kept(events: Sequence[MidiEvent], original: Piece, last: int) -> list[tuple[int, MidiEvent]]:
    """Events of a track with their indices, without those after the last bar or tempo and metre changes after the end."""
    ends = {TEMPO: original.length, METRE: original.length}
    placed = enumerate(events)
    return [(n, event) for n, event in placed if event.tick < ends.get(event.meta, last + 1) or event.kind in (ON, OFF)]


def _changes(
    notes: Sequence[SourceNote], original: Piece, piece: Piece, scale: int
) -> tuple[set[tuple[int, int]], list[tuple[int, ...]]]:
    """Removed events (track, index), and new rows (onset, duration, pitch, velocity, voice), drums as voice -1."""
    before, after = _rows(original.at(piece.ticks)), _rows(piece)
    kept = Counter((*row[:3], row[4]) for row in before) & Counter((*row[:3], row[4]) for row in after)
    dropped = Counter((*row[:3], row[4]) for row in before) - kept
    removed: Counter[tuple] = Counter()
    for (*key, voice), number in dropped.items():
        removed[*key, voice < 0] += number
    gone = set()
    for note in reversed(notes):
        key = (note.onset * scale, note.duration * scale, note.pitch, note.channel == DRUMS)
        if removed[key] > 0:
            removed[key] -= 1
            gone |= {(note.track, note.on), (note.track, note.off)}
    new = []
    for row in after:
        key = (*row[:3], row[4])
        if kept[key] > 0:
            kept[key] -= 1
        else:
            new.append(row)
    return gone, new


def _rows(piece: Piece) -> list[tuple[int, ...]]:
    """All notes and drums as plain numbers, drums as voice -1."""
    drums = np.concatenate([piece.drums, np.full((len(piece.drums), 1), -1, np.int32)], 1)
    columns = [ONSET, DURATION, PITCH, VELOCITY, VOICE]
    return [tuple(row) for row in np.concatenate([piece.notes[:, columns], drums[:, columns]]).tolist()]


def _homes(notes: Sequence[SourceNote], original: Piece) -> dict[int, Channel]:
    """Track and channel with most of the notes of each voice."""
    at: dict[Key, list[Channel]] = defaultdict(list)
    for note in notes:
        at[note.onset, note.duration, note.pitch].append((note.track, note.channel))
    counts: dict[int, Counter[Channel]] = defaultdict(Counter)
    for onset, duration, pitch, _, voice in _rows(original):
        fits = [channel for channel in at[onset, duration, pitch] if (channel[1] == DRUMS) == (voice < 0)]
        counts[voice].update(fits)
    return {voice: channels.most_common(1)[0][0] for voice, channels in counts.items() if channels}


def _add_markers(out: list[Events], original: Piece, piece: Piece, scale: int) -> None:
    """Rewrite the markers of chord symbols and of the end if they changed."""
    chords = not np.array_equal(original.at(piece.ticks).chords, piece.chords)
    ends = original.length * scale != piece.length
    for events in out:
        events[:] = [event for event in events if not _stale(event[2], chords, ends)]
    out[0] += (chord_markers(piece) if chords else []) + (end_marker(piece) if ends else [])


def _stale(message: bytes, chords: bool, ends: bool) -> bool:
    """Return whether a message is an outdated marker of our own; its text begins after one byte of length."""
    text = message[3:] if message[:2] == bytes((META, MARKER)) else b""
    return (chords and text.startswith(CHORD.encode())) or (ends and text == END.encode())


def _name_tracks(out: list[Events], source: MidiSource, homes: dict[int, Channel], original: Piece, piece: Piece) -> None:
    """Name the tracks as our own files do if the file has no names and each voice its own track."""
    tracks = [homes[voice][0] for voice in range(original.voices) if voice in homes]
    named = any(event.meta == NAME for track in tracks for event in source.tracks[track])
    if named or any(original.names) or len(set(tracks)) < len(tracks) or len(tracks) < original.voices:
        return
    for track, name in zip(tracks, voice_names(piece.voices, piece.names), strict=False):
        out[track].insert(0, (0, BEFORE, meta(NAME, name.encode())))


def _free_channels(source: MidiSource) -> list[int]:
    """Channels without notes or programs in the file; all channels if there is none."""
    used = {event.message[0] & 0xF for events in source.tracks for event in events if event.message[0] < 0xF0}
    return [channel for channel in CHANNELS if channel not in used] or list(CHANNELS)


class _Pitches:
    """Sounding spans of each pitch of a channel, so that no new note ends an existing one of the same pitch."""

    def __init__(self, sounding: Iterable[tuple[int, int, int, int, int]]) -> None:
        self.spans: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
        for track, channel, pitch, onset, end in sounding:
            self.spans[track, channel, pitch].append((onset, end))

    def fit(self, channel: Channel, pitch: int, onset: int, end: int) -> int:
        """End of a note adjusted to overlapping notes of its pitch; adds the note to the spans."""
        spans = self.spans[*channel, pitch]
        for other, until in spans:
            if other <= onset < until:
                end = max(end, until)
            elif onset < other < end:
                end = other
        spans.append((onset, end))
        return end


def _add_notes(
    out: list[Events], new: Sequence[tuple[int, ...]], homes: dict[int, Channel], piece: Piece, pitches: _Pitches, free: list[int]
) -> None:
    """Write new notes into their voices' tracks, of new voices into tracks that begin with a name and a program."""
    names = voice_names(piece.voices, piece.names)
    homes, fresh = dict(homes), 0
    for onset, duration, pitch, velocity, voice in sorted(new, key=lambda row: (row[4], row[0])):
        if voice not in homes:
            channel = DRUMS if voice < 0 else free[fresh % len(free)]
            fresh += voice >= 0
            homes[voice] = len(out), channel
            start: Events = [(0, BEFORE, meta(NAME, (names[voice] if voice >= 0 else "Drums").encode()))]
            program = piece.programs[voice] if 0 <= voice < len(piece.programs) else 0
            out.append(start + ([(0, GIVEN, bytes((0xC0 | channel, program)))] if voice >= 0 else []))
        track, channel = homes[voice]
        end = pitches.fit(homes[voice], pitch, onset, onset + duration)
        out[track].append((onset, AFTER, bytes((ON << 4 | channel, pitch, min(max(velocity, 1), 127)))))
        out[track].append((end, BEFORE, bytes((OFF << 4 | channel, pitch, 0))))
