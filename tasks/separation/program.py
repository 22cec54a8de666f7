"""What `export` freezes of a separator: one program from waveform to stems, transform and inverse inside."""

import torch
from torch import Tensor, nn

SECONDS = (3.0, 4.1)  # lengths that are tried


class StemProgram(nn.Module):
    """Mixture (channels, samples) at the network's rate to stems (sources, channels, samples), without Wiener filter."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, audio: Tensor) -> Tensor:
        return self.net.separate(audio[None])[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], dict, list[tuple[Tensor, ...]]]:
        """The program, an example input, its free dimension, further inputs to check."""
        noise = torch.Generator().manual_seed(0)
        lengths = [round(seconds * self.net.sample_rate) for seconds in SECONDS]
        example, *others = [(0.1 * torch.randn(self.net.channels, length, generator=noise),) for length in lengths]
        free = torch.export.Dim("samples", min=self.net.sample_rate // 2, max=2**31 - 1)
        return self, example, {"audio": {1: free}}, others
