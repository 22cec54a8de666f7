"""Mean squared error between magnitudes (Sawata et al. 2021, equation 5, as the mean that the authors' code takes)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def magnitude_mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean of (estimate - target)^2 over all but sources: magnitudes (batch, sources, channels, bins, frames) -> (sources,)."""
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
        error = torch.empty_like(estimate[0], dtype=_precision(estimate))
        return torch.stack([_energies(_errors(*pair, error)) for pair in zip(estimate, target, strict=True)]).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        estimate, target = ctx.saved_tensors
        out = torch.empty_like(estimate, dtype=_precision(estimate))
        for error, *pair in zip(out, estimate, target, strict=True):
            rows = _errors(*pair, error)
            total = rows.pop() * (2 * grad[-1]).to(error.dtype)
            for row, weight in zip(rows, 2 * grad, strict=False):
                row.mul_(weight.to(error.dtype)).add_(total)
        return tuple(
            (out if sign > 0 else -out).to(signal.dtype) if needed else None
            for sign, signal, needed in zip((1, -1), (estimate, target), ctx.needs_input_grad, strict=True)
        )


def _errors(estimate: Tensor, target: Tensor, out: Tensor) -> list[Tensor]:
    """Every source's error in one batch element, views of `out` (sources, ...), and the sum of them."""
    torch.sub(estimate, target, out=out)
    total = out[0].clone()
    for row in out[1:]:  # several times faster than .sum(0) where frames lie behind bins in memory
        total += row
    return [*out, total]


def _energies(rows: list[Tensor]) -> Tensor:
    wide = torch.float32 if rows[0].device.type == "mps" else torch.float64
    return torch.stack([torch.linalg.vector_norm(row, dtype=wide).square() for row in rows])


def _precision(signal: Tensor) -> torch.dtype:
    return torch.float64 if signal.dtype == torch.float64 else torch.float32
