"""Data augmentation of log-mel, embeddings and labels: FilterAugment, frame shift, mixup and SpecAugment."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn


class AugmentedBatch(NamedTuple):
    """Inputs and labels of a batch. All augmentations draw random numbers from torch's generator on the CPU."""

    mel: Tensor | None  # (batch, frames, bands) log-mel, standardised or not; None if not used
    valid: Tensor  # (batch,) frames of each clip; the log-mel is 0 behind them
    embeddings: dict[str, Tensor]  # name -> (batch, out frames, dim), aligned to the network's output
    clip: Tensor  # (batch, classes) labels of clips in [0, 1]
    frames: Tensor  # (batch, out frames, classes) labels of frames in [0, 1]
    group: Tensor | None = None  # (batch,) int64: kind of labels (strong, weak, none); only items of one kind are mixed
    gain: Tensor | None = None  # (bands,) change of the log-mel for a factor e in level; 1 if None
    factor: int = 4  # frames of the log-mel per output frame

    @property
    def device(self) -> torch.device:
        """Device of the batch."""
        return self.clip.device

    @property
    def out_valid(self) -> Tensor:
        """Output frames (batch,) of each clip, at least one."""
        return (self.valid // self.factor).clamp(min=1)


def uniform(shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniformly distributed numbers, drawn on the CPU so that every device gets the same."""
    return low + (high - low) * torch.rand(shape)


class Augmentation(nn.Module):
    """AugmentedBatch -> AugmentedBatch. `moves_labels`: student and teacher share one draw, since outputs are compared."""

    moves_labels = False

    def forward(self, view: AugmentedBatch) -> AugmentedBatch:
        """Randomly changed copy of the batch; the input is not modified."""
        raise NotImplementedError


def two_views(
    view: AugmentedBatch, augmentations: Sequence[Augmentation], independent: bool = True
) -> tuple[AugmentedBatch, AugmentedBatch]:
    """Student's and teacher's view: augmentations that move labels are drawn first and once for both.

    The others are drawn for each separately if `independent`, else once.
    """
    for augmentation in augmentations:
        if augmentation.moves_labels:
            view = augmentation(view)
    student = _own(view, augmentations)
    return student, _own(view, augmentations) if independent else student


def _own(view: AugmentedBatch, augmentations: Sequence[Augmentation]) -> AugmentedBatch:
    for augmentation in augmentations:
        if not augmentation.moves_labels:
            view = augmentation(view)
    return view


NEPER = math.log(10.0) / 20.0  # of one dB


class FilterAugment(Augmentation):
    """FilterAugment (Nam, Kim and Park 2022): random frequency response on each clip's log-mel; defaults of FDY-CRNN.

    kind: "step", one gain per range of frequency; "linear", gains at the edges of the ranges with linear interpolation.
    bands: (least, most) number of ranges; decibels: (least, most) gain; min_width: least bands per range. Edges and gains
    are drawn per clip, the number of ranges per batch. The log-mel is that of magnitudes; `AugmentedBatch.gain` is its
    scale after standardisation.
    Raises ValueError for an unknown kind or for ranges that do not fit.
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

    def forward(self, view: AugmentedBatch) -> AugmentedBatch:
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
    """Edges (batch, ranges + 1) of random ranges of bands, from 0 to n_mels, each at least `least` wide.

    Raises ValueError if they do not fit.
    """
    spare = n_mels - ranges * least
    if spare < 0:
        raise ValueError(f"FilterAugment: {ranges} ranges of {least} bands do not fit into {n_mels}")
    inner = torch.randint(0, spare + 1, (batch, ranges - 1)).sort(1).values + least * torch.arange(1, ranges)
    zeros = torch.zeros(batch, 1, dtype=inner.dtype)
    return torch.cat([zeros, inner, zeros + n_mels], 1)


class FrameShift(Augmentation):
    """Circular shift of each clip in time by a normally distributed number of output frames.

    std: in output frames (22 of 66 ms, as the 90 frames of 16 ms in the DESED baselines). Log-mel, embeddings and frame
    labels are shifted by the same time within the valid frames; a remainder of the log-mel, less than an output frame, stays.
    """

    moves_labels = True

    def __init__(self, std: float = 22.0) -> None:
        super().__init__()
        self.std = std

    def forward(self, view: AugmentedBatch) -> AugmentedBatch:
        shift = (torch.randn(len(view.clip)) * self.std).round().long().to(view.device)
        out, whole = view.out_valid, view.valid // view.factor * view.factor
        return view._replace(
            mel=None if view.mel is None else turned(view.mel, shift * view.factor, whole),
            embeddings={name: turned(values, shift, out) for name, values in view.embeddings.items()},
            frames=turned(view.frames, shift, out),
        )


def turned(values: Tensor, shift: Tensor, valid: Tensor) -> Tensor:
    """Circular shift of values (batch, frames, ...): frame k < valid moves to (k + shift) % valid; shift, valid: (batch,)."""
    frame = torch.arange(values.shape[1], device=values.device)[None]
    valid = valid.clamp(max=values.shape[1])[:, None]
    source = torch.where(frame < valid, (frame - shift[:, None]) % valid.clamp(min=1), frame)
    return values[torch.arange(len(values), device=values.device)[:, None], source]


class Mixup(Augmentation):
    """Mixup (Zhang et al. 2017): one share and one permutation per batch, for log-mel, embeddings and labels.

    A mixture is share * clip + (1 - share) * partner, share ~ Beta(alpha, alpha), as long as the longer of the two. `soft`
    labels are mixed the same way, `hard` labels are the union. Partners are of one `group` (if given), so that a labelled
    clip does not get the missing labels of an unlabelled one. With probability 1 - `p` a batch is unchanged.
    Raises ValueError for an unknown `labels`, or alpha not above 0.
    """

    moves_labels = True

    def __init__(self, alpha: float = 0.2, p: float = 0.5, labels: Literal["soft", "hard"] = "soft") -> None:
        super().__init__()
        if labels not in ("soft", "hard") or alpha <= 0:
            raise ValueError(f"Mixup: labels {labels!r}, alpha {alpha}: expected soft or hard, above 0")
        self.alpha, self.p, self.labels = alpha, p, labels

    def forward(self, view: AugmentedBatch) -> AugmentedBatch:
        skipped = bool(torch.rand(()) >= self.p)
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        partner = partners(view).to(view.device)
        if skipped:
            return view
        labels = self._hard if self.labels == "hard" else self._soft
        return view._replace(
            mel=None if view.mel is None else self._soft(view.mel, partner, share),
            valid=view.valid.maximum(view.valid[partner]),
            embeddings={name: self._soft(values, partner, share) for name, values in view.embeddings.items()},
            clip=labels(view.clip, partner, share),
            frames=labels(view.frames, partner, share),
        )

    @staticmethod
    def _soft(values: Tensor, partner: Tensor, share: float) -> Tensor:
        return values[partner].lerp(values, share)

    @staticmethod
    def _hard(values: Tensor, partner: Tensor, share: float) -> Tensor:
        return (values + values[partner]).clamp(max=1.0)


def partners(view: AugmentedBatch) -> Tensor:
    """Random permutation (batch,) within groups, on the CPU."""
    group = torch.zeros(len(view.clip), dtype=torch.int64) if view.group is None else view.group.cpu()
    partner = torch.empty_like(group)
    for number in group.unique():
        members = (group == number).nonzero()[:, 0]
        partner[members] = members[torch.randperm(len(members))]
    return partner


class SpecAugment(Augmentation):
    """SpecAugment (Park et al. 2019): stripes of the log-mel set to 0, the mean of a standardised one.

    times, frequencies: number of stripes; max_time: largest width as a share of the clip's valid frames; max_bands: largest
    width in bands. Widths and positions are drawn for every clip and stripe.
    """

    def __init__(self, times: int = 2, max_time: float = 0.05, frequencies: int = 2, max_bands: int = 16) -> None:
        super().__init__()
        self.times, self.max_time, self.frequencies, self.max_bands = times, max_time, frequencies, max_bands

    def forward(self, view: AugmentedBatch) -> AugmentedBatch:
        if view.mel is None:
            return view
        batch, frames, bands = view.mel.shape
        valid = view.valid.cpu().clamp(max=frames)
        blank_time = stripes(self.times, frames, valid, self.max_time * valid)
        every = torch.full((batch,), bands)
        blank_band = stripes(self.frequencies, bands, every, torch.full((batch,), float(min(self.max_bands, bands))))
        blank = (blank_time[:, :, None] | blank_band[:, None, :]).to(view.mel.device)
        return view._replace(mel=view.mel.masked_fill(blank, 0.0))


def stripes(count: int, size: int, inside: Tensor, widest: Tensor) -> Tensor:
    """Boolean mask (batch, size) of `count` stripes within the first `inside` (batch,) cells, 0 to `widest` (batch,) wide."""
    batch = len(inside)
    width = (uniform((batch, count)) * (widest[:, None].floor() + 1)).floor()
    start = (uniform((batch, count)) * (inside[:, None] - width + 1)).floor()
    cell = torch.arange(size)[None, None]
    return ((cell >= start[..., None]) & (cell < (start + width)[..., None])).any(1)
