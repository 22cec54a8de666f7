"""From all stems of a network to those that a user asked for."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from datamodules.errors import DataError
from tasks.separation.song_stems import Piece

REST = "rest"


class Outputs:
    """Which stems are written, and what they add up to.

    Args:
        sources: names of the network's stems
        two_stems: one of them; what is written is that stem and `no_<stem>`
        other: `no_<stem>` is the `sum` of the other stems, or the song `minus` the stem (default: minus where the network's
            sources are not all of a song, else the sum)
        sum_to_mix: what the stems' sum lacks of the song is added to them in equal shares, so that they sum to the song
        rest: one more stem, `rest`: the song minus all stems
        covers_mixture: whether the network's sources are all of a song
        steps: for integer formats: steps per unit of amplitude, on which the sum is then exact

    Raises:
        DataError: the network has no such stem, or its stems do not make up a song that they shall sum to.
    """

    def __init__(
        self,
        sources: Sequence[str],
        two_stems: str | None = None,
        other: Literal["sum", "minus"] | None = None,
        sum_to_mix: bool = False,
        steps: int | None = None,
        rest: bool = False,
        covers_mixture: bool = True,
    ) -> None:
        self.one = self._chosen(sources, two_stems, rest)
        self.other = other or ("sum" if covers_mixture else "minus")
        if two_stems is not None and self.other == "sum" and len(sources) == 1:
            raise DataError(f"--output.other sum: the network's only stem is {two_stems}, so no_{two_stems} needs minus")
        if sum_to_mix and not covers_mixture and not rest and (two_stems is None or self.other == "sum"):
            raise DataError(
                f"--output.sum_to_mix: {', '.join(sources)} are not all of a song, so they cannot sum to it: add "
                "--output.rest true, which writes what they leave of it"
            )
        self.sum_to_mix, self.steps, self.rest = sum_to_mix, steps, rest
        self.names = [two_stems, f"no_{two_stems}"] if two_stems is not None else [*sources, *([REST] if rest else [])]

    @staticmethod
    def _chosen(sources: Sequence[str], two_stems: str | None, rest: bool) -> int | None:
        """Position of the stem that is written with its rest."""
        if two_stems is not None and two_stems not in sources:
            raise DataError(f"--output.two_stems: the network has no stem '{two_stems}'; it has {', '.join(sources)}")
        if rest and two_stems is not None:
            raise DataError(f"--output.rest: with --output.two_stems the rest is no_{two_stems}: --output.other minus")
        if rest and REST in sources:
            raise DataError(f"--output.rest: the network has a stem called {REST} itself")
        return None if two_stems is None else list(sources).index(two_stems)

    def __call__(self, piece: Piece) -> Tensor:
        """Stems (names, channels, frames) to write of one piece of a song."""
        stems = piece.stems
        if self.one is not None:
            wanted = stems[self.one]
            others = piece.mixture - wanted if self.other == "minus" else stems.sum(dim=0) - wanted
            stems = torch.stack([wanted, others])
        elif self.rest:
            stems = torch.cat([stems, (piece.mixture - stems.sum(dim=0))[None]])
        return self._complete(stems.double(), piece.mixture.double()).float() if self.sum_to_mix else stems

    def _complete(self, stems: Tensor, mixture: Tensor) -> Tensor:
        stems = stems + (mixture - stems.sum(dim=0)) / len(stems)
        if self.steps:
            # Rounded here and not when written: the last stem takes up the rounding errors of the others.
            stems, mixture = (stems * self.steps).round(), (mixture * self.steps).round()
            stems = torch.cat([stems[:-1], (mixture - stems[:-1].sum(dim=0))[None]]) / self.steps
        return stems
