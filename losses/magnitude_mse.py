"""Mean squared error between magnitudes (Sawata et al. 2021, equation 5, as the mean that the authors' code takes)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def magnitude_mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Error (sources,) of magnitudes (batch, sources, channels, bins, frames): the mean of squares over all but sources."""
    energies = error_energies(estimate, target)
    return energies[:-1] / values_per_source(estimate)


def values_per_source(signals: Tensor) -> int:
    """What one source's mean goes over, for signals (batch, sources, ...)."""
    return signals.numel() // signals.shape[1]


def error_energies(estimate: Tensor, target: Tensor) -> Tensor:
    """Sums of squares (sources + 1,) of each source's error and, last, of the sum of all errors.

    Both are (batch, sources, ...) of any precision. The sums are float64 and the gradient has the signals' precision;
    one batch element's errors are held at a time.

    Raises:
        ValueError: estimate and target differ in size.
    """
    if estimate.shape != target.shape:
        raise ValueError(f"Estimate and target differ in size: {tuple(estimate.shape)} and {tuple(target.shape)}.")
    return _ErrorEnergies.apply(estimate, target)


class _ErrorEnergies(torch.autograd.Function):
    """Errors are computed anew for the gradient, which is cheaper than to keep them."""

    @staticmethod
    def forward(ctx: Any, estimate: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(estimate, target)
        return torch.stack([_energies(*_errors(*pair)) for pair in zip(estimate, target, strict=True)]).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        estimate, target = ctx.saved_tensors
        out = torch.empty_like(estimate)
        for filled, *pair in zip(out, estimate, target, strict=True):
            error, total = _errors(*pair)
            weights = (2 * grad).to(error.dtype).view(-1, *[1] * (error.dim() - 1))
            filled.copy_(error.mul_(weights[:-1]).add_(total * weights[-1]))
        return out if ctx.needs_input_grad[0] else None, -out.to(target.dtype) if ctx.needs_input_grad[1] else None


def _errors(estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Errors (sources, ...) of one batch element and their sum (...), float32 or better."""
    error = torch.sub(estimate.float() if estimate.dtype in (torch.float16, torch.bfloat16) else estimate, target)
    return error, error.sum(0)


def _energies(error: Tensor, total: Tensor) -> Tensor:
    wide = torch.float32 if error.device.type == "mps" else torch.float64
    rows = [*error, total]
    return torch.stack([torch.linalg.vector_norm(row, dim=-1).to(wide).square().sum() for row in rows])
