"""From all stems of a network to those that a user asked for."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from datamodules.errors import DataError
from tasks.separation.song_stems import Piece


class Outputs:
    """Which stems are written, and what they add up to.

    Args:
        sources: names of the network's stems
        two_stems: one of them; what is written is that stem and `no_<stem>`
        other: `no_<stem>` is the `sum` of the other stems, or the song `minus` the stem
        sum_to_mix: what the stems' sum lacks of the song is added to them in equal shares, so that they sum to the song
        steps: for integer formats: steps per unit of amplitude, on which the sum is then exact

    Raises:
        DataError: the network has no such stem.
    """

    def __init__(
        self,
        sources: Sequence[str],
        two_stems: str | None = None,
        other: Literal["sum", "minus"] = "sum",
        sum_to_mix: bool = False,
        steps: int | None = None,
    ) -> None:
        if two_stems is not None and two_stems not in sources:
            raise DataError(f"--output.two_stems: the network has no stem '{two_stems}'; it has {', '.join(sources)}")
        self.one = None if two_stems is None else list(sources).index(two_stems)
        self.other, self.sum_to_mix, self.steps = other, sum_to_mix, steps
        self.names = list(sources) if two_stems is None else [two_stems, f"no_{two_stems}"]

    def __call__(self, piece: Piece) -> Tensor:
        """Stems (names, channels, frames) to write of one piece of a song."""
        stems = piece.stems
        if self.one is not None:
            wanted = stems[self.one]
            others = piece.mixture - wanted if self.other == "minus" else stems.sum(dim=0) - wanted
            stems = torch.stack([wanted, others])
        return self._complete(stems.double(), piece.mixture.double()).float() if self.sum_to_mix else stems

    def _complete(self, stems: Tensor, mixture: Tensor) -> Tensor:
        stems = stems + (mixture - stems.sum(dim=0)) / len(stems)
        if self.steps:
            # Rounded here and not when written: the last stem takes up the rounding errors of the others.
            stems, mixture = (stems * self.steps).round(), (mixture * self.steps).round()
            stems = torch.cat([stems[:-1], (mixture - stems[:-1].sum(dim=0))[None]]) / self.steps
        return stems
