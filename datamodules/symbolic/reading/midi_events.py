"""Standard MIDI Files as their raw events: what a piece has no field for, kept to be written again as it was."""

from collections import Counter, defaultdict, deque
from typing import NamedTuple

OFF, ON, CONTROL, PROGRAM, PRESSURE, BEND = 0x8, 0x9, 0xB, 0xC, 0xD, 0xE
META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7
NAME, LYRIC, MARKER, END, TEMPO, METRE = 0x03, 0x05, 0x06, 0x2F, 0x51, 0x58
SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
"""Data bytes of system common messages, which no file should hold; the others have none."""
LONGEST_NUMBER = 4  # bytes of a number in base 128


class Event(NamedTuple):
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
    """A note as two events of a track: `on` and `off` are their places in it."""

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
    tracks: list[list[Event]]

    def notes(self) -> list[SourceNote]:
        """Every note that ends; of several of one pitch the first that was struck ends first, as `reading.midi` has it."""
        notes = []
        for number, events in enumerate(self.tracks):
            sounding: dict[tuple[int, int], deque[int]] = defaultdict(deque)
            for place, event in enumerate(events):
                if event.kind not in (OFF, ON):
                    continue
                channel, pitch, velocity = event.message[0] & 0xF, event.message[1], event.message[2]
                if event.kind == ON and velocity:
                    sounding[channel, pitch].append(place)
                elif sounding[channel, pitch]:
                    begun = sounding[channel, pitch].popleft()
                    onset = events[begun].tick
                    notes.append(SourceNote(number, channel, begun, place, onset, max(event.tick - onset, 1), pitch))
        return notes

    def counts(self) -> dict[str, int]:
        """How many events there are of what only MIDI holds, by its name in the plural."""
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
    """The events of a file of one sequence. Raises ValueError for bytes that are no events."""
    ticks = int.from_bytes(data[12:14], "big")
    place, tracks = 8 + int.from_bytes(data[4:8], "big"), []
    while place + 8 <= len(data):
        end = place + 8 + int.from_bytes(data[place + 4 : place + 8], "big")
        if data[place : place + 4] == b"MTrk":
            tracks.append(_events(data[place + 8 : end]))
        place = end
    return MidiSource(ticks, tracks)


def _events(data: bytes) -> list[Event]:
    events, place, now, status = [], 0, 0, 0
    while place < len(data):
        wait, place = _number(data, place)
        now += wait
        if place < len(data) and data[place] & 0x80:
            status = data[place]
            place += 1
        if status < 0x80:
            raise ValueError("data without a status")
        begin, place = place, _end_of(data, place, status)
        if place > len(data):
            raise ValueError("an event is cut short")
        event = Event(now, bytes((status,)) + data[begin:place])
        if event.meta == END:
            break
        events.append(event)
        status = status if status < SYSEX else 0
    return events


def _end_of(data: bytes, place: int, status: int) -> int:
    """Place behind the message whose status stands before `place`."""
    if status < SYSEX:
        return place + (1 if status >> 4 in (PROGRAM, PRESSURE) else 2)
    if status in (META, SYSEX, ESCAPE):
        length, place = _number(data, place + (status == META))
        return place + length
    return place + SYSTEM_BYTES.get(status, 0)


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in base 128, and the place behind it."""
    number = 0
    for length in range(LONGEST_NUMBER):
        if place + length >= len(data):
            break
        number = number << 7 | data[place + length] & 0x7F
        if not data[place + length] & 0x80:
            return number, place + length + 1
    raise ValueError("a number without an end")
