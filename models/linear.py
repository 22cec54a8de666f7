"""A linear layer by whichever of PyTorch's two CPU libraries is the faster."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

ENOUGH = 1 << 24  # multiplications from which two changes of layout are worth it


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear of x (rows, in), in float32 on a processor with AVX-512 by oneDNN.

    PyTorch multiplies float32 matrices by MKL, which on processors that are not Intel's uses half the width of their
    registers: oneDNN took half the time there, forward and backward. Equal to rounding.
    """
    if _plain(x, weight):
        return F.linear(x, weight, bias)
    product = _Product.apply(x, weight)
    return product if bias is None else product.add_(bias)


def _plain(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN cannot be used, or does not pay."""
    return (
        x.device.type != "cpu"
        or not x.dtype == weight.dtype == torch.float32
        or x.shape[0] * weight.numel() < ENOUGH
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or not torch.backends.mkldnn.is_available()
        or torch.backends.cpu.get_cpu_capability() != "AVX512"
    )


class _Product(torch.autograd.Function):
    """x (rows, in) times the transpose of weight (out, in). PyTorch's own gradient of it keeps copies of all three."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        wanted_x, wanted_weight = ctx.needs_input_grad
        ctx.save_for_backward(x if wanted_weight else None, weight if wanted_x else None)
        return _multiply(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, error: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        return (
            None if weight is None else _multiply(error, weight.t()),
            None if x is None else _multiply(error.t(), x.t()),
        )


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    return F.linear(a.to_mkldnn(), b).to_dense()
