"""Scores bundled in the music21 wheel (Bach chorales, fiddle tunes) -> melodies in quarter notes."""

import importlib.util
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from datamodules.common.errors import DataError
from datamodules.generation.piece import VOICE
from datamodules.generation.reading.abc import Tune
from datamodules.generation.reading.abc_voice import Voice
from datamodules.generation.reading.musicxml import ScoreReader, part_alone
from datamodules.generation.reading.scores import parsed_score

OPENING = 16  # first intervals, equal in versions of one melody
SHORTEST = 24  # notes: shortest tune
UNDERSTOOD = re.compile(
    r"(?:\"[^\"]*\"|![^!]*!|\{[^}]*\}|\((?!\d)|[\s`).~HLMOPSTuv\\]|\(\d(?::\d?)?(?::\d?)?"
    r"|\[(?=[\^_=A-Ga-g])|(?<=[A-Ga-g,'\d/])\]\d*|(?:\^\^?|__?|=)?([A-Ga-gzx][,']*)\d*/*\d*"
    r"|:*\|+[\]:]*\d?|::|\[\||\[\d|:\||\|\]|>+|<+|-(?!\s*\1\d*/*\d*[<>]))*"
)
"""Supported ABC notation; a tune ends at the first other sign, or at a tie into a dotted pair.

The ABC reader supports more, but the scores of the demo sets were measured on these excerpts.
"""
MODES = {("major", 0), ("minor", 9), ("minor", 10)}
"""Mode and key signature in fifths (mod 12) relative to major on the tonic: major, natural minor, dorian."""
LEFT_OUT = {f"oneills1850/0732-0758_{tune}" for tune in ("bs-745", "mh-744", "mh-745")} | {
    f"ryansMammoth/{tune}-1"
    for tune in ("AutographHornpipe", "GoAsYouPleaseHornpipe", "HarryBloodgoodsFamousJig", "WilliamsAndSullivansJig")
}
"""Tunes excluded from the demo sets, whose random draws they would change."""


class QuarterNote(NamedTuple):
    """Note: onset and duration in quarter notes (0: first downbeat, negative: pickup), MIDI pitch."""

    onset: float
    duration: float
    pitch: int


class DemoPiece(NamedTuple):
    """Piece in quarter notes: monophonic parts from high to low."""

    name: str  # collection/number, unique
    title: str
    kind: str  # chorale, reel, jig, hornpipe, ...; "" if unknown
    mode: str  # major or minor (dorian counts as minor)
    tonic: int  # pitch class, 0 = C
    beats: int  # numerator of the time signature
    beat_type: int  # and denominator
    parts: tuple[tuple[QuarterNote, ...], ...]

    @property
    def bar(self) -> float:
        """Length of a bar in quarter notes."""
        return 4 * self.beats / self.beat_type

    @property
    def length(self) -> float:
        """End of the last note in quarter notes."""
        return max(part[-1].onset + part[-1].duration for part in self.parts)


@cache
def corpus() -> Path:
    """Folder of scores of the music21 wheel, without its import. Raises DataError if missing."""
    spec = importlib.util.find_spec("music21")
    folder = Path(spec.origin).with_name("corpus") if spec and spec.origin else None
    if folder is None or not (folder / "bach").is_dir():
        raise DataError("scores of music21 not found: pip install --force-reinstall music21")
    return folder


@cache
def chorales() -> tuple[DemoPiece, ...]:
    """Four-part Bach chorales, soprano first, one harmonisation per melody."""
    pieces = (read_chorale(path, f"bach/{path.stem}") for path in sorted((corpus() / "bach").glob("*.mxl")))
    return distinct(piece for piece in pieces if piece)


def read_chorale(path: Path, name: str) -> DemoPiece | None:
    """First voice of each of four parts; None without four parts, a key and a single metre."""
    root = parsed_score(path)
    elements = root.findall("part")
    if len(elements) != 4:
        return None
    pieces = [ScoreReader(part_alone(root, part)).piece(path) for part in elements]
    first = pieces[0]
    if first.mode is None or len({tuple(metre) for piece in pieces for metre in piece.metres[:, 1:].tolist()}) > 1:
        return None
    parts = []
    for piece in pieces:
        rows = {onset: (duration, pitch) for onset, duration, pitch in reversed(piece.voice(0)[:, : VOICE - 1].tolist())}
        times = sorted(rows.items())
        parts.append(tuple(QuarterNote((on - piece.pickup) / piece.ticks, lasts / piece.ticks, p) for on, (lasts, p) in times))
    return DemoPiece(name, "", "chorale", first.mode, first.tonic, first.beats, first.beat_type, tuple(parts))


@cache
def fiddle_tunes() -> tuple[DemoPiece, ...]:
    """Tunes of Ryan's Mammoth Collection (1883) and O'Neill's Music of Ireland (1903), without duplicates."""
    files = sorted((corpus() / "ryansMammoth").glob("*.abc")) + sorted((corpus() / "oneills1850").glob("*.abc"))
    return distinct(piece for path in files for piece in read_tunes(path) if piece.name not in LEFT_OUT)


def read_tunes(path: Path) -> Iterator[DemoPiece]:
    """Monophonic tunes of an ABC file in major, natural minor or dorian, up to the first irregular bar."""
    for block in re.split(r"(?m)^(?=X:)", path.read_text(encoding="latin-1"))[1:]:
        tune = Tune()
        tune.read(_understood(block))
        fifths = sum(tune.key.signature.values()) - 7 * (tune.key.tonic or 0)
        if tune.key.tonic is None or not tune.metres or (tune.key.mode, fifths % 12) not in MODES or list(tune.voices) != ["1"]:
            continue
        beats, beat_type = (4, 4) if tune.metre == (2, 2) else tune.metre
        notes = _whole_bars(tune.voice, 4 * beats / beat_type)
        if len(notes) >= SHORTEST:
            name, kind = f"{path.parent.name}/{path.stem}-{tune.fields['X']}", re.sub(r"\W", "", tune.fields.get("R", "").lower())
            title = tune.fields.get("T", "").strip('"')
            yield DemoPiece(name, title, kind, tune.key.mode, tune.key.tonic, beats, beat_type, (notes,))


def _understood(block: str) -> str:
    """Header of a tune, and its music up to the first field or sign outside UNDERSTOOD; no music if polyphonic."""
    head: list[str] = []
    body: list[str] = []
    for line in (line.split("%")[0].strip() for line in block.splitlines()):
        if re.match(r"[A-Za-z]:", line):
            if body and line[0] in "KMLVX":
                break
            if not body:
                head.append(line)
        elif line and any(field[0] == "K" for field in head):
            body.append(line)
    music = "\n".join(body)
    alone = "&" not in music and not any(field[0] == "V" for field in head)
    return "\n".join([*head, UNDERSTOOD.match(music)[0] if alone else ""])


def _whole_bars(voice: Voice, bar: float) -> tuple[QuarterNote, ...]:
    """Melody up to the first irregular bar; onset 0 is the first downbeat."""
    lines = [float(time) for time in (*voice.bars.begins[1:], voice.now)]
    pickup, end = lines[0] if lines[0] < bar else 0.0, 0.0
    downbeats = {round(line - pickup, 4) for line in lines}
    while round(end + bar, 4) in downbeats:
        end += bar
    melody = {float(onset): (float(duration), pitch) for onset, duration, pitch, _ in reversed(voice.notes)}
    notes = (QuarterNote(onset - pickup, *rest) for onset, rest in sorted(melody.items()))
    return tuple(note for note in notes if note.onset + note.duration <= end + 1e-6)


def distinct(pieces: Iterable[DemoPiece]) -> tuple[DemoPiece, ...]:
    """Remove pieces with the title or the opening intervals of an earlier piece."""
    kept, seen = [], set()
    for piece in pieces:
        pitches = [note.pitch for note in piece.parts[0] if note.onset >= 0][: OPENING + 1]
        keys = {tuple(second - first for first, second in pairwise(pitches))}
        if title := re.sub(r"\b(the|a|no \d+|reel|jig|hornpipe)\b|\W|\d", "", piece.title.lower()):
            keys.add(title)
        if not keys & seen:
            kept.append(piece)
        seen |= keys
    return tuple(kept)
