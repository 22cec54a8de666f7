"""The scores bundled in the music21 wheel, read without importing music21: Bach's chorales and fiddle tunes."""

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

from datamodules.demo.abc_notation import read_abc
from datamodules.demo.musicxml import read_musicxml
from datamodules.demo.piece import Piece
from datamodules.errors import DataError

OPENING = 16  # intervals by which two pieces are taken for one


@cache
def corpus() -> Path:
    """The folder of scores inside the music21 wheel. Raises DataError where it is absent."""
    spec = importlib.util.find_spec("music21")
    folder = Path(spec.origin).with_name("corpus") if spec and spec.origin else None
    if folder is None or not (folder / "bach").is_dir():
        raise DataError("the scores bundled with music21 are missing: pip install --force-reinstall music21")
    return folder


@cache
def chorales() -> tuple[Piece, ...]:
    """Bach's four-part chorales, soprano first, one harmonisation of each melody."""
    files = sorted((corpus() / "bach").glob("*.mxl"))
    pieces = (read_musicxml(path, f"bach/{path.stem}", "chorale") for path in files)
    return distinct(piece for piece in pieces if piece and len(piece.parts) == 4)


@cache
def fiddle_tunes() -> tuple[Piece, ...]:
    """Tunes of Ryan's Mammoth Collection (1883) and O'Neill's Music of Ireland (1903), one version of each."""
    files = sorted((corpus() / "ryansMammoth").glob("*.abc")) + sorted((corpus() / "oneills1850").glob("*.abc"))
    return distinct(piece for path in files for piece in read_abc(path))


def distinct(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """The pieces of which neither the title nor the first part's opening, free of key and rhythm, was met before."""
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
