"""Collections of tunes in ABC: which of them are read, and what they are called."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datamodules.symbolic.corpora.corpus import Splits, Unwanted
from datamodules.symbolic.corpora.gathering import gather
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.reading import read_pieces
from datamodules.symbolic.splitting import distinct, divide, melody_groups


def read_tunes(files: Sequence[tuple[Path, str]], kinds: dict[str, str] | None = None) -> Splits:
    """The tunes of one voice in one metre; of several with the same notes one stays, and versions of one share a split.

    files: (path, collection): a tune is named after the collection, the file and its number
    kinds: what the tunes are that do not say it, by the beginning of their file's name
    """
    pieces, dropped = gather(_tunes, files, "tunes", _check)
    pieces, repeated = distinct([replace(piece, kind=piece.kind or _kind(piece, kinds or {})) for piece in pieces])
    return divide(pieces, dropped + repeated, melody_groups(pieces))


def _tunes(path: Path, collection: str) -> list[Piece]:
    return [replace(tune, name=f"{collection}/{tune.name}", composer="") for tune in read_pieces(path)]


def _check(piece: Piece) -> None:
    if piece.voices > 1:
        raise Unwanted("it has several voices")
    if len(piece.metres) > 1:
        raise Unwanted("its metre changes")


def _kind(piece: Piece, kinds: dict[str, str]) -> str:
    file = piece.name.split("/")[-1]
    return next((kind for beginning, kind in kinds.items() if file.startswith(beginning)), "")
