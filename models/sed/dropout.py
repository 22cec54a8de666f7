"""Dropout whose random numbers cost a sixth on a CPU, where they are a quarter of a convolutional network's training."""

import torch
from torch import Tensor, nn

STEPS = 2**16


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU the probability is the nearest multiple of 2**-16, and four values share one draw of 64 bits."""

    def forward(self, x: Tensor) -> Tensor:
        threshold = round(self.p * STEPS)
        if not self.training or x.device.type != "cpu" or threshold in (0, STEPS):
            return super().forward(x)
        # As a factor: a product by floats is ten times faster than torch.where or one by booleans.
        return x * kept(x, threshold).view(torch.int8).to(x.dtype).mul_(STEPS / (STEPS - threshold))


def kept(x: Tensor, threshold: int) -> Tensor:
    """Booleans in the shape and memory format of x (on the CPU), False with probability threshold / 2**16."""
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    strides = torch.empty_like(x, device="meta").stride()  # those of x, or dense ones where x has gaps
    return draws[: x.numel()].as_strided(x.shape, strides) >= threshold - STEPS // 2
