"""Which pitches sound, from a harmonic constant-Q transform: the network of Bittner et al. 2017."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision

HARMONICS = (0.5, 1, 2, 3, 4, 5)
# Filters, and the size of their kernels in bins and frames.
LAYERS = ((128, 5, 5), (64, 5, 5), (64, 3, 3), (64, 3, 3), (8, 70, 3), (1, 1, 1))
REACH = sum(frames // 2 for _, _, frames in LAYERS)  # frames either side that one of the output depends on
BLOCK = 128  # frames at once: what lies between two layers is 26 MB, and shorter or longer ones take longer


class DeepSalience(nn.Module):
    """Harmonic CQT (batch, 6, bins, frames) -> logits of salience (batch, bins, frames), 406,253 parameters.

    Convolutions of 5 x 5 (128, then 64 filters), 3 x 3 (64, twice), 70 x 3 (8) and 1 x 1 over bins x frames, each before the
    last followed by ReLU; batch normalisation before every one. Padded by zeros to the same size; of the 69 bins that the
    kernel of 70 needs, 34 lie below.

    Raises ValueError for an input without 6 harmonics.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = (len(HARMONICS), *(filters for filters, _, _ in LAYERS[:-1]))
        # Keras's epsilon, and its momentum, which counts the other way.
        self.norms = nn.ModuleList(nn.BatchNorm2d(channel, eps=1e-3, momentum=0.01) for channel in channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(channel, filters, (bins, frames), padding=(bins // 2 if bins % 2 else 0, frames // 2))
            for channel, (filters, bins, frames) in zip(channels, LAYERS, strict=True)
        )

    def forward(self, hcqt: Tensor) -> Tensor:
        if hcqt.ndim != 4 or hcqt.shape[1] != len(HARMONICS):
            shape = tuple(hcqt.shape)
            raise ValueError(f"DeepSalience: input of shape {shape}, expected (batch, {len(HARMONICS)}, bins, frames)")
        x = hcqt.contiguous(memory_format=torch.channels_last)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = conv(norm(x)) if conv.kernel_size[0] % 2 else tall(norm(x), conv)
            if conv is not self.convs[-1]:
                x = x.relu()
        return x[:, 0]

    @torch.no_grad()
    def salience(self, hcqt: Tensor) -> Tensor:
        """Probabilities (batch, bins, frames) float32 that a pitch sounds, of any number of frames, BLOCK of them at a time.

        To be called in evaluation mode; equal to what all frames at once would give.
        """
        frames, found = hcqt.shape[-1], []
        with full_precision(hcqt):
            for first in range(0, frames, BLOCK):
                start = max(0, first - REACH)
                logits = self(hcqt[..., start : first + BLOCK + REACH])
                found.append(logits[..., first - start : first - start + BLOCK].sigmoid())
        return torch.cat(found, -1)


def tall(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Convolution by a kernel of an even number of bins, with as many bins out as in; of the zeros one more lies above.

    On a processor two neighbouring bins are computed at a time, as twice the filters: eight do not fill a vector register,
    and take twice as long.
    """
    below, above = (conv.kernel_size[0] - 1) // 2, conv.kernel_size[0] // 2
    if x.device.type != "cpu":
        return conv(F.pad(x, (0, 0, below, above)))
    padded = F.pad(x, (0, 0, below, above + x.shape[2] % 2))
    pair = torch.stack([F.pad(conv.weight, (0, 0, 0, 1)), F.pad(conv.weight, (0, 0, 1, 0))], 1).flatten(0, 1)
    both = F.conv2d(padded, pair, conv.bias.repeat_interleave(2), (2, 1), conv.padding)
    return both.unflatten(1, (conv.out_channels, 2)).transpose(2, 3).flatten(2, 3)[:, :, : x.shape[2]]
