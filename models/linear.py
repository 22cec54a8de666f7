"""A linear layer by whichever of PyTorch's two CPU libraries is the faster."""

import torch
import torch.nn.functional as F
from torch import Tensor

ENOUGH = 1 << 24  # multiplications from which two changes of layout are worth it


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear of x (rows, in) in float32 by oneDNN where the processor has AVX-512, else F.linear as it is.

    PyTorch multiplies float32 matrices by MKL, which on processors that are not Intel's uses half the width of their
    registers: oneDNN took half the time there, forward and backward. Equal to rounding.
    """
    plain = (
        x.device.type != "cpu"
        or x.dtype != torch.float32
        or weight.dtype != torch.float32
        or x.shape[0] * weight.numel() < ENOUGH
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or not torch.backends.mkldnn.is_available()
        or torch.backends.cpu.get_cpu_capability() != "AVX512"
    )
    return F.linear(x, weight, bias) if plain else F.linear(x.to_mkldnn(), weight, bias).to_dense()
