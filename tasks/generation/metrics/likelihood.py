"""Likelihood and accuracy of test pieces: nats per frame -> scores by the protocols of several papers."""

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
    """Values per piece (pieces,), sorted by position in the split."""

    piece: NDArray[np.int64]  # position in the split
    nats: NDArray[np.float64]  # of all frames
    first: NDArray[np.float64]  # of the first frame
    frames: NDArray[np.int64]
    cells: NDArray[np.int64]  # frames x columns
    right: NDArray[np.int64]  # correct cells of `guessed`
    guessed: NDArray[np.int64]
    onsets_right: NDArray[np.int64]  # correct cells of `onsets`
    onsets: NDArray[np.int64]  # cells in which a note or a rest begins
    hits: NDArray[np.int64]  # true positive notes of a roll
    extra: NDArray[np.int64]  # false positive notes
    missed: NDArray[np.int64]  # false negative notes


class FrameLikelihood(RowMetric):
    """Nats of every piece, summed in a fixed order: scores do not depend on batches, padding, order or ranks.

    A piece or window seen by several ranks counts once; windows are summed to pieces. Call `rows`, which gathers, on every rank.
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
            index: (batch,) positions of pieces in the split, or of windows among all windows
            nll: (batch, frames) nats, including the first frame
            valid: (batch, frames) bool, false for padding
            columns: columns of a frame
            guess: (batch, frames, columns) most likely frame given the previous ones: categories, or floats (above 0.5: note)
            truth: (batch, frames, columns) true frames: categories, or a roll of floats
            hold: category of a held note; -1: an onset is a cell that differs from the previous one
            rest: category of silence, which has a single onset
            piece: (batch,) positions in the split of the windows' pieces

        Raises:
            ValueError: a likelihood is not finite, or shapes do not match.
        """
        index = torch.as_tensor(index).flatten()
        piece = index if piece is None else piece
        if nll.shape != valid.shape or len(index) != len(nll):
            raise ValueError(f"expected nats of {len(index)} pieces as {tuple(valid.shape)}, got {tuple(nll.shape)}")
        nats = torch.where(valid, nll.detach().to(self.kind("nats")), 0.0)
        if not (finite := torch.isfinite(nats).all(1).to(piece.device)).all():
            raise ValueError(f"the likelihood of piece {int(piece[~finite][0])} is not a number")
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
        """Pieces of this process, without gathering."""
        _, once = np.unique(self.held("item").astype(np.int64), return_index=True)
        piece, first, owner = np.unique(self.held("piece").astype(np.int64)[once], return_index=True, return_inverse=True)
        kinds = {name: np.float64 if name in _REALS else np.int64 for name in LikelihoodRows._fields[1:]}
        windows = {name: self.held(name).astype(kind)[once] for name, kind in kinds.items()}
        sums = {name: _sums(values, owner, len(piece)) for name, values in windows.items()}
        return LikelihoodRows(piece, **sums | {"first": windows["first"][first]})


def summary(rows: LikelihoodRows) -> dict[str, float]:
    """Scores by the name of their protocol, without unknown ones.

    `nll_frame`: nats per frame over the frames of all pieces, including the first (Boulanger-Lewandowski et al. 2012);
    `nll_frame_without_first`: without the first frame of a piece (Bai et al. 2018); `nll_frame_mean_per_piece`: mean of the
    pieces' means; `nll_cell`, `bits_cell`: per column of a frame, a note in a grid of voices; `accuracy`: share of cells whose
    most likely category is true; `onset_accuracy`: of cells in which a note or a rest begins; `bl_accuracy`: TP / (TP + FP + FN)
    of a roll's notes, with the most likely cells; `n_pieces`, `n_frames`, `n_cells`.
    """
    total = rows.nats.sum()
    later = (rows.frames - 1).clip(0)
    scores = {
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
    scores |= {name: _share(part.sum(), whole.sum()) for name, (part, whole) in shares.items() if whole.sum()}
    return scores | {"n_pieces": len(rows.piece), "n_frames": int(rows.frames.sum()), "n_cells": int(rows.cells.sum())}


def intervals(rows: LikelihoodRows, resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of `nll_frame` and `nll_cell` over pieces."""
    wholes = {"nll_frame": rows.frames, "nll_cell": rows.cells}
    return {name: tuple(ratio(rows.nats, whole, resamples, seed)[1:]) for name, whole in wholes.items()}


def _counts(valid: Tensor, guess: Tensor | None, truth: Tensor | None, hold: int, rest: int) -> dict[str, Tensor]:
    """Counts of correct and wrong cells, (batch,) each."""
    zeros = torch.zeros(len(valid), dtype=torch.int64)
    names = LikelihoodRows._fields[5:]
    if guess is None or truth is None:
        return dict.fromkeys(names, zeros)
    if guess.shape != truth.shape or guess.shape[:2] != valid.shape:
        raise ValueError(f"expected guesses {tuple(truth.shape)}, got {tuple(guess.shape)}")
    real = valid[..., None]
    if truth.is_floating_point():
        played, predicted = truth > 0.5, guess > 0.5
        cells = (played & predicted, ~played & predicted, played & ~predicted)
        return dict.fromkeys(names, zeros) | {
            name: (cell & real).sum((1, 2)) for name, cell in zip(names[-3:], cells, strict=True)
        }
    right, onset = (guess == truth) & real, _onsets(truth, hold, rest) & real
    counts = (right.sum((1, 2)), real.expand_as(right).sum((1, 2)), (right & onset).sum((1, 2)), onset.sum((1, 2)))
    return dict.fromkeys(names, zeros) | dict(zip(names[:4], counts, strict=True))


def _onsets(truth: Tensor, hold: int, rest: int) -> Tensor:
    """Cells in which a note or a rest begins."""
    changed = torch.ones_like(truth, dtype=torch.bool)
    changed[:, 1:] = truth[:, 1:] != truth[:, :-1]
    if hold < 0:
        # Sequences of tokens have no held notes.
        return changed if truth.shape[-1] > 1 else torch.zeros_like(changed)
    return (truth != hold) & (changed | (truth != rest))


def _sums(values: NDArray, owner: NDArray[np.int64], pieces: int) -> NDArray:
    """Sums (pieces,) of the values of windows (windows,), in their order."""
    sums = np.zeros(pieces, values.dtype)
    np.add.at(sums, owner, values)
    return sums


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")
