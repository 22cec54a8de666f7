"""Log-mel forms against librosa and torchaudio."""

import numpy as np
import pytest
import torch
import torchaudio

from models.blocks.features import LogMel


def clip(seconds: float = 3.0, seed: int = 0) -> torch.Tensor:
    """A decaying chord over noise with a silent gap: (1, samples) float32, both above and below the 80 dB floor."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16_000)) / 16_000
    wave = sum(np.sin(2 * np.pi * f * t + f) for f in (110.0, 277.2, 1760.0, 5000.0)) * np.exp(-t) / 8
    wave += 1e-3 * rng.standard_normal(t.size)
    wave[20_000:22_000] = 0
    return torch.from_numpy(wave.astype(np.float32))[None]


def test_paper_form_equals_librosa():
    import librosa

    audio = clip()
    power = librosa.feature.melspectrogram(
        y=audio[0].numpy(), sr=16_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="constant"
    )
    expected = torch.from_numpy(librosa.amplitude_to_db(power))
    ours = LogMel(center=True)(audio)[0]
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < 1e-3
    assert (expected == expected.min()).float().mean() > 0.01, "the floor is not exercised"


@pytest.mark.parametrize("start", [0, 40 * 256, 150 * 256])
def test_chunk_with_context_equals_crop_of_whole_clip(start):
    audio, frames = clip(), 64
    mel = LogMel()
    whole = LogMel(center=True)(audio)
    first = start // 256
    padded = torch.nn.functional.pad(audio, (mel.lead, 40_000))
    chunk = padded[:, start : start + mel.samples(frames)]
    inside = min(frames, whole.shape[-1] - first)
    ours = mel(chunk, mel.peak(audio))
    assert ours.shape[-1] == frames
    torch.testing.assert_close(ours[..., :inside], whole[..., first : first + inside], rtol=0, atol=1e-4)


def test_level_is_the_whole_clips_peak():
    audio = torch.cat([clip(), 1e-3 * clip(seed=1)], dim=-1)
    mel = LogMel()
    torch.testing.assert_close(mel.peak(audio), LogMel(center=True)(audio).amax((1, 2)))
    torch.testing.assert_close(mel.peak(audio, block=7), mel.peak(audio))
    quiet = audio[:, 60_000 : 60_000 + mel.samples(32)]
    assert mel(quiet, mel.peak(audio)).min() == mel.peak(audio) - 80
    assert mel(quiet).min() < mel.peak(audio) - 80


def test_each_clip_of_a_batch_has_its_own_floor():
    batch = torch.cat([clip(), 0.01 * clip(seed=2)])
    mel = LogMel()
    torch.testing.assert_close(mel(batch), torch.cat([mel(one[None]) for one in batch]))


def test_htk_form_equals_torchaudio():
    audio = clip()
    expected = torchaudio.transforms.AmplitudeToDB()(torchaudio.transforms.MelSpectrogram(16_000, n_fft=512, n_mels=96)(audio))
    ours = LogMel(mel="htk", db="power", top_db=None, center=True, pad_mode="reflect")(audio)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
    assert (ours - LogMel(center=True)(audio)).abs().max() > 20, "the two forms must not be confused"


def test_magnitudes_natural_log_and_a_band_equal_librosa():
    import librosa

    audio = clip()
    settings = {"sr": 16_000, "n_fft": 512, "hop_length": 256, "n_mels": 40, "window": "hann", "fmin": 200, "fmax": 6000}
    magnitude = librosa.feature.melspectrogram(y=audio[0].numpy(), power=1, pad_mode="constant", **settings)
    expected = torch.from_numpy(np.log(np.maximum(magnitude, 1e-5)))
    ours = LogMel(n_mels=40, db="log", top_db=None, center=True, power=1, f_min=200.0, f_max=6000.0)(audio)[0]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3)
    assert (expected == expected.min()).any(), "the floor is not exercised"


@pytest.mark.parametrize(
    ("mel", "scale", "norm"), [("slaney_unnormed", "slaney", None), ("htk_normed", "htk", "slaney"), ("htk", "htk", None)]
)
def test_other_triangles_and_windows_equal_torchaudio(mel, scale, norm):
    options = {"n_fft": 512, "hop_length": 256, "n_mels": 40, "power": 1.0, "window_fn": torch.hamming_window}
    expected = torchaudio.transforms.MelSpectrogram(16_000, mel_scale=scale, norm=norm, pad_mode="constant", **options)(clip())
    ours = LogMel(n_mels=40, mel=mel, db="log", top_db=None, center=True, power=1, window="hamming")(clip())
    torch.testing.assert_close(ours, expected.clamp(min=1e-5).log(), rtol=0, atol=1e-4)


def test_compressed_form():
    mel = LogMel(db="compressed", top_db=None, center=True)
    power = 10 ** (LogMel(db="power", top_db=None, center=True)(clip()) / 10)
    torch.testing.assert_close(mel(clip()), torch.log10(1 + 10_000 * power), rtol=0, atol=1e-4)


def test_float32_under_autocast_and_reduced_modules():
    audio = clip()
    mel = LogMel()
    expected = mel(audio)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mel(audio)
        assert torch.equal(mel.peak(audio), LogMel().peak(audio))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, expected)
    for dtype in (torch.bfloat16, torch.float64):
        assert torch.equal(LogMel().to(dtype)(audio), expected)


def test_bands_know_their_hertz():
    import librosa

    centres = torch.from_numpy(librosa.mel_frequencies(98, fmin=0.0, fmax=8000.0)[1:-1]).float()
    found = LogMel(n_fft=4096).hertz()  # fine enough for the sampled triangles to have their true centre
    assert (found / centres - 1).abs().max() < 0.02
    assert (LogMel().hertz().diff() > 0).all()


def test_int16_equals_float():
    audio = (clip() * 32768).to(torch.int16)
    mel = LogMel()
    assert torch.equal(mel(audio), mel(audio.float() / 32768))
    assert torch.equal(mel.peak(audio), mel.peak(audio.float() / 32768))


def test_silence_is_finite():
    assert torch.equal(LogMel()(torch.zeros(2, 5120)), torch.full((2, 96, 19), -100.0))


def test_nothing_in_the_state_dict():
    assert LogMel().state_dict() == {}


@pytest.mark.parametrize("option", [{"mel": "bark"}, {"db": "neper"}, {"window": "kaiser"}, {"power": 3}])
def test_unknown_options_name_the_known_ones(option):
    with pytest.raises(ValueError, match="expected one of"):
        LogMel(**option)
