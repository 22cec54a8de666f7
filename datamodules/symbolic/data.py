"""Pieces of any corpus in any view: what every system of music generation trains on and is scored on."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from datamodules.errors import DataError
from datamodules.left_out import LeftOut
from datamodules.report import warn, write_report
from datamodules.rooted import RootedData
from datamodules.symbolic import pack
from datamodules.symbolic.batch import SymbolicBatch, collate
from datamodules.symbolic.corpora.corpus import Corpus, Dropped, OwnMusic, Splits
from datamodules.symbolic.encoded import Encoder, Excerpts, Whole, unread, why_unfit
from datamodules.symbolic.pack import SPLITS
from datamodules.symbolic.piece import Piece
from datamodules.symbolic.survey import survey
from datamodules.symbolic.views.view import Unfit, View
from datamodules.unread import refuse_unread

__all__ = ["SymbolicBatch", "SymbolicData"]

class SymbolicData(RootedData):
    """A corpus in a view.

    Args:
        corpus: where the pieces come from (`datamodules.symbolic.corpora`); one in a folder of the user's reads `root`
        view: how a piece becomes frames (`datamodules.symbolic.views`)
        composer: take the pieces of this composer alone (part of the name, any case)
        transpose: draw each excerpt up to so many semitones higher or lower, as far as the view reaches
        crop: frames of a training excerpt; null: whole pieces
        align: excerpts begin at multiples of so many frames
        windows: evaluation reads consecutive windows of `crop` frames instead of whole pieces
        items: training items of an epoch; null: each piece once, or as many excerpts as it has room for
        eval_batch_size: pieces or windows that are scored at once
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
        """Results are filed under it."""
        return self.corpus.name

    @property
    def subset(self) -> str:
        """What a printed number has to name beside it."""
        return self.composer or "full"

    @cached_property
    def _read(self) -> tuple[dict[str, list[Piece]], list[Dropped]]:
        """Pieces of each split in the view's key, and what was left out; the view has learned from the training pieces."""
        found = pack.load(self.corpus, self.cache_dir, self.strict)
        wanted = (self.composer or "").lower()
        chosen = {split: [p for p in getattr(found, split) if wanted in p.composer.lower()] for split in SPLITS}
        if wanted and not any(chosen.values()):
            known = sorted({p.composer for split in SPLITS for p in getattr(found, split)} - {""})
            raise DataError(f"--data.composer {self.composer}: the corpus {self.name} has {', '.join(known) or 'no composers'}.")
        dropped, ready = list(found.dropped), {}
        for split in SPLITS:
            ready[split], unfit = self._in_key(chosen[split])
            dropped += unfit
        self.view.fit(ready["train"])
        for split in SPLITS:
            reasons = [why_unfit(self.view, piece) for piece in ready[split]]
            dropped += [Dropped(p.name, f"{p.name}: {why}", False) for p, why in zip(ready[split], reasons, strict=True) if why]
            ready[split] = [piece for piece, why in zip(ready[split], reasons, strict=True) if not why]
        kinds = ("file" if one.damaged else "piece" for one in dropped)
        self.left_out.extend(LeftOut.from_sentence(kind, one.name, one.reason) for kind, one in zip(kinds, dropped, strict=True))
        self.left_out.extend(entry for split in SPLITS for piece in ready[split] for entry in unread(self.view, piece))
        self.left_out.say()
        return ready, dropped

    def _in_key(self, pieces: list[Piece]) -> tuple[list[Piece], list[Dropped]]:
        if self.view.key == "any":
            return pieces, []
        kept, dropped = [], []
        for piece in pieces:
            try:
                kept.append(piece.transposed(self.view.shift_for(piece)))
            except Unfit as reason:
                dropped.append(Dropped(piece.name, f"{piece.name}: {reason}", False))
        return kept, dropped

    @property
    def notation(self) -> dict[str, Any]:
        """The view with all it learned, as the network's checkpoint keeps it."""
        self._read  # noqa: B018  the view learns from the pieces
        return self.view.state()

    def pieces(self, split: str) -> list[Piece]:
        """The pieces of a split that the view can hold, in its key. Raises DataError where there are none."""
        ready, dropped = self._read
        if not ready[split]:
            why = f" (the first left out: {dropped[0].reason})" if dropped else ""
            raise DataError(f"No piece of the {split} split of {self.name} can be used{why}. {self.advice()}")
        return ready[split]

    def find_root(self) -> Path:
        """The folder of the music: the user's, or the one that a package brings."""
        return self.corpus.folder()

    def advice(self) -> str:
        """The command that says what is wrong with a corpus."""
        kind = f"{type(self.corpus).__module__}.{type(self.corpus).__name__}"
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
        """The pieces of a split as frames; of the training split in every key that is trained in."""
        return Encoder(self.pieces(split), self.view, self.transpose if split == "train" else 0)

    def everything(self, split: str = "train") -> Iterator[SymbolicBatch]:
        """The whole split in order, the training split in every key: what a chain counts."""
        items = self.encoder(split).everything()
        while batch := [item for _, item in zip(range(self.eval_batch_size), items, strict=False)]:
            yield collate(batch)

    def collate(self, items: Any) -> SymbolicBatch:
        """Items of any lengths as one batch."""
        return collate(items)

    def prepare(self, report_dir: Path) -> dict:
        """Parse the corpus, keep it as a pack, say what it holds and what was left out."""
        ready, dropped = self._read
        counts = {"pieces": sum(map(len, ready.values())), **{split: len(ready[split]) for split in SPLITS}}
        lists = {
            "damaged": [one.reason for one in dropped if one.damaged],
            "left_out": [one.reason for one in dropped if not one.damaged],
        }
        found = survey(Splits(*(ready[split] for split in SPLITS), dropped))
        lists["identical"] = [f"{' and '.join(names)} hold the same notes" for names in found["duplicates"]["across"]]
        warn("In two splits: %s.", lists["identical"])
        return write_report(self, report_dir, counts, lists, {"view": self.view.name}, survey=found)


def _check_root(corpus: Corpus) -> None:
    """Raise DataError for a corpus that reads no folder of the user's."""
    if isinstance(corpus, OwnMusic):
        return
    from datamodules.symbolic import corpora

    readers = [name for name, kind in vars(corpora).items() if isinstance(kind, type) and issubclass(kind, OwnMusic)]
    raise DataError(
        f"The corpus {type(corpus).__name__} does not read --data.root, since it brings its own music: leave it out, or choose "
        f"one that reads a folder by --data.corpus datamodules.symbolic.corpora.NAME ({', '.join(sorted(readers))})."
    )
