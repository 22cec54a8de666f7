"""The transform against scipy's definition by hand, its inverse, its edges and its precision."""

import numpy as np
import pytest
import torch

from models.blocks.stft import STFT


def plain(audio, n_fft, hop):
    """Frames by hand: periodic Hann window times the reflected signal, one rfft a frame."""
    padded = np.pad(audio, n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = 1 + (len(padded) - n_fft) // hop
    return np.stack([np.fft.rfft(window * padded[t * hop : t * hop + n_fft]) for t in range(frames)], axis=1)


def test_frames_are_those_of_a_plain_transform():
    audio = np.random.default_rng(0).standard_normal(1000)
    ours = STFT(128, 32)(torch.from_numpy(audio))
    assert ours.shape == (65, 1 + 1000 // 32)
    np.testing.assert_allclose(ours.numpy(), plain(audio, 128, 32), atol=1e-5)  # the window is float32


@pytest.mark.parametrize("shape", [(777,), (2, 777), (3, 4, 2, 777)])
def test_the_inverse_gives_any_shape_and_length_back(shape):
    audio = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    stft = STFT(128, 32)
    spectrum = stft(audio)
    assert spectrum.shape == (*shape[:-1], 65, 1 + 777 // 32)
    torch.testing.assert_close(stft.inverse(spectrum, 777), audio, atol=1e-5, rtol=0)


def test_without_center_there_is_no_inverse_but_a_centred_transform():
    stft = STFT(128, 32, center=False)
    audio = torch.randn(2, 500)
    assert stft(audio).shape[-1] == 1 + (500 - 128) // 32
    with pytest.raises(ValueError, match="center"):
        stft.inverse(stft(audio), 500)
    assert torch.equal(stft.centred()(audio), STFT(128, 32)(audio))


def test_autocast_does_not_touch_it():
    audio = torch.randn(2, 500)
    stft = STFT(128, 32)
    with torch.autocast("cpu", torch.bfloat16):
        spectrum = stft(audio.bfloat16())
        assert stft.inverse(spectrum, 500).dtype == torch.float32
    assert torch.equal(spectrum, stft(audio.bfloat16().float()))


@pytest.mark.parametrize("hop", [64, 48, 32])
def test_a_changed_spectrum_stays_small_to_the_last_sample(hop):
    """Just before a frame that is not there a window of half overlap is nearly nothing, and the inverse divides by it."""
    audio = torch.randn(hop * 12 - 1, generator=torch.Generator().manual_seed(0))
    stft = STFT(128, hop)
    spectrum = stft(audio)
    changed = stft.inverse(spectrum * torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(1)), len(audio))
    assert changed.abs().max() < 3 * audio.abs().max()
    torch.testing.assert_close(stft.inverse(spectrum, len(audio)), audio, atol=1e-5, rtol=0)
