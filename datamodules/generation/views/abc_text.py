"""ABC text of folk-rnn (Sturm et al. 2016): tune <-> symbols, tokens or characters."""

import re
from contextlib import suppress
from dataclasses import replace
from math import lcm
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError
from datamodules.generation.grid import excerpt, whole_bars
from datamodules.generation.piece import DURATION, ONSET, VOICE, Piece
from datamodules.generation.views.view import Encoded, Polyphonic, UnfitPiece, Use, View

By = Literal["token", "character"]

FIELDS = ("M", "L", "K")
"""Header fields that are part of the symbol sequence."""
TOKEN = re.compile(
    r'"[^"]*"'  # a chord symbol
    r"|\[[A-Za-z]:[^\]]*\]"  # a change of metre, key or unit
    r"|:*\|+[\]:]*\d?|::|\[\d"  # bar lines, repeats and endings
    r"|\(\d(?::\d*)*"  # a tuplet
    r"|[_^=]*[A-Ga-g][,']*"  # a pitch
    r"|\d*/+\d*|\d+"  # a length
    r"|[<>]+|![^!]+!|\S"
)


def head_and_body(text: str) -> tuple[str, str]:
    """The lines of FIELDS of a tune, and its music."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    is_head = [bool(re.match(r"[A-Za-z]:(?![|:])", line)) for line in lines]
    head = [line.replace(" ", "") for line, field in zip(lines, is_head, strict=True) if field and line[0] in FIELDS]
    return "\n".join(head), "\n".join(line for line, field in zip(lines, is_head, strict=True) if not field)


def symbols_of(head: str, body: str, by: By) -> tuple[list[str], list[str]]:
    """Symbols of head and body. A token is a field, or as folk-rnn parts them a pitch, a length, a bar line, a tuplet."""
    if by == "character":
        return list(head + "\n"), list(body)
    return head.splitlines(), TOKEN.findall(body)


def text_of(symbols: list[str], by: By) -> str:
    """ABC tune spelled by symbols."""
    if by == "character":
        return "X:1\n" + "".join(symbols)
    fields = [symbol for symbol in symbols if re.fullmatch(rf"[{''.join(FIELDS)}]:.*", symbol)]
    return "\n".join(["X:1", *fields, "".join(symbol for symbol in symbols if symbol not in fields)])


END = 0
CLOSING = "|]"
ROOM = {"token": 6, "character": 12}
"""Rows of END a quarter note for silence of a bar or more at the end of a piece: room to write in."""


class AbcText(View):
    """Rows (symbols + 1, 1) of categories: metre, unit and key, the tune, then END. The tune is voice 0.

    The alphabet consists of the symbols of the training tunes; other chord symbols and fermatas are left out. Metre, unit and
    key are those of the template and always fixed. Silence of a bar or more at the end is encoded as more ENDs. Not
    represented: that silence, other voices, velocities, and times finer than `steps`.

    Args:
        by: `token` (folk-rnn's second version) or `character` (its first)
        steps: time resolution, steps per quarter note
        key: see `View`
    """

    name = "abc_text"
    uses = frozenset({"free", "continue"})
    learns = ("centre", "symbols")
    voices = 1
    low, high = 24, 108

    def __init__(self, by: By = "token", steps: int = 24, key: Literal["any", "c"] = "any") -> None:
        if steps < 1:
            raise ValueError(f"steps must be positive: {steps}")
        self.by, self.steps, self.key = by, steps, key
        self.symbols: list[str] = []

    def fit(self, pieces: list[Piece]) -> None:
        """Learn the alphabet of the tunes that can be spelled."""
        super().fit(pieces)
        result: set[str] = set()
        self.symbols = []
        for piece in pieces:
            with suppress(UnfitPiece):
                result.update(*self._spelled(piece))
        self.symbols = sorted(result)

    def form(self) -> dict[str, Any]:
        """Frame specification; without time grid and pitches."""
        return {"kind": "categories", "sizes": (1 + len(self.symbols),), "bar": 0, "low": 0, "end": END}

    def holds(self, piece: Piece) -> bool:
        """Return whether the alphabet spells a piece."""
        try:
            self.encode(piece)
        except UnfitPiece:
            return False
        return True

    def shift_for(self, piece: Piece, voice: int | None = None) -> int:
        """Semitones to the nearest key in which the alphabet spells the piece. Raises UnfitPiece if there is none."""
        if self.key == "c" or not self.symbols:
            return super().shift_for(piece, voice)
        results = [shift for shift in sorted(range(-11, 12), key=abs) if self.holds(piece.transposed(shift))]
        if not results:
            self.encode(piece)  # raises UnfitPiece, which names the missing symbol
        return results[0]

    def _spelled(self, piece: Piece) -> tuple[list[str], list[str]]:
        """Symbols of head and body, without silence at the end."""
        from datamodules.generation.writing.abc import abc_text

        piece = piece.with_notes(piece.voice(0)).at(self.steps)
        melody = self._apart(piece.notes)
        end = whole_bars(piece, _end(melody)) if len(melody) else piece.bar
        marked = {sign: not self.symbols or any(sign in symbol for symbol in self.symbols) for sign in '"!'}
        chords, fermatas = piece.chords[: None if marked['"'] else 0], piece.fermatas[: None if marked["!"] else 0]
        tune = excerpt(piece.with_notes(melody, chords=chords, fermatas=fermatas), 0, end)
        head, body = symbols_of(*head_and_body(abc_text(tune, voice=0)), self.by)
        known = [symbol for symbol in body if not self.symbols or symbol in self.symbols or symbol[0] not in '"!']
        return head, known if len(melody) else []

    def _apart(self, melody: NDArray) -> NDArray[np.int32]:
        """Consecutive notes or chords; legato overlaps of up to a sixteenth are cut."""
        melody, onsets = melody.copy(), melody[:, ONSET]
        following = np.searchsorted(onsets, onsets, "right")
        over = melody[:, ONSET] + melody[:, DURATION] - np.append(onsets, np.iinfo(np.int32).max)[following]
        melody[:, DURATION] -= np.where(over <= self.steps // 4, np.maximum(over, 0), 0).astype(np.int32)
        first = np.searchsorted(onsets, onsets)
        if (over > self.steps // 4).any() or (melody[:, DURATION] != melody[first, DURATION]).any():
            raise Polyphonic("its melody sounds two notes at once that do not begin and end together")
        return melody

    def encode(self, piece: Piece) -> Encoded:
        """Encode a piece. Raises UnfitPiece for overlapping notes that are not chords, or symbols outside the alphabet."""
        head, body = self._spelled(piece)
        number = {symbol: index for index, symbol in enumerate(self.symbols, END + 1)}
        if unknown := [symbol for symbol in (*head, *body) if symbol not in number]:
            raise UnfitPiece(f"its ABC has {unknown[0]!r}, which no training tune has")
        silence = piece.length - _end(piece.voice(0))
        room = silence * ROOM[self.by] // piece.ticks if silence >= piece.bar else 1
        rows = [number[symbol] for symbol in (*head, *body)] + [END] * max(room, 1)
        return Encoded(np.array(rows, np.int64)[:, None], np.zeros((len(rows), 0), np.float32))

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode up to the first END and the template's length, in whole bars.

        Of invalid ABC the longest valid run of bars is read; if there is none, the result is silent.
        """
        rows = np.asarray(frames)[:, 0].tolist()
        symbols = [self.symbols[row - 1] for row in (rows[: rows.index(END)] if END in rows else rows)]
        tune = self._read(symbols) or replace(template, notes=template.notes[:0], chords=template.chords[:0])
        ticks = lcm(template.ticks, tune.ticks)
        template, tune = template.at(ticks), tune.at(ticks)
        if not len(template.notes):
            template = replace(template, pickup=tune.pickup)
        notes = tune.notes[(tune.notes[:, VOICE] == 0) & (tune.notes[:, ONSET] < template.length)].copy()
        notes[:, DURATION] = np.minimum(notes[:, DURATION], template.length - notes[:, ONSET])
        chords = tune.chords[tune.chords[:, 0] < template.length]
        return template.with_notes(notes, length=whole_bars(template, _end(notes)), chords=chords)

    def _read(self, symbols: list[str]) -> Piece | None:
        """The tune of as many bars as can be read."""
        from datamodules.generation.reading.abc import Tune

        bars = [index for index, symbol in enumerate(symbols) if "|" in symbol]
        for end in (len(symbols), *reversed(bars)):
            tune = Tune()
            try:
                tune.read(text_of(symbols[:end], self.by))
                if piece := tune.piece(Path("tune"), False):
                    return piece
            except (DataError, ValueError, ArithmeticError, LookupError):
                continue
        return None

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Header symbols; to continue, also the symbols before the span without a closing bar line; never an END."""
        head, body = self._spelled(template)
        kept = len(head)
        if use == "continue":
            _, before = self._spelled(template if span is None else excerpt(template, 0, span[0]))
            last = len(before) - len(symbols_of("", CLOSING, self.by)[1]) if "".join(before).endswith(CLOSING) else len(before)
            while kept - len(head) < min(last, len(body)) and body[kept - len(head)] == before[kept - len(head)]:
                kept += 1
        return (np.arange(len(self.encode(template).frames)) < kept)[:, None]


def _end(notes: NDArray) -> int:
    return int((notes[:, ONSET] + notes[:, DURATION]).max(initial=0))
