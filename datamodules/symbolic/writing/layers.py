"""The notes of one voice as chords that follow each other, in as many layers as they overlap, and cut at bar lines."""

from bisect import bisect_right
from typing import NamedTuple

from numpy.typing import NDArray

from datamodules.symbolic.grid import bar_lines
from datamodules.symbolic.piece import Piece


class Bar(NamedTuple):
    """One measure."""

    start: int
    end: int
    beats: int
    beat_type: int
    changes: bool  # the metre is written here

    def beat(self, ticks: int) -> int:
        """Ticks of a beat; of three in compound time."""
        compound = self.beats > 3 and self.beats % 3 == 0 and self.beat_type >= 8
        return max(1, 4 * ticks * (3 if compound else 1) // self.beat_type)


class Sound(NamedTuple):
    """Notes that begin and end together."""

    onset: int
    end: int
    notes: list[tuple[int, int]]  # pitch, velocity


class Stretch(NamedTuple):
    """What a layer holds inside a bar: a sound or a part of one, or a rest."""

    start: int
    end: int
    sound: Sound | None


def bars(piece: Piece) -> list[Bar]:
    """The measures, a pickup being the first; at least one."""
    ends = (piece.notes[:, 0].astype(int) + piece.notes[:, 1]).tolist()
    length = max([piece.length, *ends])
    lines = bar_lines(piece).tolist() or [0]
    bar = Bar(0, 0, piece.beats, piece.beat_type, True)
    metres = {tick: metre for tick, *metre in piece.metres.tolist() if tick > piece.pickup}
    found = []
    for start, end in zip(lines, [*lines[1:], length or piece.bar], strict=True):
        beats, kind = metres.get(start, bar[2:4])
        bar = Bar(start, end, beats, kind, not found or start in metres)
        found.append(bar)
    return found


def layers(notes: NDArray) -> list[list[Sound]]:
    """The sounds of one voice's notes (n, 5), each in the first layer that is free; at least one layer."""
    sounds: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for onset, duration, pitch, velocity, _ in notes.tolist():
        sounds.setdefault((onset, onset + duration), []).append((pitch, velocity))
    found: list[list[Sound]] = [[]]
    for (onset, end), heard in sorted(sounds.items(), key=lambda item: (item[0][0], -item[0][1])):
        free = next((layer for layer in found if not layer or layer[-1].end <= onset), None)
        if free is None:
            found.append(free := [])
        free.append(Sound(onset, end, sorted(heard)))
    return found


def inside(layer: list[Sound], bar: Bar) -> list[Stretch]:
    """A layer's sounds and rests from the beginning to the end of a bar."""
    now, found = bar.start, []
    for sound in layer[bisect_right(layer, bar.start, key=lambda sound: sound.end) :]:
        if sound.onset >= bar.end:
            break
        if sound.onset > now:
            found.append(Stretch(now, sound.onset, None))
        found.append(Stretch(max(sound.onset, bar.start), min(sound.end, bar.end), sound))
        now = found[-1].end
    return [*found, Stretch(now, bar.end, None)] if now < bar.end else found
