"""Convolutions that pad as TensorFlow does, for weights that were trained there."""

import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """As many outputs as inputs per stride; with an odd number to pad, one more at the end ("same")."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for axis in (1, 0):  # the last axis first, as F.pad wants it
            size, kernel, stride = x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            spare = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            sides += [spare // 2, spare - spare // 2]
        return super().forward(F.pad(x, sides))
