"""The Wiener filter against its formulas bin by bin, on silence, on mono music, and cut into windows."""

import numpy as np
import pytest
import torch

from models.separation.wiener import wiener, wiener_windows


def music(sources=3, channels=2, bins=9, frames=14, seed=0, level=1.0):
    """Magnitudes that are roughly the sources' and the complex mixture."""
    random = torch.Generator().manual_seed(seed)
    parts = level * torch.randn(sources, channels, bins, frames, dtype=torch.complex64, generator=random)
    parts *= torch.rand(sources, channels, bins, 1, generator=random)  # sources have places between the channels
    return parts.abs() * (0.5 + torch.rand(parts.shape, generator=random)), parts.sum(0)


def plain_wiener(magnitudes, spectrum, iterations, eps=1e-10, scale=None):
    """One bin after another in complex128."""
    magnitudes, x = magnitudes.double().numpy(), spectrum.numpy().astype(complex)
    scale = max(1, np.abs(x).max() / 10 if scale is None else scale)
    x = x / scale
    y = magnitudes / scale * np.exp(1j * np.angle(x))
    sources, channels, bins, frames = y.shape
    for _ in range(iterations):
        new = np.zeros_like(y)
        for f in range(bins):
            power = [[np.mean(np.abs(y[j, :, f, t]) ** 2) for t in range(frames)] for j in range(sources)]
            R = [sum(np.outer(y[j, :, f, t], y[j, :, f, t].conj()) for t in range(frames)) for j in range(sources)]
            R = [R[j] / (eps + sum(power[j])) for j in range(sources)]
            for t in range(frames):
                C = sum(power[j][t] * R[j] for j in range(sources)) + np.sqrt(eps) * np.eye(channels)
                for j in range(sources):
                    new[j, :, f, t] = power[j][t] * R[j] @ np.linalg.inv(C) @ x[:, f, t]
        y = new
    return torch.from_numpy(y * scale)


def check(result, expected, tolerance=1e-6):
    assert result.dtype == torch.complex64
    assert float((result - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_filter_is_that_of_the_formulas(iterations, channels):
    for level in (0.01, 1.0, 300.0):  # below, at and above what is scaled down
        magnitudes, spectrum = music(channels=channels, level=level)
        check(wiener(magnitudes, spectrum, iterations), plain_wiener(magnitudes, spectrum, iterations))


def test_arguments_are_left_alone_and_the_order_of_memory_does_not_matter():
    magnitudes, spectrum = music(level=300.0)
    before = magnitudes.clone(), spectrum.clone()
    result = wiener(magnitudes, spectrum, 2)
    assert torch.equal(magnitudes, before[0]) and torch.equal(spectrum, before[1])
    other = wiener(magnitudes.mT.contiguous().mT, spectrum.mT.contiguous().mT, 2)
    torch.testing.assert_close(other, result, rtol=1e-5, atol=1e-5)


def test_no_iteration_is_the_magnitudes_with_the_phase_of_the_mixture():
    magnitudes, spectrum = music()
    spectrum[0, 2] = 0
    guess = wiener(magnitudes, spectrum, 0)
    torch.testing.assert_close(guess.abs(), magnitudes)
    torch.testing.assert_close((guess[1] * spectrum.conj()).angle(), torch.zeros(spectrum.shape), rtol=0, atol=1e-5)
    assert torch.equal(guess[:, 0, 2], magnitudes[:, 0, 2].to(guess.dtype))


def test_scale_can_be_the_same_for_all_calls():
    magnitudes, spectrum = music(level=1e-4)
    quiet = wiener(magnitudes, spectrum, 1, scale=1.0)
    check(quiet, plain_wiener(magnitudes, spectrum, 1))
    given = wiener(magnitudes, spectrum, 1, scale=torch.tensor(50.0))
    check(given, plain_wiener(magnitudes, spectrum, 1, scale=50.0))
    assert (given - quiet).norm() > 1e-3 * quiet.norm()  # eps is large against what is quieter still
    assert torch.equal(wiener(magnitudes, spectrum, 1, scale=0.1), quiet)  # nothing is made louder


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_silence_stays_silence(iterations, channels):
    magnitudes, spectrum = music(channels=channels)
    nothing = wiener(torch.zeros_like(magnitudes), torch.zeros_like(spectrum), iterations)
    assert torch.equal(nothing, torch.zeros_like(nothing))
    magnitudes[1] = 0  # one source never plays, one frame and one bin are silent
    spectrum[..., 4], spectrum[:, 3] = 0, 0
    result = wiener(magnitudes, spectrum, iterations)
    assert result.isfinite().all() and not result[1].abs().any()


def test_mono_in_two_channels_is_as_stable_as_mono():
    """Covariances are singular then, and a determinant in float32 would be noise."""
    magnitudes, spectrum = music(channels=1, frames=60, level=30.0)
    single = wiener(magnitudes, spectrum, 2)
    both = magnitudes.expand(-1, 2, -1, -1)
    for right in (1.0, 1 + 1e-6):
        pair = spectrum * torch.tensor([1.0, right])[:, None, None]
        result = wiener(both, pair, 2)
        check(result, plain_wiener(both, pair, 2))
        check(result, single.expand_as(result), 1e-5)


def test_filtered_sources_sum_to_the_mixture():
    magnitudes, spectrum = music(frames=50)
    apart = (wiener(magnitudes, spectrum, 0).sum(0) - spectrum).norm()
    assert (wiener(magnitudes, spectrum, 1).sum(0) - spectrum).norm() < 1e-3 * apart


def test_windows_are_filtered_one_by_one():
    magnitudes, spectrum = music(frames=23)
    whole = wiener_windows(magnitudes, spectrum, 10, 2)
    parts = [wiener(magnitudes[..., a : a + 10], spectrum[..., a : a + 10], 2) for a in (0, 10, 20)]
    assert torch.equal(whole, torch.cat(parts, -1))
    assert (whole - wiener(magnitudes, spectrum, 2)).norm() > 1e-3 * whole.norm()
    assert torch.equal(wiener_windows(magnitudes, spectrum, 300, 2), wiener(magnitudes, spectrum, 2))


def test_chunks_that_begin_on_the_grid_change_nothing():
    magnitudes, spectrum = music(frames=37)
    whole = wiener_windows(magnitudes, spectrum, 10)
    for cut in (10, 30):
        parts = [
            wiener_windows(magnitudes[..., :cut], spectrum[..., :cut], 10),
            wiener_windows(magnitudes[..., cut:], spectrum[..., cut:], 10, first=cut),
        ]
        torch.testing.assert_close(torch.cat(parts, -1), whole)
    inside = wiener_windows(magnitudes[..., 7:], spectrum[..., 7:], 10, first=7)
    torch.testing.assert_close(inside[..., 3:], whole[..., 10:])  # frames 10, 20, 30 still begin a window


def test_nothing_is_left_for_training():
    magnitudes, spectrum = music()
    assert not wiener(magnitudes.requires_grad_(), spectrum).requires_grad
