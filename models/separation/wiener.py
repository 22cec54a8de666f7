"""Multichannel Wiener filter by expectation maximization (Open-Unmix): source magnitudes and mixture -> source spectra."""

import torch
from torch import Tensor

BLOCK = 32  # frames at a time on a CPU: intermediate results stay in its cache
LOUDEST = 10.0  # magnitude to which the largest bin of a window is scaled down, which makes eps comparable


@torch.no_grad()
def wiener(
    magnitudes: Tensor,
    spectrum: Tensor,
    iterations: int = 1,
    eps: float = 1e-10,
    scale: Tensor | float | None = None,
    residual: bool = False,
) -> Tensor:
    """Complex source spectra (sources, channels, bins, frames) from magnitudes of that shape.

    `spectrum` (channels, bins, frames) is the mixture's. The initial estimate is the magnitudes with the phase of the
    mixture, which is also the result of 0 iterations. Each iteration models source j as independent Gaussians of power
    v_j(f, t) = mean over channels and spatial covariance R_j(f), constant over the frames of the call, and estimates
    y_j = v_j R_j (sum_i v_i R_i + sqrt(eps) I)^-1 x. All frames of one call are one window: see `wiener_windows`.
    `scale`: divisor of the mixture (at least 1), by default its largest magnitude / 10.
    `residual`: the sources do not cover the mixture. Since the filter distributes the whole mixture among the sources, a
    residual source of magnitude max(|x| - sum, 0) is added, and removed from the result.

    Without gradient. Uhlich et al. 2017, Nugraha et al. 2016; Open-Unmix's `filtering.py`.
    """
    if iterations == 0:
        return _with_phase(magnitudes, spectrum)
    if spectrum.device.type == "mps":  # has no float64
        return wiener(magnitudes.cpu(), spectrum.cpu(), iterations, eps, scale, residual).to(spectrum.device)
    if residual:
        magnitudes = torch.cat([magnitudes, (spectrum.abs() - magnitudes.sum(0)).clamp_(min=0)[None]])
    if scale is None:
        scale = spectrum.abs().amax() / LOUDEST
    scale = torch.as_tensor(scale, device=spectrum.device, dtype=spectrum.real.dtype).clamp(min=1)
    estimates = _with_phase(magnitudes, spectrum, scale)
    del magnitudes
    for iteration in range(iterations):
        # The filter is linear: applied to the unscaled mixture, the last iteration undoes the scaling.
        _maximize(estimates, spectrum if iteration == iterations - 1 else spectrum / scale, eps)
    return estimates[:-1] if residual else estimates


def wiener_windows(
    magnitudes: Tensor,
    spectrum: Tensor,
    window: int = 300,
    iterations: int = 1,
    first: int = 0,
    eps: float = 1e-10,
    scale: Tensor | float | None = None,
    residual: bool = False,
) -> Tensor:
    """`wiener` on each window of `window` frames; frame 0 of these arrays is frame `first` of the recording.

    Windows start at multiples of `window` frames of the recording, so chunks that start at such multiples do not change
    the result.
    """
    frames = spectrum.shape[-1]
    starts = [0, *range(window - first % window, frames, window)]
    stops = [*starts[1:], frames]
    parts = [
        wiener(magnitudes[..., start:stop], spectrum[..., start:stop], iterations, eps, scale, residual)
        for start, stop in zip(starts, stops, strict=True)
    ]
    # Bins stay adjacent in memory, as for the inverse STFT.
    return torch.cat([part.mT for part in parts], -2).mT


def _blocks(signal: Tensor) -> tuple[Tensor, ...]:
    """Split the frame axis into chunks."""
    return signal.split(BLOCK if signal.device.type == "cpu" else signal.shape[-1], -1)


def _with_phase(magnitudes: Tensor, spectrum: Tensor, scale: Tensor | float = 1) -> Tensor:
    """Magnitudes / scale with the phase of the mixture, 0 where the mixture is 0."""
    phase = torch.where(spectrum == 0, 1, torch.sgn(spectrum)) / scale
    estimates = torch.empty_like(magnitudes, dtype=spectrum.dtype)
    for estimate, magnitude in zip(estimates, magnitudes, strict=True):
        for to, part, direction in zip(*map(_blocks, (estimate, magnitude, phase)), strict=True):
            torch.mul(part, direction, out=to)
    return estimates


def _maximize(estimates: Tensor, mixture: Tensor, eps: float) -> None:
    """One iteration, in place, for the sources in `mixture`.

    Covariances are float64: nearly mono music makes them singular to 1 part in 10^7, the precision of float32.
    """
    shapes = [_spatial_covariance(estimate, eps) for estimate in estimates]
    channels = range(len(mixture))
    for block, x in zip(_blocks(estimates), _blocks(mixture), strict=True):
        # Computed again, since the powers of all blocks take as much memory as the estimates.
        powers = [_squares(estimate.real.double(), estimate.imag.double()).mean(0) for estimate in block]
        white = _solve(_mix(powers, shapes, eps), x.to(torch.complex128))
        for estimate, v, R in zip(block, powers, shapes, strict=True):
            for a in channels:
                estimate[a] = sum(R[a][b] * white[b] for b in channels).mul_(v)


def _squares(real: Tensor, imag: Tensor) -> Tensor:
    """Squared magnitudes of real and imaginary parts of any shape."""
    return real.square().addcmul_(imag, imag)


def _spatial_covariance(estimate: Tensor, eps: float) -> list[list[Tensor]]:
    """Spatial covariance [channel][channel] (bins, 1) for a power of 1; its diagonal is real."""
    channels = range(len(estimate))
    sums = [[0] * len(estimate) for _ in channels]
    for block in _blocks(estimate):
        real, imag = block.real.double(), block.imag.double()
        squares = _squares(real, imag)
        for a in channels:
            sums[a][a] = sums[a][a] + squares[a].sum(-1, keepdim=True)
            for b in range(a):
                along, across = real[a] * real[b], imag[a] * real[b]
                along.addcmul_(imag[a], imag[b])
                across.addcmul_(real[a], imag[b], value=-1)
                sums[a][b] = sums[a][b] + torch.complex(along.sum(-1, keepdim=True), across.sum(-1, keepdim=True))
    weight = sum(sums[a][a] for a in channels) / len(estimate) + eps
    return [[(sums[a][b] if b <= a else sums[b][a].conj()) / weight for b in channels] for a in channels]


def _mix(powers: list[Tensor], shapes: list[list[list[Tensor]]], eps: float) -> list[list[Tensor]]:
    """Covariance [channel][channel] (bins, frames) of the sum of the sources; its diagonal is real."""
    channels = range(len(shapes[0]))

    def weighted(parts: list[Tensor]) -> Tensor:
        total = parts[0] * powers[0]
        for part, power in zip(parts[1:], powers[1:], strict=True):
            total.addcmul_(part, power)
        return total

    C = [[weighted([R[a][a] for R in shapes]).add_(eps**0.5) if a == b else None for b in channels] for a in channels]
    for a in channels:
        for b in range(a):
            C[a][b] = torch.complex(weighted([R[a][b].real for R in shapes]), weighted([R[a][b].imag for R in shapes]))
            C[b][a] = C[a][b].conj().resolve_conj()
    return C


def _solve(matrix: list[list[Tensor]], x: Tensor) -> Tensor:
    """matrix^-1 x per bin and frame: matrix[a][b] (bins, frames) is Hermitian and positive, x (channels, bins, frames)."""
    if len(x) == 1:
        return x / matrix[0][0]
    if len(x) == 2:
        (a, b), (c, d) = matrix
        determinant = a * d - (b.real.square() + b.imag.square())
        return torch.stack([(d * x[0] - b * x[1]) / determinant, (a * x[1] - c * x[0]) / determinant])
    full = torch.stack([torch.stack([entry.to(x.dtype) for entry in row], -1) for row in matrix], -2)
    return torch.linalg.solve(full, x.movedim(0, -1)).movedim(-1, 0)
