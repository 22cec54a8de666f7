"""The constant-Q transform against its definition and against librosa."""

import numpy as np
import pytest
import torch

from models.alignment.front import CQT
from models.alignment.front.cqt import ConstantQ, decimated, half_band

RATE = 22_050


def clip(seconds: float = 2.0) -> np.ndarray:
    """Partials from 70 to 4000 Hz that begin and end, over noise: (samples,) float32."""
    random = np.random.default_rng(0)
    t = np.arange(int(seconds * RATE)) / RATE
    wave = 1e-3 * random.standard_normal(t.size)
    for f in (70.0, 82.4, 220.0, 447.3, 1318.5, 3520.0, 3990.0):
        start, stop = np.sort(random.uniform(0, seconds, 2))
        wave += 0.1 * np.sin(2 * np.pi * f * t) * (t > start) * (t < stop)
    return wave.astype(np.float32)


def defined(audio: np.ndarray, hertz: np.ndarray, q: float, hop: int) -> np.ndarray:
    """(bins, frames) by one inner product each, at the full rate and in float64."""
    found = np.zeros((len(hertz), 1 + len(audio) // hop))
    for k, f in enumerate(hertz):
        length = q * RATE / f
        n = np.arange(-int(length / 2), int(length / 2) + 1)
        window = 0.5 + 0.5 * np.cos(2 * np.pi * n / length)
        kernel = window * np.exp(-2j * np.pi * f * n / RATE) * 2 / window.sum()
        padded = np.pad(audio.astype(float), (len(n), len(n)))
        for i in range(found.shape[1]):
            centre = len(n) + i * hop
            found[k, i] = abs(padded[centre + n[0] : centre + n[-1] + 1] @ kernel)
    return found


@pytest.mark.parametrize(("hop", "cents"), [(512, 0.0), (512, -70.0), (441, 0.0), (64, 100.0)])
def test_equals_the_definition(hop, cents):
    audio = clip(0.6)
    front = CQT(hop=hop, normalise="none")
    found = front(torch.from_numpy(audio)[None], cents=cents)[0, 0].double().expm1().numpy() / 300
    expected = defined(audio, front.hertz * 2 ** (cents / 1200), front.transform.q, hop)
    assert np.abs(found - expected).max() < 1e-3 * expected.max()
    assert expected.max() > 0.05


def test_equals_librosa():
    """librosa cuts its windows to whole samples and decimates by another filter: 1 % of the largest value."""
    import librosa

    audio = clip()
    settings = {"sr": RATE, "hop_length": 512, "fmin": 65.4064, "n_bins": 144, "bins_per_octave": 24}
    theirs = np.abs(librosa.cqt(audio, **settings, pad_mode="constant"))
    lengths = librosa.filters.wavelet_lengths(freqs=CQT().hertz, sr=RATE)[0]
    expected = 2 * theirs / np.sqrt(lengths)[:, None]
    ours = CQT(normalise="none")(torch.from_numpy(audio)[None])[0, 0].expm1().numpy() / 300
    assert np.abs(ours - expected).max() < 0.01 * expected.max()
    assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("semitone", range(0, 72, 5))
def test_a_sine_reads_its_amplitude_in_its_bin(semitone):
    hertz = 65.4064 * 2 ** (semitone / 12)
    t = torch.arange(int(1.5 * RATE), dtype=torch.float64) / RATE
    audio = (0.2 * torch.sin(2 * np.pi * hertz * t)).float()[None]
    found = CQT(normalise="none")(audio)[0, 0, :, 32].expm1() / 300
    assert found.argmax() == 2 * semitone
    assert found.max() == pytest.approx(0.2, rel=2e-3)
    others = torch.cat([found[: max(0, 2 * semitone - 3)], found[2 * semitone + 4 :]])
    assert others.max() < 0.02


def test_bins_and_tuning():
    np.testing.assert_allclose(CQT().hertz[[0, 24, 143]], [65.4064, 130.8128, 65.4064 * 2 ** (143 / 24)])
    whole, cut = CQT(), CQT(bins=128)
    audio = torch.from_numpy(clip())[None]
    torch.testing.assert_close(cut(audio), whole(audio)[:, :, :128])
    assert 12 * np.log2(cut.hertz[-1] / 440) + 69 == pytest.approx(99.5, abs=0.01), "half a semitone over D#7"


def test_octaves_out_of_order_and_far_apart():
    hertz = np.array([3000.0, 70.0, 500.0])
    transform = ConstantQ(hertz, 34.0, RATE, 512)
    audio = clip(0.5)
    piece = torch.nn.functional.pad(torch.from_numpy(audio)[None], (transform.context, transform.context + 1))
    found = transform(piece)[0].numpy()
    expected = defined(audio, hertz, 34.0, 512)
    assert np.abs(found[:, : expected.shape[1]] - expected).max() < 1e-3 * expected.max()


def test_decimation_keeps_what_is_below_and_drops_what_is_above():
    taps, n = half_band(), torch.arange(4000, dtype=torch.float64)
    for frequency, gain in ((0.05, 1.0), (0.2, 1.0), (0.3, 0.0), (0.45, 0.0)):
        wave = torch.cos(2 * np.pi * frequency * n).float()[None]
        found = decimated(wave, taps)
        assert found.shape == (1, 2000)
        torch.testing.assert_close(found[:, 50:-50], gain * wave[:, ::2][:, 50:-50], rtol=0, atol=2e-5)
    odd = decimated(torch.ones(1, 1), taps)
    torch.testing.assert_close(odd, taps[37].reshape(1, 1))


def test_kernels_follow_the_device_and_pickle():
    import pickle

    front = CQT(bins=48)
    audio = torch.from_numpy(clip(0.3))[None]
    again = pickle.loads(pickle.dumps(front))
    assert torch.equal(again(audio), front(audio))
    assert not torch.equal(front(audio, cents=30.0), front(audio))
