"""FilterAugment (Nam, Kim and Park 2022): each clip as another microphone, room or distance might colour it."""

import math
from typing import Literal

import torch
from torch import Tensor

from models.augment.augmentation import Augmentation
from models.augment.view import View, uniform

NEPER = math.log(10.0) / 20.0  # of one dB


class FilterAugment(Augmentation):
    """Adds a random frequency response to each clip's log-mel; the defaults are those of FDY-CRNN (Nam et al. 2022).

    "step": `bands` (from, to) ranges of frequency, each with a gain of its own; "linear": gains at the ranges' edges, straight
    lines between. decibels: (from, to) of a gain; min_width: least bands in a range. Edges and gains are drawn for every
    clip, how many ranges once a batch. The log-mel is that of magnitudes; `View.gain` says what standardisation made of it.
    Raises ValueError for an unknown kind or for more ranges than there can be.
    """

    def __init__(
        self,
        kind: Literal["step", "linear"] = "step",
        decibels: tuple[float, float] = (-4.5, 6.0),
        bands: tuple[int, int] = (2, 5),
        min_width: int = 4,
    ) -> None:
        super().__init__()
        if kind not in ("step", "linear") or not 1 <= bands[0] <= bands[1]:
            raise ValueError(f"FilterAugment: kind {kind!r}, bands {bands}: expected step or linear, from 1 up")
        self.kind, self.decibels, self.bands, self.min_width = kind, tuple(decibels), tuple(bands), min_width

    def forward(self, view: View) -> View:
        if view.mel is None:
            return view
        response = self.response(len(view.mel), view.mel.shape[2]).to(view.mel.device) * NEPER
        if view.gain is not None:
            response = response * view.gain
        inside = torch.arange(view.mel.shape[1], device=view.mel.device) < view.valid[:, None]
        return view._replace(mel=view.mel + response[:, None] * inside[..., None])

    def response(self, batch: int, n_mels: int) -> Tensor:
        """Gains (batch, n_mels) in dB."""
        ranges = int(torch.randint(self.bands[0], self.bands[1] + 1, ()))
        edges = range_edges(batch, n_mels, ranges, self.min_width)
        band = torch.arange(n_mels).expand(batch, -1).contiguous()
        if self.kind == "step":
            gains = uniform((batch, ranges), *self.decibels)
            return gains.gather(1, torch.searchsorted(edges[:, 1:-1].contiguous(), band, right=True))
        gains = uniform((batch, ranges + 1), *self.decibels)
        left = torch.searchsorted(edges[:, 1:-1].contiguous(), band, right=True)
        start, end = edges.gather(1, left), edges.gather(1, left + 1)
        share = (band - start) / (end - start)
        return gains.gather(1, left).lerp(gains.gather(1, left + 1), share)


def range_edges(batch: int, n_mels: int, ranges: int, least: int) -> Tensor:
    """(batch, ranges + 1) bands where ranges begin, from 0 to n_mels, each at least `least` wide.

    Raises ValueError if they do not fit.
    """
    spare = n_mels - ranges * least
    if spare < 0:
        raise ValueError(f"FilterAugment: {ranges} ranges of {least} bands do not fit into {n_mels}")
    inner = torch.randint(0, spare + 1, (batch, ranges - 1)).sort(1).values + least * torch.arange(1, ranges)
    zeros = torch.zeros(batch, 1, dtype=inner.dtype)
    return torch.cat([zeros, inner, zeros + n_mels], 1)
