"""One voice of a piece -> ABC notation, with its chord symbols."""

from fractions import Fraction
from itertools import groupby, pairwise

from datamodules.generation.harmony import find_key
from datamodules.generation.piece import Piece
from datamodules.generation.reading.notation import write_symbol
from datamodules.generation.writing.values import Accidentals, Bar, Spelling, Stretch, Value, Values, bars, inside, layers

SIGNS = {-2: "__", -1: "_", 0: "=", 1: "^", 2: "^^"}
BARS_OF_LINE = 4


def abc_text(piece: Piece, voice: int = 0) -> str:
    """ABC tune with the notes, chords, key, metres, pickup and fermatas of a voice, and one rounded tempo.

    Of overlapping notes that are not chords only the first are written. Without a key the field is K:none.
    """
    keyed = piece.tonic is not None and piece.mode is not None
    spelling = Spelling(*((piece.tonic, piece.mode) if keyed else find_key(piece)))
    header = [("X", "1"), ("T", piece.title or piece.name), ("C", piece.composer), ("R", piece.kind)]
    header += [("M", f"{piece.beats}/{piece.beat_type}"), ("L", "1/8"), ("Q", f"1/4={round(60e6 / piece.tempi[0, 1])}")]
    header.append(("K", _key_name(spelling, piece) if keyed else "none"))
    writer = _Writer(piece, voice, Accidentals(spelling, plain=not keyed))
    measures = [writer.bar(bar, bool(index)) for index, bar in enumerate(bars(piece))]
    lines = ["|".join(measures[index : index + BARS_OF_LINE]) for index in range(0, len(measures), BARS_OF_LINE)]
    fields = [f"{letter}:{' '.join(text.split())}" for letter, text in header if text.strip()]
    return "\n".join([*fields, *(f"{line}|" for line in lines[:-1]), f"{lines[-1]}|]"]) + "\n"


def _key_name(spelling: Spelling, piece: Piece) -> str:
    step, alter, _ = spelling.name(60 + piece.tonic)
    return step + {-1: "b", 0: "", 1: "#"}[alter] + ("m" if piece.mode == "minor" else "")


class _Writer:
    """Writes the bars of one voice."""

    def __init__(self, piece: Piece, voice: int, accidentals: Accidentals) -> None:
        self.ticks, self.accidentals, self.values = piece.ticks, accidentals, Values(piece.ticks)
        self.layer = layers(piece.voice(voice))[0]
        self.chords = {tick: write_symbol(root, quality) for tick, root, quality in piece.chords.tolist()}
        self.fermatas = set(piece.fermatas.tolist())

    def bar(self, bar: Bar, later: bool) -> str:
        """Notes of a bar, after its metre if it changes within the tune."""
        self.accidentals.begin_bar()
        valued: list[tuple[Value, str]] = []
        for stretch in self._cut(inside(self.layer, bar)):
            start = stretch.start
            for value in self.values.split(start - bar.start, stretch.end - start, bar.beat(self.ticks)):
                valued.append((value, self._note(stretch, start, value)))
                start += value.ticks
        text = f"[M:{bar.beats}/{bar.beat_type}]" if bar.changes and later else ""
        for tuplet, run in groupby(valued, key=lambda pair: pair[0].tuplet):
            notes = [note for _, note in run]
            text += (f"({tuplet[0]}:{tuplet[1]}:{len(notes)}" if tuplet else "") + " ".join(notes) + " "
        return text.rstrip()

    def _cut(self, stretches: list[Stretch]) -> list[Stretch]:
        """Stretches cut at chord symbols."""
        results = []
        for start, end, sound in stretches:
            edges = [start, *sorted(tick for tick in self.chords if start < tick < end), end]
            results += [Stretch(first, last, sound) for first, last in pairwise(edges)]
        return results

    def _note(self, stretch: Stretch, start: int, value: Value) -> str:
        many, few = value.tuplet or (1, 1)
        length = _number(Fraction(2 * value.ticks * many, self.ticks * few))
        symbol = f'"{self.chords[start]}"' if start in self.chords else ""
        sound = stretch.sound
        if sound is None:
            return f"{symbol}z{length}"
        names = [self._name(pitch, sound.onset < start) for pitch, _ in sound.notes]
        mark = "!fermata!" if sound.onset == start and start in self.fermatas else ""
        tie = "-" if start + value.ticks < sound.end else ""
        return symbol + mark + (names[0] if len(names) == 1 else f"[{''.join(names)}]") + length + tie

    def _name(self, pitch: int, tied: bool) -> str:
        step, alter, octave, needed = self.accidentals.next(pitch, tied)
        letter = step.lower() + "'" * (octave - 5) if octave >= 5 else step + "," * (4 - octave)
        return (SIGNS[alter] if needed else "") + letter


def _number(length: Fraction) -> str:
    if length == 1:
        return ""
    return f"{'' if length.numerator == 1 else length.numerator}" + ("" if length.denominator == 1 else f"/{length.denominator}")
