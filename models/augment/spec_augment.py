"""SpecAugment (Park et al. 2019): stripes of time and of frequency go blank."""

import torch
from torch import Tensor

from models.augment.augmentation import Augmentation
from models.augment.view import View, uniform


class SpecAugment(Augmentation):
    """Sets stripes of the log-mel to 0, the mean of a standardised one; embeddings and labels stay.

    times, frequencies: how many stripes of each; max_time: widest stripe as a share of the clip's valid frames;
    max_bands: widest in bands. Widths, from 0 up, and places are drawn for every clip and stripe.
    """

    def __init__(self, times: int = 2, max_time: float = 0.05, frequencies: int = 2, max_bands: int = 16) -> None:
        super().__init__()
        self.times, self.max_time, self.frequencies, self.max_bands = times, max_time, frequencies, max_bands

    def forward(self, view: View) -> View:
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
    """(batch, size) bool: `count` stripes within the first `inside` (batch,), each of 0 to `widest` (batch,) cells."""
    batch = len(inside)
    width = (uniform((batch, count)) * (widest[:, None].floor() + 1)).floor()
    start = (uniform((batch, count)) * (inside[:, None] - width + 1)).floor()
    cell = torch.arange(size)[None, None]
    return ((cell >= start[..., None]) & (cell < (start + width)[..., None])).any(1)
