"""Front ends of alignment: frame grid, level, float32, and definitions."""

import copy

import numpy as np
import pytest
import torch

from models.alignment.front import CQT, Chroma, LogCQTFlux, LogSTFT, Semigram, SpectralRise

RATE = 22_050
FRONTS = {
    "stft": LogSTFT(),
    "linear": LogSTFT(spacing="linear"),
    "differences": LogSTFT(channels=3),
    "cqt": CQT(),
    "cqt rgb": CQT(channels=3, kind="rgb", bins=128),
    "cqt differences": CQT(channels=3, hop=256),
    "flux": LogCQTFlux(),
    "chroma": Chroma(),
    "log chroma": Chroma(source="cqt", gamma=100.0, norm="max"),
    "match": SpectralRise(),
    "match l1": SpectralRise(hop=512, norm="l1", power=2),
    "semigram": Semigram(),
}
each = pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)


def music(seconds: float = 2.0, seed: int = 0) -> torch.Tensor:
    """Three chords of decaying partials over a little noise: (1, samples)."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    wave = 1e-4 * random.standard_normal(t.size)
    for onset in (0.1, 0.7, 1.3):
        for f in 110 * 2 ** (random.integers(0, 40, 3) / 12):
            after = np.clip(t - onset, 0, None)
            wave += sum(np.sin(2 * np.pi * f * k * after) / k for k in (1, 2, 3)) * np.exp(-3 * after) * (t > onset) * 0.05
    return torch.from_numpy(wave).float()[None]


def sine(hertz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.1 * torch.sin(2 * np.pi * hertz * torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE).float()[None]


def hertz(midi: float) -> float:
    return 440 * 2 ** ((midi - 69) / 12)


@each
def test_shapes_and_frames(front):
    for samples in (1, 220, front.hop - 1, front.hop, 10_000):
        found = front(0.1 * torch.randn(2, samples))
        assert found.shape == (2, front.channels, front.bins, 1 + samples // front.hop)
        assert found.dtype == torch.float32 and found.isfinite().all()
    assert front.frame_s == front.hop / front.sample_rate
    assert front(torch.zeros(1, 5000)).abs().max() == 0


@each
def test_blocks_batches_and_repetition_change_nothing(front):
    audio = torch.cat([music(), music(seed=1)])
    whole = front(audio)
    assert torch.equal(front(audio), whole)
    torch.testing.assert_close(torch.cat([front(audio[:1]), front(audio[1:])]), whole, rtol=1e-4, atol=1e-4)
    small = copy.deepcopy(front)
    small.block = 7
    torch.testing.assert_close(small(audio), whole, rtol=1e-4, atol=1e-4)


@each
def test_an_impulse_is_seen_when_it_sounds(front):
    place = 41.0 if isinstance(front, SpectralRise) else 40.3
    audio = torch.zeros(1, 80 * front.hop)
    audio[0, round(place * front.hop)] = 1.0
    seen = front(audio)[0, 0].sum(0)
    if isinstance(front, SpectralRise):  # what rises is seen as soon as a window reaches it, most in the frame that it lies in
        assert SpectralRise(front.hop * 50, front.hop)(audio)[0, 0].sum(0).argmax() == place
        seen = seen * (torch.arange(len(seen)) - place).abs().le(1)
    assert abs((seen * torch.arange(len(seen))).sum() / seen.sum() - place) <= 0.5


@each
def test_a_recordings_gain_does_not_matter(front):
    audio = music()
    loud = front(audio)
    torch.testing.assert_close(front(0.03 * audio), loud, rtol=1e-3, atol=1e-3)
    plain = copy.deepcopy(front)
    plain.normalise = "none"
    if front.settings.get("norm", "none") == "none":
        assert (plain(0.03 * audio) - plain(audio)).abs().max() > 0.1 * plain(audio).abs().max()


def test_levels():
    rests_and_a_click = torch.cat([torch.zeros(1, 2 * RATE), 0.02 * sine(440, 2.0) / 0.1], 1)
    expected = LogSTFT()(rests_and_a_click)
    rests_and_a_click[0, 1000] = 1.0
    torch.testing.assert_close(LogSTFT()(rests_and_a_click)[..., 10:], expected[..., 10:], rtol=0, atol=1e-3)
    peak = LogSTFT(normalise="peak").levelled(rests_and_a_click * 0.3)
    assert peak.abs().max() == 1.0
    torch.testing.assert_close(LogSTFT().levelled(sine(440))[0].square().mean().sqrt(), torch.tensor(0.1), rtol=1e-2, atol=0)
    assert LogSTFT().levelled(torch.full((1, 5000), 1e-7)).abs().max() < 1e-3, "silence must stay silence"


@each
def test_a_recording_out_of_tune_is_heard_in_tune(front):
    semitones = [83, 88, 92, 97]  # where 40 cents are more than a bin of the FFT
    tuned = sum(sine(hertz(midi)) for midi in semitones)
    sharp = sum(sine(hertz(midi + 0.4)) for midi in semitones)
    cases = ((tuned, 0), (sharp, 40), (sharp, 0))
    expected, found, wrong = (front(audio, cents=cents)[0, 0, :, 10:-10] for audio, cents in cases)
    if isinstance(front, SpectralRise):
        return  # nothing rises in a steady sound: the bins' frequencies are tested by themselves
    assert (found - expected).abs().mean() < 0.5 * (wrong - expected).abs().mean()


@each
def test_float32_under_autocast_and_in_reduced_modules(front):
    audio = music(0.5)
    expected = front(audio)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front(audio), expected)
    assert torch.equal(copy.deepcopy(front).to(torch.bfloat16)(audio), expected)
    int16 = (audio * 32767).to(torch.int16)
    torch.testing.assert_close(front(int16), front(int16.float() / 32768))


@each
def test_bad_audio_is_refused(front):
    name = type(front).__name__
    bad = (torch.zeros(1, 0), "at least one sample"), (torch.zeros(500), "batch, samples"), (torch.tensor([[np.nan]]), "finite")
    for audio, words in bad:
        with pytest.raises(ValueError, match=name) as error:
            front(audio)
        assert words in str(error.value)
    with pytest.raises(ValueError, match="cents is 130"):
        front(torch.zeros(1, 500), cents=130)


def test_keys_tell_settings_apart():
    other = [CQT(gamma=100.0), CQT(normalise="peak"), CQT(channels=3), CQT(channels=3, kind="rgb"), CQT(f_min=55.0)]
    other += [
        Chroma(norm="l1"),
        Chroma(source="cqt"),
        SpectralRise(norm="l2"),
        SpectralRise(power=2),
        LogCQTFlux(weight=1.0),
        LogSTFT(bins=64),
    ]
    keys = [front.key for front in [*FRONTS.values(), *other]]
    assert len(set(keys)) == len(keys)
    assert CQT().key == CQT(gamma=300.0).key
    assert CQT().key.startswith("cqt-")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: LogSTFT(spacing="bark"), "spacing is 'bark', expected one of mel, linear"),
        (lambda: LogSTFT(f_max=20_000.0), "expected to rise from 0 to 11025 Hz"),
        (lambda: LogSTFT(bins=400), "400 bands are narrower"),
        (lambda: LogSTFT(channels=2), "channels is 2, expected one of 1, 3"),
        (lambda: LogSTFT(gamma=0.0), "gamma is 0.0, expected more than 0"),
        (lambda: LogSTFT(normalise="max"), "normalise is 'max'"),
        (lambda: LogSTFT(hop=0), "hop is 0"),
        (lambda: CQT(kind="both"), "kind is 'both'"),
        (lambda: CQT(bins=200), "expected all within half the sample rate, 11025"),
        (lambda: Chroma(norm="l3"), "norm is 'l3'"),
        (lambda: Chroma(gamma=-1.0), "gamma is -1.0"),
        (lambda: SpectralRise(power=3), "power is 3"),
        (lambda: Semigram(first=60), "semitone 147 lies above half the sample rate"),
    ],
)
def test_impossible_settings_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_mel_bands_equal_librosa():
    import librosa

    audio = music()
    front = LogSTFT(normalise="none")
    spectrum = np.abs(librosa.stft(audio[0].numpy(), n_fft=1024, hop_length=512, window="hamming", pad_mode="constant"))
    bands = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=128, fmax=5500.0, norm=None)
    expected = np.log1p(300 * bands @ spectrum * 2 / np.hamming(1025)[:-1].sum())
    np.testing.assert_allclose(front(audio)[0, 0].numpy(), expected, atol=2e-3)


def test_linear_bands_are_where_they_should_be():
    front = LogSTFT(spacing="linear")
    for band in (3, 50, 120):
        assert front(sine(5500 / 129 * (band + 1)))[0, 0, :, 20].argmax() == band


def test_channels_of_differences():
    import librosa

    audio = music() + 0.02 * (torch.rand(1, 2 * RATE, generator=torch.Generator().manual_seed(0)) > 0.9995)
    three, one = LogSTFT(channels=3)(audio)[0].numpy(), LogSTFT()(audio)[0, 0].numpy()
    np.testing.assert_array_equal(three[0], one)
    np.testing.assert_allclose(three[1][:, 1:], np.diff(one, axis=1), atol=1e-5)
    assert np.abs(three[1]).max() > 0.5
    percussive = librosa.decompose.hpss(np.expm1(one), kernel_size=17, power=2)[1]
    inner = slice(8, -8), slice(8, -8)
    np.testing.assert_allclose(three[2][inner], np.log1p(percussive)[inner], atol=1e-3)
    assert 0.02 < three[2].mean() / one.mean() < 0.9


def test_rgb_is_three_times_the_same():
    rgb = CQT(channels=3, kind="rgb")(music())
    assert torch.equal(rgb[:, 0], CQT()(music())[:, 0]) and torch.equal(rgb[:, 0], rgb[:, 2])


def test_flux_is_what_rises():
    audio = music()
    log = CQT()(audio)[0, 0]
    both = LogCQTFlux(weight=2.0)(audio)[0]
    torch.testing.assert_close(both[0], log)
    torch.testing.assert_close(both[1][:, 1:], 2 * log.diff(dim=1).relu())


@pytest.mark.parametrize("midi", range(48, 96))
def test_a_semitone_lands_in_its_class_and_band(midi):
    audio = sine(hertz(midi))
    assert Chroma(source="cqt")(audio)[0, 0, :, 20].argmax() == midi % 12
    if midi >= 69:
        assert Chroma()(audio)[0, 0, :, 20].argmax() == midi % 12
    if midi >= 57:
        assert Semigram()(audio)[0, 0, :, 20].argmax() == midi - 21


def test_norms_of_chroma():
    audio = music() * (torch.arange(2 * RATE) > RATE / 2)
    plain = Chroma(norm="none")(audio)
    for norm, order in (("l1", 1.0), ("l2", 2.0), ("max", float("inf"))):
        found = Chroma(norm=norm)(audio)
        sizes = torch.linalg.vector_norm(found, order, 2)
        heard = torch.linalg.vector_norm(plain, order, 2) > 1e-3
        assert heard.float().mean() > 0.5 and not heard.all()
        torch.testing.assert_close(sizes[heard], torch.ones_like(sizes[heard]))
        assert (sizes[~heard] < 1).all()


def test_fft_bins_are_shared_out_whole():
    from models.alignment.front.stft import semitones

    inside = semitones(24, 84, np.arange(513) * RATE / 1024)
    np.testing.assert_allclose(inside[:, 3:180].sum(0), 1.0)
    assert (inside[:24] > 0).sum(0).max() > 3, "a bin in the bass covers several semitones"


def test_match_equals_a_plain_restatement():
    """At MATCH's own 44,100 Hz: 34 bins as they are, then MIDI 78 to 126, then all from 127 on."""
    random = np.random.default_rng(0)
    audio = random.standard_normal(20_000).astype(np.float32)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    padded = np.pad(audio, (1024 + 882, 2048))
    frames = []
    for first in range(0, 882 * 24, 882):
        power = np.abs(np.fft.rfft(padded[first : first + 2048] * window)) ** 2 * (2 / window.sum()) ** 2
        frame = np.zeros(84)
        for k, value in enumerate(power):
            frame[k if k <= 33 else 33 + min(round(12 * np.log2(k * 44_100 / 2048 / 440)) + 69, 127) - 77] += value
        frames.append(frame)
    rise = np.maximum(np.diff(frames, axis=0), 0)
    expected = (rise / rise.sum(1, keepdims=True)).T[:, : 1 + len(audio) // 882]
    front = SpectralRise(44_100, 882, 2048, power=2, norm="l1", normalise="none")
    np.testing.assert_allclose(front(torch.from_numpy(audio)[None])[0, 0].numpy(), expected, atol=1e-5)


def test_match_moves_its_bins_with_the_tuning():
    front = SpectralRise()
    for cents in (0, 50):
        rows = front.weights(cents)
        np.testing.assert_array_equal(rows.sum(0), 1)
        a5 = round(880 * 2 ** (cents / 1200) * 1024 / RATE)
        assert rows[:, a5].argmax() == 33 + 81 - 77
    assert not front(sine(440))[..., 5:-5].gt(1e-3).any(), "nothing rises in a steady sound"


@each
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_hears_the_same(front):
    audio = music()
    found = copy.deepcopy(front).cuda()(audio.cuda(), cents=20.0)
    torch.testing.assert_close(found.cpu(), front(audio, cents=20.0), rtol=0, atol=2e-3)
