"""Multichannel Wiener filter by expectation maximization, from the magnitudes of all sources (Open-Unmix's last step)."""

import torch
from torch import Tensor

LOUDEST = 10.0  # magnitude to which the loudest bin of a window is scaled down, so that eps means the same for all


@torch.no_grad()
def wiener(
    magnitudes: Tensor, spectrum: Tensor, iterations: int = 1, eps: float = 1e-10, scale: Tensor | float | None = None
) -> Tensor:
    """Complex spectra (sources, channels, bins, frames) of the sources whose magnitudes of that shape are given.

    `spectrum` (channels, bins, frames) is the mixture's. The first guess is the magnitudes with the mixture's phase, and
    the result for 0 iterations. Each iteration takes the guess as independent Gaussians, of source j with the power
    v_j(f, t) = mean over channels and one spatial covariance R_j(f) for all frames of the call, and estimates anew
    y_j = v_j R_j (sum_i v_i R_i + sqrt(eps) I)^-1 x. All frames of one call are one window: see `wiener_windows`.
    `scale`: what the mixture is divided by meanwhile (at least 1), by default its largest magnitude / 10.

    Not for training: no gradient passes. Uhlich et al. 2017, Nugraha et al. 2016; Open-Unmix's `filtering.py`.
    """
    estimates = magnitudes * _phase(spectrum)
    if iterations == 0:
        return estimates
    if scale is None:
        scale = spectrum.abs().amax() / LOUDEST
    scale = torch.as_tensor(scale, device=spectrum.device, dtype=spectrum.real.dtype).clamp(min=1)
    estimates /= scale
    mixture = (spectrum / scale).to(torch.complex128)
    for _ in range(iterations):
        _maximize(estimates, mixture, eps)
    return estimates.mul_(scale)


def wiener_windows(
    magnitudes: Tensor,
    spectrum: Tensor,
    window: int = 300,
    iterations: int = 1,
    first: int = 0,
    eps: float = 1e-10,
    scale: Tensor | float | None = None,
) -> Tensor:
    """`wiener` on each window of `window` frames by itself; frame 0 of these arrays is frame `first` of the recording.

    Windows start at multiples of `window` frames of the recording, so where its chunks begin changes nothing as long as it
    is at such a multiple.
    """
    frames = spectrum.shape[-1]
    starts = [0, *range(window - first % window, frames, window)]
    stops = [*starts[1:], frames]
    parts = [
        wiener(magnitudes[..., start:stop], spectrum[..., start:stop], iterations, eps, scale)
        for start, stop in zip(starts, stops, strict=True)
    ]
    # Joined with the bins next to each other, as the STFT's inverse reads them.
    return torch.cat([part.mT for part in parts], -2).mT


def _phase(spectrum: Tensor) -> Tensor:
    """Unit phasors; 1 where the spectrum is 0."""
    return torch.where(spectrum == 0, 1, torch.sgn(spectrum))


def _maximize(estimates: Tensor, mixture: Tensor, eps: float) -> None:
    """One iteration, in place, source after source so that no array of all covariances in all bins is made.

    The covariances are kept in float64: nearly mono music makes them singular to 1 part in 10^7, which is all that float32
    has, and the inverse would be rounding errors.
    """
    powers, shapes = zip(*(_gaussian(estimate.to(torch.complex128), eps) for estimate in estimates), strict=True)
    channels = range(len(mixture))
    model = [[sum(v * R[a][b] for v, R in zip(powers, shapes, strict=True)) for b in channels] for a in channels]
    for a in channels:
        model[a][a] += eps**0.5
    white = _solve(model, mixture)
    for estimate, v, R in zip(estimates, powers, shapes, strict=True):
        for a in channels:
            estimate[a] = sum(R[a][b] * white[b] for b in channels).mul_(v)


def _gaussian(estimate: Tensor, eps: float) -> tuple[Tensor, list[list[Tensor]]]:
    """Power (bins, frames) and spatial covariance [channel][channel] of (bins, 1), its diagonal real."""
    squares = estimate.real.square() + estimate.imag.square()
    power = squares.mean(0)
    weight = power.sum(-1, keepdim=True) + eps
    diagonal = squares.sum(-1, keepdim=True) / weight
    channels = range(len(estimate))
    R = [[diagonal[a] if a == b else None for b in channels] for a in channels]
    for a in channels:
        for b in range(a):
            R[a][b] = (estimate[a] * estimate[b].conj()).sum(-1, keepdim=True) / weight
            R[b][a] = R[a][b].conj()
    return power, R


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
