"""Standard MIDI Files -> pieces, in the file's own ticks."""

import struct
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError, printable
from datamodules.generation.piece import DURATION, ONSET, PITCH, VELOCITY, VOICE, Piece, in_order
from datamodules.generation.reading.notation import check_length, is_metre, read_symbol
from datamodules.generation.voices import SLACK, from_high_to_low, monophonic, named_voice, part

OFF, ON, CONTROL, PROGRAM, PRESSURE, BEND = 0x8, 0x9, 0xB, 0xC, 0xD, 0xE
META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7
LYRIC, MARKER, END_OF_TRACK = 0x05, 0x06, 0x2F
SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Data bytes of system common messages, which valid files do not contain; the others have none."""
LONGEST_NUMBER = 4  # bytes of a number in base 128


class MidiEvent(NamedTuple):
    """One message of a track, running status written out."""

    tick: int
    message: bytes

    @property
    def kind(self) -> int:
        """Upper half of a channel message's status: OFF to BEND; 0xF of all others."""
        return self.message[0] >> 4

    @property
    def meta(self) -> int | None:
        """Type of a meta event; None of other messages."""
        return self.message[1] if self.message[0] == META else None


class SourceNote(NamedTuple):
    """A note as two events of a track; `on` and `off` are their indices in it."""

    track: int
    channel: int
    on: int
    off: int
    onset: int
    duration: int
    pitch: int


class MidiSource(NamedTuple):
    """Tracks of a file as lists of events, in order, without their ends."""

    ticks: int  # of a quarter note
    tracks: list[list[MidiEvent]]

    def notes(self) -> list[SourceNote]:
        """All notes with an end; overlapping notes of one pitch end in the order of their onsets, as in `read_midi`."""
        notes = []
        for number, events in enumerate(self.tracks):
            sounding: dict[tuple[int, int], deque[int]] = defaultdict(deque)
            for index, event in enumerate(events):
                if event.kind not in (OFF, ON):
                    continue
                channel, pitch, velocity = event.message[0] & 0xF, event.message[1], event.message[2]
                if event.kind == ON and velocity:
                    sounding[channel, pitch].append(index)
                elif sounding[channel, pitch]:
                    begun = sounding[channel, pitch].popleft()
                    onset = events[begun].tick
                    notes.append(SourceNote(number, channel, begun, index, onset, max(event.tick - onset, 1), pitch))
        return notes

    def counts(self) -> dict[str, int]:
        """Number of events that `Piece` has no field for, by plural name."""
        counts: Counter[str] = Counter()
        for event in (event for events in self.tracks for event in events):
            name = _CHANNEL.get(event.kind) or _META.get(event.meta)
            name = "system messages" if event.message[0] in (SYSEX, ESCAPE) else name
            if name and (event.kind != CONTROL or event.message[1] not in (0, 32)):
                counts[name] += 1
        return dict(counts)


_CHANNEL = {CONTROL: "controllers", BEND: "pitch bends", PRESSURE: "pressures", 0xA: "pressures"}
_META = {0x01: "texts", 0x02: "copyright notes", LYRIC: "lyrics", MARKER: "markers", 0x07: "cue points"}


def read_source(data: bytes) -> MidiSource:
    """Events of a file of one sequence. Raises ValueError for invalid events."""
    ticks = int.from_bytes(data[12:14], "big")
    return MidiSource(ticks, [_events(chunk[8:]) for chunk in _track_chunks(data)])


def _track_chunks(data: bytes) -> Iterator[bytes]:
    """MTrk chunks of a file, chunk headers included."""
    position = 8 + int.from_bytes(data[4:8], "big")
    while position + 8 <= len(data):
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "big")
        if data[position : position + 4] == b"MTrk":
            yield data[position:end]
        position = end


def _events(data: bytes) -> list[MidiEvent]:
    events, position, now, status = [], 0, 0, 0
    while position < len(data):
        wait, position = _number(data, position)
        now += wait
        if position < len(data) and data[position] & 0x80:
            status = data[position]
            position += 1
        if status < 0x80:
            raise ValueError("data without a status")
        begin, position = position, _end_of(data, position, status)
        if position > len(data):
            raise ValueError("an event is cut short")
        event = MidiEvent(now, bytes((status,)) + data[begin:position])
        if event.meta == END_OF_TRACK:
            break
        events.append(event)
        status = status if status < SYSEX else 0
    return events


def _end_of(data: bytes, position: int, status: int) -> int:
    """Position after the message whose status byte precedes `position`."""
    if status < SYSEX:
        return position + (1 if status >> 4 in (PROGRAM, PRESSURE) else 2)
    if status in (META, SYSEX, ESCAPE):
        length, position = _number(data, position + (status == META))
        return position + length
    return position + SYSTEM_BYTES.get(status, 0)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """Variable-length number (base 128) and the position after it."""
    number = 0
    for length in range(LONGEST_NUMBER):
        if position + length >= len(data):
            break
        number = number << 7 | data[position + length] & 0x7F
        if not data[position + length] & 0x80:
            return number, position + length + 1
    raise ValueError("a number without an end")


FEW = 4  # consecutive bars of 1/4 from which they are read as 4/4
END, FERMATA, CHORD = "end", "fermata", "chord "
"""Markers in which our writer stores data that MIDI has no event for."""


def read_midi(path: Path, drums_alone: bool = False) -> list[Piece]:
    """The piece of a MIDI file; of format 2, with one piece a track, all that have notes.

    Ticks, tempi, metres, key, programs and names are the file's, 4/4 if it has no metre; tempi and metres that change
    after the last note are left out. A voice is a track (or channel), from high to low by mean pitch unless their names number
    them; a single polyphonic track is separated into voices by `part`. A first bar alone in a shorter metre is a pickup.

    Args:
        path: the file
        drums_alone: accept a file without pitched notes

    Raises:
        DataError: the file is damaged or has no notes.
    """
    data = _bytes(path)
    chunks = _sequences(data)
    pieces, silent = [], None
    for number, chunk in enumerate(chunks):
        try:
            name = f"{path.stem}-{number + 1}" if len(chunks) > 1 else path.stem
            pieces.append(_piece(_score(chunk, path), path, name, drums_alone))
        except Silent as error:
            silent = silent or error
    if not pieces:
        raise silent or DataError(f"{printable(str(path))} holds no notes: expected a MIDI file of music.")
    return pieces


def source_of(path: Path) -> MidiSource | None:
    """Events of the first piece of `read_midi`; None if the file has invalid events."""
    for chunk in _sequences(_bytes(path)):
        try:
            _piece(_score(chunk, path), path, "")
            return read_source(chunk)
        except Silent:
            continue
        except ValueError:
            return None
    return None


class Silent(DataError):
    """A file without a pitched note."""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(str(path))} cannot be read ({error.strerror}): expected a Standard MIDI File.") from error


def _sequences(data: bytes) -> list[bytes]:
    """The file itself; of format 2 each track as a file of its own."""
    if data[:4] != b"MThd" or len(data) < 14 or data[8:10] != b"\0\2":
        return [data]
    header = data[:8] + struct.pack(">HH", 0, 1) + data[12:14]
    return [header + chunk for chunk in _track_chunks(data)]


def _score(data: bytes, path: Path) -> Any:
    import symusic

    if data[:4] != b"MThd":
        raise DataError(f"{printable(str(path))} is not a MIDI file: it does not begin with MThd, as a Standard MIDI File does.")
    try:
        score = symusic.Score.from_midi(data)
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        text = (str(error).splitlines() or [""])[0].removeprefix("MiniMidi: ")
        text = text.removeprefix("Invaild midi file! ").removesuffix(": iostream error").rstrip(" .!")
        reason = f"{printable(str(path))} does not read as MIDI ({text or type(error).__name__})"
        raise DataError(f"{reason}: expected a Standard MIDI File (.mid).") from error
    if score.ticks_per_quarter <= 0:
        raise DataError(f"{printable(str(path))} is damaged: it counts no ticks to the quarter note.")
    return score


def _piece(score: Any, path: Path, name: str, drums_alone: bool = False) -> Piece:
    tracks = [(track, _notes(track)) for track in score.tracks]
    drums = [notes[:, :4] for track, notes in tracks if track.is_drum and len(notes)]
    pitched = [(track, notes) for track, notes in tracks if not track.is_drum and len(notes)]
    if not pitched and not (drums and drums_alone):
        what = "only drums" if drums else "no notes"
        raise Silent(f"{printable(str(path))} holds {what}: expected a MIDI file with pitched notes.")
    ticks = int(score.ticks_per_quarter)
    notes, programs, names = _voices(pitched, ticks)
    drums = np.concatenate(drums) if drums else np.zeros((0, 4), np.int32)
    end = max(int((events[:, ONSET].astype(np.int64) + events[:, DURATION]).max()) for events in (notes, drums) if len(events))
    tempi = _tempi(score)
    check_length(tempi, ticks, end, path)
    tonic, mode = _key(score)
    markers = [(int(marker.time), marker.text) for marker in score.markers]
    length = max([end, *(at for at, text in markers if text == END)])
    metres, pickup = _metres(score, ticks)
    metres, unsaid = _in_quarters(metres[metres[:, 0] < length], ticks, length)
    return Piece(
        notes,
        ticks,
        length=length,
        name=name,
        pickup=pickup,
        metres=metres,
        tempi=tempi[tempi[:, 0] < length],
        tonic=tonic,
        mode=mode,
        fermatas=np.array([at for at, text in markers if text == FERMATA], np.int32),
        chords=_chords(markers),
        drums=drums[np.lexsort((drums[:, PITCH], drums[:, ONSET]))],
        programs=programs,
        names=names,
        remarks=("its metre 1/4 is read as 4/4",) if unsaid else (),
    )


def _notes(track: Any) -> NDArray[np.int32]:
    """(n, 5) notes of one track, at least a tick long, voice 0."""
    columns = track.notes.numpy()
    rows = np.zeros((len(columns["time"]), 5), np.int32)
    rows[:, ONSET], rows[:, DURATION] = np.maximum(columns["time"], 0), np.maximum(columns["duration"], 1)
    rows[:, PITCH], rows[:, VELOCITY] = columns["pitch"] & 127, np.clip(columns["velocity"], 1, 127)
    return rows


def _voices(
    pitched: list[tuple[Any, NDArray[np.int32]]], ticks: int
) -> tuple[NDArray[np.int32], tuple[int, ...], tuple[str, ...]]:
    """All notes with their voices, and the programs and names of the voices."""
    if not pitched:
        return np.zeros((0, 5), np.int32), (), ()
    labels = [" ".join(track.name.split()) for track, _ in pitched]
    named = [named_voice(label) for label in labels]
    if len(pitched) == 1 and named[0] is None:
        track, notes = pitched[0]
        single = monophonic(notes, ticks // SLACK)
        notes = in_order(notes) if single else part(notes, ticks // SLACK)
        return notes, (int(track.program),) * (int(notes[:, VOICE].max()) + 1), (labels[0],) if single else ()
    ours = None not in named and len(set(named)) == len(named)
    for number, (_, notes) in enumerate(pitched):
        notes[:, VOICE] = named[number] if ours else number
    notes = np.concatenate([notes for _, notes in pitched])
    known = {int(rows[0, VOICE]): (int(track.program), name) for (track, rows), name in zip(pitched, labels, strict=True)}
    if not ours:
        order = from_high_to_low(notes)
        notes[:, VOICE] = np.argsort(order)[notes[:, VOICE]]
        known = {index: known[int(voice)] for index, voice in enumerate(order)}
    programs, names = zip(*(known.get(voice, (0, "")) for voice in range(max(known) + 1)), strict=True)
    return in_order(notes), programs, names


def _tempi(score: Any) -> NDArray[np.int32]:
    """(m, 2) tempi; the last of several at one tick, 120 quarter notes per minute before the first."""
    columns = score.tempos.numpy()
    rows = zip(np.maximum(columns["time"], 0).tolist(), np.maximum(columns["mspq"], 1).tolist(), strict=True)
    return np.array(_last({0: 500_000}, rows), np.int32)


def _metres(score: Any, ticks: int) -> tuple[NDArray[np.int32], int]:
    """(m, 3) metres, and the pickup: a first bar alone in its metre and shorter than the next."""
    columns = score.time_signatures.numpy()
    rows = zip(*(columns[name].tolist() for name in ("time", "numerator", "denominator")), strict=True)
    valid = ((max(at, 0), (over, under)) for at, over, under in rows if is_metre(over, under, ticks))
    changes = _last({0: (4, 4)}, valid)
    metres = np.array([(at, *metre) for at, metre in changes], np.int32)
    if len(metres) > 1:
        (_, over, under), (at, next_over, next_under) = metres[:2].tolist()
        if at * under <= 4 * ticks * over and at * next_under < 4 * ticks * next_over:
            return np.concatenate([[[0, next_over, next_under]], metres[2:]]).astype(np.int32), at
    return metres, 0


def _in_quarters(metres: NDArray[np.int32], ticks: int, length: int) -> tuple[NDArray[np.int32], bool]:
    """Replace FEW or more bars of 1/4 by 4/4 in metres (m, 3): programs without bars write 1/4. Returns whether any were."""
    lasts = np.diff(np.append(metres[:, 0], length))
    unsaid = (metres[:, 1:] == (1, 4)).all(1) & (lasts >= FEW * ticks)
    if not unsaid.any():
        return metres, False
    metres = metres.copy()
    metres[unsaid, 1] = 4
    changes = np.append(True, (metres[1:, 1:] != metres[:-1, 1:]).any(1))
    return metres[changes], True


def _last(first: dict[int, Any], rows: Iterable[tuple[int, Any]]) -> list:
    """Events (time, value) by time, the last of several at one time."""
    return sorted((first | dict(rows)).items())


def _key(score: Any) -> tuple[int | None, str | None]:
    """Tonic and mode of the first key signature."""
    if not len(score.key_signatures):
        return None, None
    first = min(score.key_signatures, key=lambda signature: signature.time)
    minor = first.tonality == 1
    return (7 * int(first.key) + (9 if minor else 0)) % 12, "minor" if minor else "major"


def _chords(markers: list[tuple[int, str]]) -> NDArray[np.int32]:
    results = [(at, read_symbol(text.removeprefix(CHORD))) for at, text in markers if text.startswith(CHORD)]
    return np.array([(at, *chord) for at, chord in results if chord], np.int32).reshape(-1, 3)
