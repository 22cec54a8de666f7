"""Tunes in ABC notation -> pieces, some hundred times as fast as music21.

Read: one voice with its key, metre, ties, tuplets, dotted pairs and accidentals, repeats taken once, of chords the
first note, no ornaments. A tune is read up to the first change of key or metre, or sign that is not understood.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from datamodules.demo.piece import DemoPiece, QuarterNote
from datamodules.generation.piece import STEPS
from datamodules.generation.reading.abc_voice import ACCIDENTALS, TUPLETS

# The part of the mode's name that counts -> major or minor, and how many fifths its signature lies from major's.
MODES = {
    "": ("major", 0),
    "maj": ("major", 0),
    "m": ("minor", -3),
    "min": ("minor", -3),
    "aeo": ("minor", -3),
    "dor": ("minor", -2),
}
SHORTEST = 24  # notes of a tune that is worth reading
TOKEN = re.compile(
    r"(?P<skip>\"[^\"]*\"|![^!]*!|\{[^}]*\}|\((?!\d)|[\s`).~HLMOPSTuv\\])"
    r"|\((?P<tuplet>\d)(?::(?P<into>\d?))?(?::(?P<count>\d?))?"
    r"|(?P<chord>\[(?=[\^_=A-Ga-g]))|(?P<endchord>(?<=[A-Ga-g,'\d/])\])(?P<all>\d*)"
    r"|(?P<accidental>\^\^?|__?|=)?(?P<letter>[A-Ga-gzx])(?P<octave>[,']*)(?P<times>\d*)(?P<slashes>/*)(?P<parts>\d*)"
    r"|(?P<bar>:*\|+[\]:]*\d?|::|\[\||\[\d|:\||\|\])"
    r"|(?P<broken>>+|<+)|(?P<tie>-)"
)


def read_abc(path: Path) -> Iterator[DemoPiece]:
    """The tunes of a file whose bars fit their metre, in major, minor or dorian."""
    text = path.read_text(encoding="latin-1")
    for block in re.split(r"(?m)^(?=X:)", text)[1:]:
        fields, body = _fields(block)
        if piece := _piece(fields, body, f"{path.parent.name}/{path.stem}-{fields.get('X', '')}"):
            yield piece


def _fields(block: str) -> tuple[dict[str, str], str]:
    fields: dict[str, str] = {}
    body: list[str] = []
    for line in (line.split("%")[0].strip() for line in block.splitlines()):
        if re.match(r"[A-Za-z]:", line):
            if body and line[0] in "KMLVX":
                break
            fields.setdefault(line[0], line[2:].strip().strip('"'))
        elif line and "K" in fields:
            body.append(line)
    return fields, "\n".join(body)


def _piece(fields: dict[str, str], body: str, name: str) -> DemoPiece | None:
    key = re.fullmatch(r"([A-G])([#b]?)\s*([A-Za-z]*)", fields.get("K", ""))
    metre = {"C": "4/4", "C|": "4/4"}.get(fields.get("M", ""), fields.get("M", ""))
    if not key or not re.fullmatch(r"\d+/\d+", metre) or "V" in fields or "&" in body:
        return None
    suffix = "maj" if key[3] == "M" else key[3].lower()[:3]
    if suffix not in MODES:
        return None
    mode, shift = MODES[suffix]
    beats, beat_type = map(int, metre.split("/"))
    alter = {"": 0, "#": 1, "b": -1}[key[2]]
    fifths = "FCGDAEB".index(key[1]) - 1 + 7 * alter + shift
    # Without L: a sixteenth below 3/4, else an eighth, by ABC's rule.
    unit = Fraction(fields["L"]) if "L" in fields else Fraction(1, 16 if beats / beat_type < 0.75 else 8)
    melody = _Melody(4 * unit, fifths)
    melody.read(body)
    notes = melody.whole_bars(4 * beats / beat_type)
    kind = re.sub(r"\W", "", fields.get("R", "").lower())
    tonic = (STEPS[key[1]] + alter) % 12
    title = fields.get("T", "")
    return DemoPiece(name, title, kind, mode, tonic, beats, beat_type, (notes,)) if len(notes) >= SHORTEST else None


class _Melody:
    """Reads the body of a tune sign by sign; times in quarter notes from the first sign."""

    def __init__(self, unit: Fraction, fifths: int) -> None:
        order = "FCGDAEB"
        signature = dict.fromkeys(order[: max(fifths, 0)], 1) | dict.fromkeys(order[::-1][: max(-fifths, 0)], -1)
        self.unit, self.signature = unit, signature
        self.notes: list[tuple[Fraction, Fraction, int | None]] = []  # onset, duration, pitch (None: rest)
        self.bars: list[Fraction] = []
        self.altered: dict[str, int] = {}
        self.now, self.tied, self.chord = Fraction(0), False, 0
        self.stretch, self.tuplet, self.left = Fraction(1), Fraction(1), 0

    def read(self, body: str) -> None:
        place = 0
        while token := TOKEN.match(body, place):
            place = token.end()
            if token["letter"]:
                self.note(token)
            elif token["bar"]:
                self.bars.append(self.now)
                self.altered = {}
            elif token["tuplet"]:
                size = int(token["tuplet"])
                self.tuplet = Fraction(int(token["into"] or TUPLETS.get(size, 2)), size)
                self.left = int(token["count"] or size)
            elif token["broken"] and self.notes:
                self.dot(token["broken"])
            elif token["tie"]:
                self.tied = True
            elif token["chord"]:
                self.chord = 1
            elif token["endchord"]:
                self.chord = 0
                self.lengthen(Fraction(int(token["all"] or 1)))
        self.bars.append(self.now)

    def note(self, token: re.Match) -> None:
        divisor = int(token["parts"]) if token["parts"] else 2 ** len(token["slashes"])
        length = Fraction(int(token["times"] or 1), divisor)
        duration = self.unit * length * self.stretch * (self.tuplet if self.left else 1)
        if self.chord == 2:  # the chord's first note stands for it
            return
        self.chord = 2 if self.chord else 0
        pitch = self.pitch(token)
        if self.tied and self.notes and self.notes[-1][2] == pitch:
            onset, before, _ = self.notes[-1]
            self.notes[-1] = (onset, before + duration, pitch)
        else:
            self.notes.append((self.now, duration, pitch))
        self.now += duration
        self.stretch, self.tied, self.left = Fraction(1), False, max(0, self.left - 1)

    def dot(self, signs: str) -> None:
        """a>b lengthens a by half and halves b, a<b the reverse; each further sign halves again."""
        shorter = Fraction(1, 2 ** len(signs))
        first, self.stretch = (2 - shorter, shorter) if signs[0] == ">" else (shorter, 2 - shorter)
        self.lengthen(first)

    def lengthen(self, factor: Fraction) -> None:
        onset, duration, pitch = self.notes[-1]
        self.notes[-1] = (onset, duration * factor, pitch)
        self.now = onset + duration * factor

    def pitch(self, token: re.Match) -> int | None:
        letter, octave = token["letter"], token["octave"]
        if letter in "zx":
            return None
        height = 60 + STEPS[letter.upper()] + 12 * (letter.islower() + octave.count("'") - octave.count(","))
        # An accidental holds to the end of the bar, in its own octave.
        if token["accidental"]:
            self.altered[letter + octave] = ACCIDENTALS[token["accidental"]]
        return height + self.altered.get(letter + octave, self.signature.get(letter.upper(), 0))

    def whole_bars(self, bar: float) -> tuple[QuarterNote, ...]:
        """The notes up to where the bar lines leave the metre; onset 0 becomes the first downbeat."""
        times = [float(time) for time in self.bars]
        pickup = times[0] if times[0] < bar else 0.0
        there, end = {round(time - pickup, 4) for time in times}, 0.0
        while round(end + bar, 4) in there:
            end += bar
        sounding = [(float(onset) - pickup, float(duration), pitch) for onset, duration, pitch in self.notes if pitch]
        return tuple(QuarterNote(*note) for note in sounding if note[0] + note[1] <= end + 1e-6)
