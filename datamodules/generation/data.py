"""Data module of music generation: pieces of a corpus -> batches of a view."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules.common.base import RootedDataModule
from datamodules.common.errors import DataError
from datamodules.common.lazy_names import public_path
from datamodules.common.left_out import LeftOut
from datamodules.common.report import warn, write_report
from datamodules.common.unread import refuse_unread
from datamodules.generation import pack
from datamodules.generation.corpora.corpus import Corpus, Dropped, OwnMusic, Splits
from datamodules.generation.encoded import Encoder, Excerpts, SymbolicBatch, Whole, collate, unread, why_unfit
from datamodules.generation.pack import SPLITS
from datamodules.generation.piece import PITCH, Piece
from datamodules.generation.splitting import content
from datamodules.generation.views.view import UnfitPiece, View

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def survey(splits: Splits) -> dict[str, Any]:
    """Statistics of each split, duplicates (equal notes in any key), and pieces left out by reason."""
    by_split = {split: getattr(splits, split) for split in SPLITS}
    names = {split: _by_content(pieces) for split, pieces in by_split.items()}
    across = [
        [*names[item][key], *names[other][key]]
        for item, other in combinations(SPLITS, 2)
        for key in names[item].keys() & names[other]
    ]
    return {
        "splits": {split: _describe(pieces) for split, pieces in by_split.items()},
        "duplicates": {
            "inside": {split: sorted(n for n in item.values() if len(n) > 1) for split, item in names.items()},
            "across": sorted(across),
        },
        "left_out": _grouped(splits.dropped),
    }


def minutes(piece: Piece) -> float:
    """Duration of a piece in minutes."""
    changes = np.append(piece.tempi[:, 0].clip(max=piece.length), piece.length).astype(np.int64)
    return float((np.diff(changes) * piece.tempi[:, 1].astype(np.int64)).sum() / piece.ticks / 60e6)


def _describe(pieces: Sequence[Piece]) -> dict[str, Any]:
    return {
        "pieces": len(pieces),
        "bars": sum(piece.bars for piece in pieces),
        "notes": sum(len(piece.notes) for piece in pieces),
        "drum_notes": sum(len(piece.drums) for piece in pieces),
        "minutes": round(sum(map(minutes, pieces)), 2),
        "keys": _histogram(_key(piece) for piece in pieces),
        "metres": _histogram(f"{piece.beats}/{piece.beat_type}" for piece in pieces),
        "composers": _histogram(piece.composer or "unknown" for piece in pieces),
        "voices": _histogram(str(piece.voices) for piece in pieces),
        "ranges": _ranges(pieces),
        "with_pickup": _share(piece.pickup > 0 for piece in pieces),
        "with_fermatas": _share(len(piece.fermatas) > 0 for piece in pieces),
        "with_chords": _share(len(piece.chords) > 0 for piece in pieces),
        "metre_changes": sum(len(piece.metres) > 1 for piece in pieces),
    }


def _key(piece: Piece) -> str:
    return "unknown" if piece.tonic is None else " ".join(filter(None, (TONICS[piece.tonic], piece.mode)))


def _histogram(values: Any) -> dict[str, int]:
    """Counts of values, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _ranges(pieces: Sequence[Piece]) -> list[list[int]]:
    """Lowest and highest pitch of each voice that sounds."""
    results = []
    for voice in range(max((piece.voices for piece in pieces), default=0)):
        pitches = np.concatenate([piece.voice(voice)[:, PITCH] for piece in pieces])
        results.append([int(pitches.min()), int(pitches.max())] if len(pitches) else [])
    return results


def _share(flags: Any) -> float:
    flags = list(flags)
    return round(sum(flags) / len(flags), 4) if flags else 0.0


def _by_content(pieces: Sequence[Piece]) -> dict[bytes, list[str]]:
    names: dict[bytes, list[str]] = {}
    for piece in pieces:
        if len(piece.notes):
            names.setdefault(content(piece), []).append(piece.name)
    return names


def _grouped(dropped: Sequence[Dropped]) -> dict[str, dict[str, Any]]:
    """Reason -> number and names of the pieces left out."""
    groups: dict[str, list[str]] = {}
    for item in dropped:
        reason = "damaged" if item.damaged else item.reason.removeprefix(item.name).lstrip(": ")
        reason = "a duplicate" if reason.startswith("holds the notes of") else reason
        groups.setdefault(reason, []).append(item.name)
    return {reason: {"number": len(names), "names": names} for reason, names in sorted(groups.items(), key=lambda g: -len(g[1]))}


__all__ = ["GenerationDataModule", "SymbolicBatch"]


class GenerationDataModule(RootedDataModule):
    """A corpus in a view.

    Args:
        corpus: source of the pieces (`datamodules.generation.corpora`); corpora in a user's folder read `root`
        view: representation of pieces as frames (`datamodules.generation.views`)
        composer: use only pieces of this composer (part of the name, any case)
        transpose: largest random transposition of training excerpts (semitones), within the view's range
        crop: frames of a training excerpt; null: whole pieces
        align: excerpts begin at multiples of this number of frames
        windows: evaluation reads consecutive windows of `crop` frames instead of whole pieces
        items: training items of an epoch; null: each piece once, or as many excerpts as fit into it
        eval_batch_size: pieces or windows per evaluation batch
    """

    task = "generation"
    layout = "the corpus' folder"

    def __init__(
        self,
        corpus: Corpus,
        view: View,
        composer: str | None = None,
        transpose: int = 0,
        crop: int | None = None,
        align: int = 1,
        windows: bool = False,
        items: int | None = None,
        eval_batch_size: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if min(transpose, 0 if crop is None else crop - 1, align - 1, eval_batch_size - 1, 0 if items is None else items - 1) < 0:
            raise ValueError(
                "transpose must not be negative, crop, align, items and eval_batch_size positive: "
                f"{transpose}, {crop}, {align}, {items}, {eval_batch_size}"
            )
        if crop is None:
            refuse_unread(type(self), {"windows": windows, "align": align}, "without --data.crop")
        if self.root is not None:
            _check_root(corpus)
            corpus = corpus.in_folder(self.root)
        self.corpus, self.view, self.composer = corpus, view, composer
        self.transpose, self.crop, self.align, self.windows = transpose, crop, align, windows
        self.items, self.eval_batch_size = items, eval_batch_size

    @property
    def name(self) -> str:
        """Name of the data set in results."""
        return self.corpus.name

    @property
    def subset(self) -> str:
        """Name of the subset in results."""
        return self.composer or "full"

    @cached_property
    def _read(self) -> tuple[dict[str, list[Piece]], list[Dropped]]:
        """Pieces of each split in the view's key, and those left out; fits the view to the training pieces."""
        result = pack.load(self.corpus, self.cache_dir, self.strict)
        expected = (self.composer or "").lower()
        chosen = {split: [p for p in getattr(result, split) if expected in p.composer.lower()] for split in SPLITS}
        if expected and not any(chosen.values()):
            known = sorted({p.composer for split in SPLITS for p in getattr(result, split)} - {""})
            raise DataError(f"--data.composer {self.composer}: the corpus {self.name} has {', '.join(known) or 'no composers'}.")
        dropped, ready = list(result.dropped), {}
        for split in SPLITS:
            ready[split], unfit = self._in_key(chosen[split])
            dropped += unfit
        self.view.fit(ready["train"])
        for split in SPLITS:
            reasons = [why_unfit(self.view, piece) for piece in ready[split]]
            dropped += [Dropped(p.name, f"{p.name}: {why}", False) for p, why in zip(ready[split], reasons, strict=True) if why]
            ready[split] = [piece for piece, why in zip(ready[split], reasons, strict=True) if not why]
        kinds = ("file" if item.damaged else "piece" for item in dropped)
        self.left_out.extend(
            LeftOut.from_sentence(kind, item.name, item.reason) for kind, item in zip(kinds, dropped, strict=True)
        )
        self.left_out.extend(entry for split in SPLITS for piece in ready[split] for entry in unread(self.view, piece))
        self.left_out.log_new()
        return ready, dropped

    def _in_key(self, pieces: list[Piece]) -> tuple[list[Piece], list[Dropped]]:
        if self.view.key == "any":
            return pieces, []
        kept, dropped = [], []
        for piece in pieces:
            try:
                kept.append(piece.transposed(self.view.shift_for(piece)))
            except UnfitPiece as reason:
                dropped.append(Dropped(piece.name, f"{piece.name}: {reason}", False))
        return kept, dropped

    @property
    def notation(self) -> dict[str, Any]:
        """State of the fitted view, stored in the network's checkpoint."""
        self._read  # noqa: B018  the view learns from the pieces
        return self.view.state()

    def pieces(self, split: str) -> list[Piece]:
        """Pieces of a split that fit the view, in its key. Raises DataError if there are none."""
        ready, dropped = self._read
        if not ready[split]:
            why = f" (the first left out: {dropped[0].reason})" if dropped else ""
            raise DataError(f"No piece of the {split} split of {self.name} can be used{why}. {self.advice()}")
        return ready[split]

    def find_root(self) -> Path:
        """Folder of the music: the user's or the package's."""
        return self.corpus.folder()

    def advice(self) -> str:
        """Command that checks the corpus."""
        kind = public_path(type(self.corpus))
        root = f" --data.root {self.root}" if self.root else ""
        return f"Check it with: python -m tasks.generation prepare --data.corpus {kind}{root}"

    def train_set(self) -> Dataset:
        """Excerpts of the training pieces."""
        return Excerpts(self.encoder("train"), self.items, self.crop, self.align)

    def validation_set(self) -> Dataset:
        """The validation pieces."""
        return self._scored("validation")

    def test_set(self) -> Dataset:
        """The test pieces."""
        return self._scored("test")

    def _scored(self, split: str) -> Dataset:
        return Whole(self.encoder(split), self.crop if self.windows else None)

    def encoder(self, split: str) -> Encoder:
        """Encoder of the pieces of a split, with transpositions for the training split."""
        return Encoder(self.pieces(split), self.view, self.transpose if split == "train" else 0)

    def everything(self, split: str = "train") -> Iterator[SymbolicBatch]:
        """All pieces of a split in order as batches, the training split in every transposition."""
        items = self.encoder(split).everything()
        while batch := [item for _, item in zip(range(self.eval_batch_size), items, strict=False)]:
            yield collate(batch)

    def collate(self, items: Any) -> SymbolicBatch:
        """Items of any lengths as one batch."""
        return collate(items)

    def prepare(self, report_dir: Path) -> dict:
        """Parse the corpus into a pack and report its content and the pieces left out."""
        ready, dropped = self._read
        counts = {"pieces": sum(map(len, ready.values())), **{split: len(ready[split]) for split in SPLITS}}
        lists = {
            "damaged": [item.reason for item in dropped if item.damaged],
            "left_out": [item.reason for item in dropped if not item.damaged],
        }
        result = survey(Splits(*(ready[split] for split in SPLITS), dropped))
        lists["identical"] = [f"{' and '.join(names)} hold the same notes" for names in result["duplicates"]["across"]]
        warn("In two splits: %s.", lists["identical"])
        return write_report(self, report_dir, counts, lists, {"view": self.view.name}, survey=result)


def _check_root(corpus: Corpus) -> None:
    """Raise DataError for a corpus that does not read a user's folder."""
    if isinstance(corpus, OwnMusic):
        return
    from datamodules.generation import corpora

    readers = [name for name, kind in vars(corpora).items() if isinstance(kind, type) and issubclass(kind, OwnMusic)]
    raise DataError(
        f"The corpus {type(corpus).__name__} does not read --data.root, since it brings its own music: leave it out, or choose "
        f"one that reads a folder by --data.corpus datamodules.generation.corpora.NAME ({', '.join(sorted(readers))})."
    )
