"""The front end of sound event detection, and embeddings put on its frames."""

import numpy as np
import pytest
import torch

from models.sed import MelFrontEnd, align
from models.sed.front import robust_level


def test_front_end_equals_librosa():
    import librosa

    audio = torch.randn(1, 22_100).mul_(0.1)
    mel = MelFrontEnd(standardise="none")
    ours, valid = mel(audio)
    y = (audio / audio.abs().max())[0].numpy()
    settings = {"sr": 22_100, "n_fft": 2048, "hop_length": 366, "n_mels": 128, "power": 1, "pad_mode": "constant"}
    magnitude = librosa.feature.melspectrogram(y=y, **settings)
    assert ours.shape == (1, 61, 128) and valid.tolist() == [61]
    np.testing.assert_allclose(ours[0].T.numpy(), np.log(np.maximum(magnitude, 1e-5)), atol=1e-3)
    assert (MelFrontEnd().spectrum.filterbank.sum(1) > 0).all(), "a band without any bin"


def test_front_end_is_normalised_by_the_valid_samples():
    mel = MelFrontEnd(8000, 256, 100, 16, standardise="none")
    audio = 0.1 * torch.randn(2, 4000)
    audio[1, 2000:] = 5.0
    lengths = torch.tensor([4000, 2000])
    found, valid = mel(audio, lengths)
    assert valid.tolist() == [41, 21] and not found[1, 21:].any()
    torch.testing.assert_close(found[1:, :21], mel(audio[1:, :2000] * 7)[0], rtol=0, atol=1e-4)
    quiet = MelFrontEnd(8000, 256, 100, 16, standardise="none", peak=False)
    assert (quiet(audio)[0] - found).abs().max() > 1
    torch.testing.assert_close(mel(audio[:1], level="none")[0], quiet(audio[:1])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_robust_level_is_that_of_the_valid_samples_and_ignores_clicks(dtype):
    torch.manual_seed(0)
    audio = 0.01 * torch.randn(3, 4000)
    audio[1, 2000:] = 5.0
    clicked = audio.clone()
    clicked[:, 100:102] = 0.9
    lengths = torch.tensor([4000, 2000, 1])
    if dtype == torch.int16:
        audio, clicked = ((x.clamp(-1, 0.999) * 32768).round().to(dtype) for x in (audio, clicked))
    robust = MelFrontEnd(8000, 256, 100, 16, standardise="none", level="robust")
    peak = MelFrontEnd(8000, 256, 100, 16, standardise="none")
    far = [frames for frames in range(41) if abs(frames - 1) > 3]
    moved, by_peak = (((mel(clicked, lengths)[0] - mel(audio, lengths)[0])[:2, far]).abs().max() for mel in (robust, peak))
    assert moved < 0.5 < 1 < by_peak
    torch.testing.assert_close(robust(audio, lengths)[0], peak(audio, lengths, level="robust")[0])
    audio[1, 2000:] = audio[2, 1:] = 0
    level = robust_level(audio.float(), lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(level[row], audio[row, :length].float().abs().quantile(0.999), rtol=1e-5, atol=1e-6)
    assert not robust(torch.zeros(2, 0))[0].isnan().any() and not robust(torch.zeros(1, 300))[0].isnan().any()


def test_unknown_levels_are_refused_and_none_stays_none():
    with pytest.raises(ValueError, match="level is 'loud', expected peak, robust or none"):
        MelFrontEnd(level="loud")
    plain = MelFrontEnd(8000, 256, 100, 16, peak=False)
    audio = 0.1 * torch.randn(1, 900)
    torch.testing.assert_close(plain(audio, level="robust")[0], plain(audio)[0])


def test_silence_is_the_floor():
    mel = MelFrontEnd(8000, 256, 100, 16, standardise="none")
    assert torch.equal(mel(torch.zeros(1, 500))[0], torch.full((1, 6, 16), 1e-5).log())
    assert bool(mel(torch.full((1, 500), 1e-7))[0].isfinite().all())
    assert mel(torch.zeros(1, 0))[0].shape == (1, 1, 16)
    int16 = torch.randint(-9000, 9000, (2, 900), dtype=torch.int16)
    torch.testing.assert_close(mel(int16)[0], mel(int16.float() / 32768)[0])


def test_statistics():
    audio, lengths = 0.1 * torch.randn(2, 4000), torch.tensor([4000, 1500])
    mel = MelFrontEnd(8000, 256, 100, 16)
    raw, valid = mel.log_mel(audio, lengths)
    frames = torch.cat([raw[0], raw[1, : valid[1]]])
    std = frames.std(0)
    std[3] = 0.0
    mel.set_statistics(frames.mean(0), std)
    found = mel(audio, lengths)[0]
    assert bool(found.isfinite().all()) and not found[1, valid[1] :].any()
    whole = torch.cat([found[0], found[1, : valid[1]]])
    assert whole.mean(0).abs().max() < 0.1 and (whole.std(0)[4:] - 1).abs().max() < 1e-4
    torch.testing.assert_close(mel.gain[5], 1 / std[5])
    assert set(mel.state_dict()) == {"mean", "std"}
    again = MelFrontEnd(8000, 256, 100, 16)
    again.load_state_dict(mel.state_dict())
    assert torch.equal(again.to(torch.bfloat16)(audio, lengths)[0], found)
    half = mel.standardised(raw.half(), valid)
    assert half.dtype == torch.float32 and (half[:, :, 4:] - found[:, :, 4:]).abs().max() < 0.05
    own = MelFrontEnd(8000, 256, 100, 16, standardise="instance")(audio, lengths)[0]
    assert own[1, : valid[1]].mean(0).abs().max() < 1e-4 and (own[1, : valid[1]].std(0, correction=0) - 1).abs().max() < 1e-3


def test_standardisation_must_be_known():
    with pytest.raises(ValueError, match="standardise"):
        MelFrontEnd(standardise="clip")


def test_align():
    e, times, frames = np.arange(12.0).reshape(4, 3), np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 1.25, 2.5, 4.0, 9.0])
    found = align(e, times, frames, "time")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], [0, 0, 0.75, 4.5, 9, 9])
    np.testing.assert_allclose(align(e, times, frames, "nearest")[:, 0], [0, 0, 0, 3, 9, 9])
    np.testing.assert_allclose(align(e, times, frames[:4], "index"), e)
    np.testing.assert_allclose(align(e, times, frames, "index")[:, 0], [0, 0, 3, 6, 6, 9])
    assert align(e[:1], times[:1], frames).tolist() == [[0, 1, 2]] * 6
    assert not align(e[:0], times[:0], frames).any()
    half = align(e.astype(np.float16), times, frames)
    np.testing.assert_allclose(half, found, atol=1e-2)
    for how, moments in (("space", times), ("time", times[::-1]), ("time", times[:2])):
        with pytest.raises(ValueError, match="align"):
            align(e, moments, frames, how)
