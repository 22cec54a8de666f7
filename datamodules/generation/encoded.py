"""Datasets of encoded pieces: random excerpts in any key for training, whole pieces or windows for evaluation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.common.errors import counted
from datamodules.common.left_out import LeftOut
from datamodules.generation.piece import Piece
from datamodules.generation.views.view import Encoded, UnfitPiece, View


class SymbolicBatch(NamedTuple):
    """Batch of frames: the fields of `models.generation.frame_spec.FrameBatch` with indices and names of the pieces."""

    frames: Tensor  # (batch, frames, columns): int64 categories, or float32 zeros and ones
    conditions: Tensor  # (batch, frames, conditions) float32
    valid: Tensor  # (batch, frames) bool: false where padded
    index: Tensor  # (batch,) int64: index of the piece or window in its split
    names: tuple[str, ...]
    piece: Tensor  # (batch,) int64: index of the piece in its split


class EncodedItem(NamedTuple):
    """One encoded piece or excerpt."""

    encoded: Encoded
    index: int
    name: str
    piece: int


def collate(items: Sequence[EncodedItem]) -> SymbolicBatch:
    """Pad items to the longest and stack them."""
    longest = max(len(item.encoded.frames) for item in items)
    frames, conditions, valid = [], [], np.zeros((len(items), longest), bool)
    for row, encoded in enumerate(item.encoded for item in items):
        missing = longest - len(encoded.frames)
        frames.append(np.pad(encoded.frames, ((0, missing), (0, 0))))
        conditions.append(np.pad(encoded.conditions, ((0, missing), (0, 0))))
        valid[row, : len(encoded.frames)] = True
    return SymbolicBatch(
        torch.from_numpy(np.stack(frames)),
        torch.from_numpy(np.stack(conditions)),
        torch.from_numpy(valid),
        torch.tensor([item.index for item in items]),
        tuple(item.name for item in items),
        torch.tensor([item.piece for item in items]),
    )


class Encoder:
    """Encoder of the pieces of a split, with a cache of transpositions."""

    def __init__(self, pieces: Sequence[Piece], view: View, semitones: int = 0) -> None:
        self.pieces, self.view = pieces, view
        self.shifts = [self._shifts(piece, semitones) for piece in pieces]
        self._known: dict[tuple[int, int], Encoded] = {}

    def _shifts(self, piece: Piece, semitones: int) -> list[int]:
        """Transpositions within +-semitones that fit the view; 0 first."""
        around = sorted(range(-semitones, semitones + 1), key=abs)
        return [shift for shift in around if not shift or self.view.holds(piece.transposed(shift))]

    def __call__(self, index: int, shift: int = 0) -> Encoded:
        """Frames of a piece transposed by `shift` semitones."""
        if (index, shift) not in self._known:
            self._known[index, shift] = self.view.encode(self.pieces[index].transposed(shift))
        return self._known[index, shift]

    def everything(self) -> Iterator[EncodedItem]:
        """Every piece in every transposition."""
        for index, piece in enumerate(self.pieces):
            for shift in self.shifts[index]:
                yield EncodedItem(self(index, shift), index, piece.name, index)


class Excerpts(Dataset):
    """Training items: excerpts of `crop` frames (None: whole pieces) that begin at multiples of `align` frames, in any key.

    Indexed by (index, seed). A piece counts as often as excerpts fit into it, so that longer pieces are drawn more often; `items`
    are spread evenly over all of these.
    """

    def __init__(self, encoder: Encoder, items: int | None, crop: int | None, align: int) -> None:
        self.encoder, self.crop, self.align = encoder, crop, align
        frames = [len(encoder(index).frames) for index in range(len(encoder.pieces))]
        self.origins = [index for index, count in enumerate(frames) for _ in range(max(1, round(count / crop)) if crop else 1)]
        self.items = items or len(self.origins)

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, item: tuple[int, int]) -> EncodedItem:
        random = np.random.default_rng(item[1])
        index = self.origins[self._origin(item[0], random)]
        encoded = self.encoder(index, int(random.choice(self.encoder.shifts[index])))
        name = self.encoder.pieces[index].name
        if self.crop is None:
            return EncodedItem(encoded, index, name, index)
        last = max(0, len(encoded.frames) - self.crop)
        start = min(int(random.integers(last // self.align + 1)) * self.align, last)
        return EncodedItem(cut(encoded, start, start + self.crop), index, name, index)

    def _origin(self, item: int, random: np.random.Generator) -> int:
        """Random index into `origins` within the item's share, so that few items do not always skip the same pieces."""
        if self.items == len(self.origins):
            return item
        return min(int((item + random.random()) * len(self.origins) / self.items), len(self.origins) - 1)


class Whole(Dataset):
    """Whole pieces, or consecutive windows of `window` frames, the last of which may be shorter."""

    def __init__(self, encoder: Encoder, window: int | None = None) -> None:
        self.encoder = encoder
        lengths = [len(encoder(index).frames) for index in range(len(encoder.pieces))]
        self.spans = [(i, k, min(k + (window or n), n)) for i, n in enumerate(lengths) for k in range(0, n, window or n)]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, number: int) -> EncodedItem:
        index, start, stop = self.spans[number]
        return EncodedItem(cut(self.encoder(index), start, stop), number, self.encoder.pieces[index].name, index)


def cut(encoded: Encoded, start: int, stop: int) -> Encoded:
    """Frames [start, stop)."""
    return Encoded(encoded.frames[start:stop], encoded.conditions[start:stop])


def why_unfit(view: View, piece: Piece) -> str | None:
    """Reason for which a piece does not fit a view; None if it fits."""
    try:
        view.encode(piece)
    except UnfitPiece as reason:
        return str(reason)
    return None


def unread(view: View, piece: Piece) -> list[LeftOut]:
    """Content of a piece that the reader or the view leaves out."""
    remarks = [remark for remark in piece.remarks if remark.endswith("left out")]
    lost = [LeftOut("passage", piece.name, "the reader has no place for it", remark) for remark in remarks]
    if view.voices is not None and piece.voices > view.voices:
        lost.append(LeftOut("voice", piece.name, "the view holds the melody alone", counted(piece.voices - view.voices, "voice")))
    if len(piece.drums) and view.name != "drums":
        lost.append(LeftOut("track", piece.name, "the view holds no drums", counted(len(piece.drums), "stroke")))
    if finer := view.merged_notes(piece):
        lost.append(LeftOut("note", piece.name, "the grid of the view is too coarse", counted(finer, "note")))
    return lost
