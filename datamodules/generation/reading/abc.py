"""ABC notation -> a piece for each tune of a file, with all voices; repeats as written, as played, or once through."""

import re
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.common.errors import DataError, printable
from datamodules.generation.grid import VELOCITY_WRITTEN
from datamodules.generation.piece import STEPS, Piece, in_order
from datamodules.generation.reading.abc_voice import Voice, unfolded
from datamodules.generation.reading.notation import (
    FEWEST_TICKS,
    MOST_NOTES,
    Repeats,
    changes,
    check_length,
    is_metre,
    left_out,
    order_of,
    order_remarks,
    ticks_for,
)
from datamodules.generation.reading.repeats import Signs

FIELD = re.compile(r"([A-Za-z]):(?![|:])(.*)")
BODY = re.compile(r"\[([KLMQV]):([^\[\]]*)\]")
NAME = re.compile(r"\b(?:name|nm)=\"([^\"]*)\"")
# First letters of a mode -> fifths between its signature and that of the major key on its tonic, and mode of the piece.
MODES = {
    "": (0, "major"),
    "maj": (0, "major"),
    "ion": (0, "major"),
    "lyd": (1, "major"),
    "mix": (-1, "major"),
    "dor": (-2, "minor"),
    "m": (-3, "minor"),
    "min": (-3, "minor"),
    "aeo": (-3, "minor"),
    "phr": (-4, "minor"),
    "loc": (-5, "minor"),
}
METRES = {"C": (4, 4), "C|": (2, 2)}
LARGEST = 32 << 20  # bytes


class Key(NamedTuple):
    """Content of a K: field."""

    tonic: int | None
    mode: str | None
    signature: dict[str, int]  # step -> semitones


def read_abc(path: Path, repeats: Repeats = "once") -> list[Piece]:
    """Tunes of a file with notes. Raises DataError if there is none, or if the file is damaged or too large.

    Supported are keys, metres, tempi, pickups, ties, tuplets, chords and chord symbols, fermatas and several voices; grace notes,
    overlays (&) and unknown signs are left out.
    """
    label = printable(str(path))
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else b"\0"
    except OSError as error:
        raise DataError(f"{label} cannot be read ({error.strerror}): expected tunes in ABC notation.") from error
    if b"\0" in data:
        raise DataError(f"{label} is not a text file of at most {LARGEST >> 20} MB: expected tunes in ABC notation.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    blocks = re.split(r"(?m)^(?=X:)", text)
    tunes = blocks[1:] or blocks
    pieces = []
    for block in tunes:
        tune = Tune()
        try:
            tune.read(block)
            piece = tune.piece(path, len(tunes) > 1, repeats)
        except (ValueError, ArithmeticError) as error:  # of numbers beyond all measure
            raise DataError(f"{label} is damaged: tune {tune.fields.get('X', '')} cannot be understood ({error}).") from error
        if piece:
            pieces.append(piece)
    if not pieces:
        raise DataError(f"{label} holds no notes: expected tunes in ABC notation, each with the fields X: and K:.")
    return pieces


class Tune:
    """One tune, read line by line: header up to the field K:, then music with inline fields."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.voices: dict[str, Voice] = {}
        self.key, self.begun, self.current = Key(None, None, {}), False, "1"
        self.metre, self.unit = (4, 4), None
        self.metres: list[tuple[Fraction, tuple[int, int]]] = []
        self.tempi: list[tuple[Fraction, int]] = []

    def read(self, block: str) -> None:
        """Read the text of the tune."""
        for line in block.splitlines():
            line = re.sub(r"(?<!\\)%.*", "", line).strip()
            if match := FIELD.match(line):
                self._field(match[1], match[2].strip())
            elif line and self.begun:
                self._music(line)

    def _music(self, line: str) -> None:
        position = 0
        for field in BODY.finditer(line):
            self.voice.read(line[position : field.start()])
            self._field(field[1], field[2].strip())
            position = field.end()
        self.voice.read(line[position:])

    @property
    def voice(self) -> Voice:
        """Current voice, created with the header's unit, metre and key."""
        if self.current not in self.voices:
            self.voices[self.current] = Voice(self._unit(), self.metre, self.key.signature)
        return self.voices[self.current]

    @property
    def now(self) -> Fraction:
        """Quarter notes since the beginning."""
        return self.voices[self.current].now if self.current in self.voices else Fraction(0)

    def _unit(self) -> Fraction:
        """Quarter notes of a letter without a number: without L:, a sixteenth below 3/4, else an eighth."""
        return 4 * (self.unit or Fraction(1, 16 if 4 * self.metre[0] < 3 * self.metre[1] else 8))

    def _field(self, letter: str, text: str) -> None:
        if letter == "V" and text:
            self.current = text.split()[0]
            if named := NAME.search(text):
                self.names[self.current] = named[1]
        elif letter == "K":
            self._change_key(text)
        elif letter == "L" and (match := re.match(r"(\d+)/(\d+)", text)) and int(match[1]) and int(match[2]):
            unit = Fraction(int(match[1]), int(match[2]))
            if self.now:
                self.voice.change(unit=4 * unit)
            else:
                self.unit = unit
                self._again()
        elif letter == "M":
            self._change_metre(text)
        elif letter == "Q":
            self._change_tempo(text)
        else:
            self.fields.setdefault(letter, text)

    def _again(self) -> None:
        """Apply fields between the header and the first note as if they were in the header."""
        for voice in self.voices.values():
            if not voice.now:
                voice.change(self._unit(), self.metre, self.key.signature)

    def _change_key(self, text: str) -> None:
        key = read_key(text)
        if key and self.now:
            self.voice.change(signature=key.signature)
        elif key:
            self.key = key
            self._again()
        self.begun = True

    def _change_metre(self, text: str) -> None:
        match = re.match(r"(\d+(?:\+\d+)*)/(\d+)", text.replace("(", "").replace(")", ""))
        metre = (sum(map(int, match[1].split("+"))), int(match[2])) if match else METRES.get(text)
        if not metre or not is_metre(*metre, FEWEST_TICKS):
            return
        self.metres.append((self.now, metre))
        if self.now:
            self.voice.change(metre=metre)
        else:
            self.metre = metre
            self._again()

    def _change_tempo(self, text: str) -> None:
        match = re.search(r"(?:(\d+)/(\d+)\s*=\s*)?(\d+(?:\.\d+)?)\s*$", re.sub(r'"[^"]*"', "", text).strip())
        if match:
            beat = 4 * Fraction(int(match[1]), int(match[2]) or 1) if match[1] else self._unit()
            quarters = float(match[3]) * float(beat)
            if 4 <= quarters <= 6000:
                self.tempi.append((self.now, round(60e6 / quarters)))

    def _unfold(self, voices: list[Voice], repeats: Repeats) -> list[str]:
        """Reorder all events by the repeat signs of the voice with the most; returns remarks on the changes."""
        end = max(voice.now for voice in voices)
        bars = max(voices, key=lambda voice: sum(sign != Signs() for sign in voice.bars.signs(end))).bars
        signs = bars.signs(end)
        order = order_of(signs, repeats)
        if order == list(range(len(signs))):
            return []
        if len(order) * sum(len(voice.notes) for voice in voices) > MOST_NOTES * len(signs):
            raise ValueError(f"its repeats last {len(order)} bars")
        stretches = bars.stretches(order, end)
        for voice in voices:
            voice.unfold(stretches)
        self.metres = changes([tuple(event) for event in unfolded(self.metres, stretches, holds=True)])
        self.tempi = changes([tuple(event) for event in unfolded(self.tempi, stretches, holds=True)])
        return order_remarks(len(signs), order, "bar")

    def piece(self, path: Path, many: bool, repeats: Repeats = "written") -> Piece | None:
        """The piece; None without notes."""
        voices = [voice for voice in self.voices.values() if voice.notes]
        if not voices:
            return None
        line = voices[0].first_line
        remarks = self._unfold(voices, repeats)
        counts = {"grace note": sum(v.graces for v in voices), "note of an overlay": sum(v.overlaid for v in voices)}
        remarks += [left_out(kind, number) for kind, number in counts.items() if number]
        ticks = ticks_for(time.denominator for voice in voices for time in voice.times())

        def at(time: Fraction) -> int:
            return round(time * ticks)

        sung = [(number, note) for number, voice in enumerate(voices) for note in voice.notes]
        notes = [(at(on), max(1, at(lasts)), pitch, VELOCITY_WRITTEN, number) for number, (on, lasts, pitch, _) in sung]
        length = max(at(max(voice.now for voice in voices)), *(on + lasts for on, lasts, *_ in notes))
        metres = {0: (4, 4), **{at(time): metre for time, metre in self.metres}}
        tempi = np.array(sorted({0: 500_000, **{at(time): length for time, length in self.tempi}}.items()), np.int64)
        check_length(tempi, ticks, length, path)
        chords = {at(time): chord for voice in reversed(voices) for time, chord in voice.chords}
        number = self.fields.get("X", "").strip()
        return Piece(
            in_order(notes),
            ticks,
            length,
            name=f"{path.stem}-{number}" if many else path.stem,
            title=self.fields.get("T", ""),
            composer=self.fields.get("C", ""),
            kind=re.sub(r"\W", "", self.fields.get("R", "").lower()),
            pickup=at(line) if line * metres[0][1] < 4 * metres[0][0] and line < voices[0].now else 0,
            metres=np.array([(tick, *metre) for tick, metre in sorted(metres.items())], np.int32),
            tempi=tempi.astype(np.int32),
            tonic=self.key.tonic,
            mode=self.key.mode,
            fermatas=np.array(sorted({at(time) for voice in voices for time in voice.fermatas}), np.int32),
            chords=np.array([(tick, *chord) for tick, chord in sorted(chords.items())], np.int32).reshape(-1, 3),
            names=tuple(self.names.get(name, "") for name, voice in self.voices.items() if voice.notes) if self.names else (),
            remarks=tuple(remarks),
        )


def read_key(text: str) -> Key | None:
    """Key of a K: field; None if the field names no key, such as for a clef."""
    text = text.strip().strip('"')
    if re.match(r"H[Pp]", text):  # Highland pipes: A mixolydian
        text = "Amix"
    match = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)", text)
    if not match:
        return Key(None, None, {}) if text.startswith("none") else None
    suffix = "maj" if match[3] == "M" else match[3].lower()[:3]
    shift, mode = MODES.get(suffix, MODES[""])
    alter = {"": 0, "#": 1, "b": -1}[match[2]]
    order = "FCGDAEB"
    fifths = order.index(match[1]) - 1 + 7 * alter + shift
    signature = dict.fromkeys(order[: max(fifths, 0)], 1) | dict.fromkeys(order[::-1][: max(-fifths, 0)], -1)
    for sign, step in re.findall(r"(\^|_|=)([a-gA-G])", text):
        signature[step.upper()] = {"^": 1, "_": -1, "=": 0}[sign]
    return Key((STEPS[match[1]] + alter) % 12, mode, signature)
