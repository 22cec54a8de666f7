"""Packs: parsed corpora in one file of plain arrays, with the list of pieces left out."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.common.cache import build_folder, cached, fingerprint, unwritable, write_atomically
from datamodules.common.errors import DataError
from datamodules.generation.corpora.corpus import Corpus, Dropped, Splits
from datamodules.generation.piece import Piece

SPLITS = ("train", "validation", "test")
ARRAYS = ("notes", "metres", "tempi", "fermatas", "chords", "drums")
PLAIN = ("ticks", "length", "name", "title", "composer", "kind", "pickup", "tonic", "mode", "programs", "names", "remarks")
TUPLES = ("programs", "names", "remarks")
FILE = "pieces.npz"


def load(corpus: Corpus, cache_dir: str | Path | None = None, strict: bool = False) -> Splits:
    """Pieces of a corpus, from the cache or parsed if the music, the arguments or the readers changed.

    Of several processes one parses. Raises DataError for the first damaged file if strict, for a cache that cannot be
    written, and for a pack that cannot be read.
    """
    folder = cached(cache_dir, "symbolic", f"{corpus.name}-{_fingerprint(corpus)}", whole=FILE)
    try:
        build_folder(folder, lambda part: write(part / FILE, corpus.read()), f"the pack {folder}")
    except OSError as error:
        raise unwritable(folder.parent, error) from error
    splits = read(folder / FILE)
    damaged = [item.reason for item in splits.dropped if item.damaged]
    if damaged and strict:
        raise DataError(damaged[0])
    return splits


def _fingerprint(corpus: Corpus) -> str:
    """Changes with the arguments, the readers' text and the music's names, sizes and contents, not with its folder."""
    digest = hashlib.sha256()
    for ingredient in [*corpus.ingredients(), Path(__file__)]:
        digest.update(ingredient.read_bytes() if isinstance(ingredient, Path) else repr(ingredient).encode())
    sources = corpus.sources()
    root = corpus.folder() if sources else Path()
    files = [(bytes(path.relative_to(root)), bytes(path)) for path in sources]
    return fingerprint(digest.hexdigest(), files)


def write(path: Path, splits: Splits) -> None:
    """Write splits as one .npz: concatenated events of each kind, their counts per piece, and a JSON header."""
    pieces = [piece for split in SPLITS for piece in getattr(splits, split)]
    header = {
        "sizes": [len(getattr(splits, split)) for split in SPLITS],
        "pieces": [{name: getattr(piece, name) for name in PLAIN} for piece in pieces],
        "dropped": splits.dropped,
    }
    arrays: dict[str, NDArray] = {"header": np.frombuffer(json.dumps(header, default=_plain).encode(), np.uint8)}
    for name in ARRAYS:
        events = [getattr(piece, name) for piece in pieces]
        arrays[name] = np.concatenate(events) if events else np.zeros(0, np.int32)
        arrays[f"{name}_counts"] = np.array([len(event) for event in events], np.int64)
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def read(path: Path) -> Splits:
    """Read splits written by `write`. Raises DataError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            events = {name: np.split(stored[name], np.cumsum(stored[f"{name}_counts"])[:-1]) for name in ARRAYS}
        pieces = [
            Piece(**plain | {name: tuple(plain[name]) for name in TUPLES}, **{name: events[name][index] for name in ARRAYS})
            for index, plain in enumerate(header["pieces"])
        ]
        first, second, _ = np.cumsum(header["sizes"]).tolist()
        dropped = [Dropped(*item) for item in header["dropped"]]
    except Exception as error:  # a changed byte can raise any error of NumPy, zip, JSON or Piece
        raise DataError(f"The pack {path.parent} is damaged: delete the folder, it will be built again.") from error
    return Splits(pieces[:first], pieces[first:second], pieces[second:], dropped)


def _plain(value: Any) -> Any:
    return value.item()
