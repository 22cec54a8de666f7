"""Corpora of tunes in ABC: fiddle tunes bundled with music21, and the Nottingham Music Database."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datamodules.common.errors import DataError
from datamodules.generation.corpora.corpus import OwnMusic, Packaged, Splits, Unwanted, gather, spread
from datamodules.generation.piece import Piece
from datamodules.generation.reading import read_pieces
from datamodules.generation.splitting import distinct, divide, melody_groups


def read_tunes(files: Sequence[tuple[Path, str]], kinds: dict[str, str] | None = None) -> Splits:
    """Monophonic tunes in one metre, without duplicates; versions of a tune share a split.

    files: (path, collection): a tune is named after the collection, the file and its number
    kinds: default kind of tunes by the beginning of the file name
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


COLLECTIONS = ("oneills1850", "ryansMammoth", "airdsAirs")


class FiddleTunes(Packaged):
    """O'Neill's Music of Ireland (1903), Ryan's Mammoth Collection (1883) and Aird's Airs (1782 to 1803), about 4000 tunes.

    One voice with its key, metre, pickup and kind (reel, jig, ...); repeats are read once.

    Args:
        collections: of COLLECTIONS; null: the first two
        pieces: number of files, evenly spread; null: all (a file of O'Neill's holds 50 tunes)
    """

    name = "fiddle-tunes"

    def __init__(self, collections: list[str] | None = None, pieces: int | None = None) -> None:
        if unknown := [item for item in collections or [] if item not in COLLECTIONS]:
            raise ValueError(f"collections must be of {', '.join(COLLECTIONS)}: {', '.join(unknown)}")
        self.collections, self.pieces = list(collections or COLLECTIONS[:2]), pieces

    def read(self) -> Splits:
        """Parse everything."""
        files = [
            (path, collection) for collection in self.collections for path in sorted((self.folder() / collection).glob("*.abc"))
        ]
        return read_tunes(spread(files, self.pieces))


KINDS = {"hpps": "hornpipe", "jigs": "jig", "morris": "morris", "playford": "playford", "reels": "reel", "slip": "slipjig"}
KINDS |= {"waltzes": "waltz", "xmas": "carol"}


class Nottingham(OwnMusic):
    """1034 British and American folk tunes with chord symbols, one voice each; split by a hash of the tune.

    The kind is the file's (jigs, reels, hpps, ...).

    Args:
        root: folder with the ABC files, at any depth
    """

    name = "nottingham"
    layout = "the folder with jigs.abc, reelsa-c.abc, ... (jukedeck/nottingham-dataset, ABC_cleaned)"

    def sources(self) -> list[Path]:
        """The ABC files, sorted; in a whole checkout the cleaned ones. Raises DataError if there is none."""
        folder = self.folder()
        cleaned = folder / "ABC_cleaned"
        paths = sorted((cleaned if cleaned.is_dir() else folder).rglob("*.abc"))
        if not paths:
            raise DataError(f"{folder} holds no ABC files: --data.root must name {self.layout}.")
        return paths

    def read(self) -> Splits:
        """Parse everything."""
        return read_tunes([(path, "nottingham") for path in self.sources()], KINDS)
