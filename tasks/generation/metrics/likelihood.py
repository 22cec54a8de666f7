"""Likelihood of unseen pieces and how often the likeliest cell is the true one, by every protocol that papers use."""

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.metrics.bootstrap import ratio
from tasks.metrics.rows import RowMetric

_REALS = ("nats", "first")


class LikelihoodRows(NamedTuple):
    """One entry a piece, sorted by its position in the split, on every rank the same; all (pieces,)."""

    piece: NDArray[np.int64]  # position in the split
    nats: NDArray[np.float64]  # of all frames
    first: NDArray[np.float64]  # of the first frame
    frames: NDArray[np.int64]
    cells: NDArray[np.int64]  # frames x columns
    right: NDArray[np.int64]  # cells guessed right, of `guessed`
    guessed: NDArray[np.int64]
    onsets_right: NDArray[np.int64]  # cells guessed right, of those `onsets` in which something begins
    onsets: NDArray[np.int64]
    hits: NDArray[np.int64]  # notes of a roll that were guessed,
    extra: NDArray[np.int64]  # guessed where there is none,
    missed: NDArray[np.int64]  # and not guessed


class FrameLikelihood(RowMetric):
    """Nats of every piece, added up in order: no batch size, padding, order or number of ranks changes a score.

    A piece or a window of one that several ranks saw counts once, and windows make up their piece. `rows` gathers: call it on
    every rank.
    """

    higher_is_better = False
    columns: ClassVar = {name: torch.float64 if name in _REALS else torch.int64 for name in ("item", *LikelihoodRows._fields)}

    def update(
        self,
        index: Tensor | Sequence[int],
        nll: Tensor,
        valid: Tensor,
        columns: int,
        guess: Tensor | None = None,
        truth: Tensor | None = None,
        hold: int = -1,
        rest: int = -1,
        piece: Tensor | None = None,
    ) -> None:
        """Add whole pieces, or windows of pieces.

        Args:
            index: (batch,) positions of the pieces in the split, or of the windows among all in order
            nll: (batch, frames) nats, the first frame included
            valid: (batch, frames) bool, false where padded
            columns: of a frame
            guess: (batch, frames, columns) the likeliest frame given those before it: categories, or floats, above 0.5 a note
            truth: (batch, frames, columns) the true frames: categories, or a roll of floats
            hold: category of a held note; -1: an onset is a cell that differs from the one before
            rest: category of silence, which begins once however long it lasts
            piece: (batch,) positions in the split of the pieces that windows are of

        Raises:
            ValueError: a likelihood that is no number, or shapes that do not fit.
        """
        index = torch.as_tensor(index).flatten()
        piece = index if piece is None else piece
        if nll.shape != valid.shape or len(index) != len(nll):
            raise ValueError(f"expected nats of {len(index)} pieces as {tuple(valid.shape)}, got {tuple(nll.shape)}")
        nats = torch.where(valid, nll.detach().to(self.kind("nats")), 0.0)
        if not (known := torch.isfinite(nats).all(1).to(piece.device)).all():
            raise ValueError(f"the likelihood of piece {int(piece[~known][0])} is not a number")
        frames = valid.sum(1)
        counts = _counts(valid, guess, truth, hold, rest)
        counts |= {"frames": frames, "cells": frames * columns}
        self.add(item=index, piece=piece, nats=nats.sum(1), first=nats[:, 0], **counts)

    def compute(self) -> dict[str, float]:
        """`summary` of all pieces."""
        return summary(self.own_rows())

    def rows(self) -> LikelihoodRows:
        """All pieces of all ranks."""
        return self.gathered(self.own_rows)

    def own_rows(self) -> LikelihoodRows:
        """Those held here: of this process alone, which may ask without the others."""
        _, once = np.unique(self.held("item").astype(np.int64), return_index=True)
        piece, first, whose = np.unique(self.held("piece").astype(np.int64)[once], return_index=True, return_inverse=True)
        kinds = {name: np.float64 if name in _REALS else np.int64 for name in LikelihoodRows._fields[1:]}
        rest = {name: self.held(name).astype(kind)[once] for name, kind in kinds.items()}
        sums = {name: _sums(values, whose, len(piece)) for name, values in rest.items()}
        return LikelihoodRows(piece, **sums | {"first": rest["first"][first]})


def summary(rows: LikelihoodRows) -> dict[str, float]:
    """Scores by the name of their protocol; those of which nothing is known are left out.

    `nll_frame`: nats per frame over the frames of all pieces, the first included (Boulanger-Lewandowski et al. 2012);
    `nll_frame_without_first`: a piece's first frame is not predicted (Bai et al. 2018); `nll_frame_mean_per_piece`: mean of the
    pieces' means; `nll_cell`, `bits_cell`: per column of a frame, a note in a grid of voices; `accuracy`: share of cells whose
    likeliest category is true; `onset_accuracy`: of cells in which a note or a rest begins; `bl_accuracy`: TP / (TP + FP + FN)
    of a roll's notes, guessed as the likeliest cells; `n_pieces`, `n_frames`, `n_cells`.
    """
    total = rows.nats.sum()
    later = (rows.frames - 1).clip(0)
    found = {
        "nll_frame": _share(total, rows.frames.sum()),
        "nll_frame_without_first": _share(total - rows.first.sum(), later.sum()),
        "nll_frame_mean_per_piece": _share((rows.nats / rows.frames.clip(1)).sum(), (rows.frames > 0).sum()),
        "nll_cell": _share(total, rows.cells.sum()),
        "bits_cell": _share(total / math.log(2), rows.cells.sum()),
    }
    notes = rows.hits + rows.extra + rows.missed
    shares = {
        "accuracy": (rows.right, rows.guessed),
        "onset_accuracy": (rows.onsets_right, rows.onsets),
        "bl_accuracy": (rows.hits, notes),
    }
    found |= {name: _share(part.sum(), whole.sum()) for name, (part, whole) in shares.items() if whole.sum()}
    return found | {"n_pieces": len(rows.piece), "n_frames": int(rows.frames.sum()), "n_cells": int(rows.cells.sum())}


def intervals(rows: LikelihoodRows, resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of `nll_frame` and `nll_cell`: whole pieces are drawn again."""
    wholes = {"nll_frame": rows.frames, "nll_cell": rows.cells}
    return {name: tuple(ratio(rows.nats, whole, resamples, seed)[1:]) for name, whole in wholes.items()}


def _counts(valid: Tensor, guess: Tensor | None, truth: Tensor | None, hold: int, rest: int) -> dict[str, Tensor]:
    """What was guessed right, (batch,) each."""
    nothing = torch.zeros(len(valid), dtype=torch.int64)
    names = LikelihoodRows._fields[5:]
    if guess is None or truth is None:
        return dict.fromkeys(names, nothing)
    if guess.shape != truth.shape or guess.shape[:2] != valid.shape:
        raise ValueError(f"expected guesses {tuple(truth.shape)}, got {tuple(guess.shape)}")
    real = valid[..., None]
    if truth.is_floating_point():
        played, thought = truth > 0.5, guess > 0.5
        cells = (played & thought, ~played & thought, played & ~thought)
        return dict.fromkeys(names, nothing) | {
            name: (cell & real).sum((1, 2)) for name, cell in zip(names[-3:], cells, strict=True)
        }
    right, onset = (guess == truth) & real, _onsets(truth, hold, rest) & real
    counts = (right.sum((1, 2)), real.expand_as(right).sum((1, 2)), (right & onset).sum((1, 2)), onset.sum((1, 2)))
    return dict.fromkeys(names, nothing) | dict(zip(names[:4], counts, strict=True))


def _onsets(truth: Tensor, hold: int, rest: int) -> Tensor:
    """Cells in which a note or a rest begins."""
    changed = torch.ones_like(truth, dtype=torch.bool)
    changed[:, 1:] = truth[:, 1:] != truth[:, :-1]
    if hold < 0:
        # Tokens in a row have no cell before that they could hold on to.
        return changed if truth.shape[-1] > 1 else torch.zeros_like(changed)
    return (truth != hold) & (changed | (truth != rest))


def _sums(values: NDArray, whose: NDArray[np.int64], pieces: int) -> NDArray:
    """Sums (pieces,) of what windows hold (windows,), in their order."""
    found = np.zeros(pieces, values.dtype)
    np.add.at(found, whose, values)
    return found


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")
