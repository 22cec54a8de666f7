"""Deep salience (Bittner et al. 2017): harmonic constant-Q transform -> pitch salience."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.precision import full_precision

HARMONICS = (0.5, 1, 2, 3, 4, 5)
# Filters, and kernel sizes in bins and frames.
LAYERS = ((128, 5, 5), (64, 5, 5), (64, 3, 3), (64, 3, 3), (8, 70, 3), (1, 1, 1))
REACH = sum(frames // 2 for _, _, frames in LAYERS)  # receptive field on either side of an output frame, frames
BLOCK = 128  # frames at once: activations of 26 MB; shorter and longer blocks are slower


class DeepSalience(nn.Module):
    """Harmonic CQT (batch, 6, bins, frames) -> logits of salience (batch, bins, frames), 406,253 parameters.

    Convolutions of 5 x 5 (128, then 64 filters), 3 x 3 (64, twice), 70 x 3 (8) and 1 x 1 over bins x frames, each but the
    last followed by ReLU; batch normalisation before each. Zero-padded to the same size, for the kernel of 70 by 34 bins
    below and 35 above.

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
        """Pitch probabilities (batch, bins, frames) float32 of any number of frames, BLOCK at a time.

        Call it in evaluation mode; equal to the result of all frames at once.
        """
        frames, blocks = hcqt.shape[-1], []
        with full_precision(hcqt):
            for first in range(0, frames, BLOCK):
                start = max(0, first - REACH)
                logits = self(hcqt[..., start : first + BLOCK + REACH])
                blocks.append(logits[..., first - start : first - start + BLOCK].sigmoid())
        return torch.cat(blocks, -1)


def tall(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Convolution with an even number of kernel bins and equal output size; padded by one more zero above.

    On a CPU two neighbouring bins are computed at a time, as twice the filters: eight filters do not fill a vector register.
    Inference of the whole network takes 1.22 times as long without, a training step 1.10 times.
    """
    below, above = (conv.kernel_size[0] - 1) // 2, conv.kernel_size[0] // 2
    if x.device.type != "cpu":
        return conv(F.pad(x, (0, 0, below, above)))
    padded = F.pad(x, (0, 0, below, above + x.shape[2] % 2))
    pair = torch.stack([F.pad(conv.weight, (0, 0, 0, 1)), F.pad(conv.weight, (0, 0, 1, 0))], 1).flatten(0, 1)
    both = F.conv2d(padded, pair, conv.bias.repeat_interleave(2), (2, 1), conv.padding)
    return both.unflatten(1, (conv.out_channels, 2)).transpose(2, 3).flatten(2, 3)[:, :, : x.shape[2]]
