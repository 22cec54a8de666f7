"""What `export` freezes of a separator: one program from a chunk of waveform to its stems, transform and inverse inside."""

import torch
from torch import Tensor, nn

SECONDS = 10.0


class StemProgram(nn.Module):
    """Mixture (channels, samples) of 10 s at the network's rate to stems (sources, channels, samples), without Wiener filter.

    torch.export fixes the length of recurrent layers and of the inverse transform, so the program takes chunks of one
    length: fill up a shorter one with zeros, cut a longer recording with some seconds of overlap that are thrown away.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, audio: Tensor) -> Tensor:
        return self.net.separate(audio[None])[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """The program, an example input, no free dimension, further inputs to check: other noise, and a filled up chunk."""
        noise = torch.Generator().manual_seed(0)
        shape = self.net.channels, round(SECONDS * self.net.sample_rate)
        example, other, short = (0.1 * torch.randn(shape, generator=noise) for _ in range(3))
        short[:, shape[1] // 3 :] = 0
        return self, (example,), None, [(other,), (short,)]
