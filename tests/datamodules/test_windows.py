"""Chunk starts against the authors' formula and against brute force."""

import numpy as np
import pytest

from datamodules.audio.windows import Window, cover, crop, cut, every, positions, total, units, won16

SPEC = Window(16000, 65792, 256, 256)
RAW = Window(16000, 65610, 1, 0)


def test_spec_window_is_256_frames_of_the_whole_clips_spectrogram():
    assert units(SPEC) == 256
    # librosa with centre padding: 1 + samples // hop frames.
    assert total(SPEC, 465984) == 1821
    assert units(RAW) == 65610 and total(RAW, 465984) == 465984


@pytest.mark.parametrize("samples", [465984, 65280, 65536, 160000, 9_600_000])
def test_won16_starts_are_the_authors(samples):
    frames = 1 + samples // 256
    starts, weights = won16(SPEC, samples)
    assert starts.tolist() == [i * ((frames - 256) // 16) * 256 for i in range(16)]
    assert weights.tolist() == [1 / 16] * 16
    if samples >= 65610:
        assert won16(RAW, samples)[0].tolist() == [i * ((samples - 65610) // 16) for i in range(16)]


def test_won16_never_hears_the_last_110_frames_of_a_29_s_clip():
    starts, _ = won16(SPEC, 465984)
    assert total(SPEC, 465984) - (starts[-1] // 256 + 256) == 110


@pytest.mark.parametrize("policy", [won16, cover, lambda w, n: every(w, n, 0.5)])
def test_short_clips_are_one_padded_chunk(policy):
    for window, samples in ((SPEC, 1), (SPEC, 65279), (RAW, 16000)):
        starts, weights = policy(window, samples)
        assert starts.tolist() == [0] and weights.tolist() == [1.0]


@pytest.mark.parametrize("window", [SPEC, RAW, Window(8000, 1000, 10, 0), Window(16000, 1536, 256, 256)])
@pytest.mark.parametrize("samples", [70, 65610, 65792, 65793, 131584, 465984, 466100])
def test_cover_hears_everything_and_weighs_what_is_new(window, samples):
    starts, weights = cover(window, samples)
    whole, one = total(window, samples), units(window)
    seen = np.full(whole, -1)
    for chunk, start in reversed(list(enumerate(starts // window.hop))):
        seen[start : start + one] = chunk
    assert (seen >= 0).all()
    assert np.allclose(weights, np.bincount(seen, minlength=len(starts)) / whole)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert whole <= one or starts[-1] == (whole - one) * window.hop


def test_timeline_hops_in_seconds_and_ends_with_the_clip():
    starts, weights = every(SPEC, 465984, 1.0)
    assert (np.diff(starts)[:-1] == round(16000 / 256) * 256).all()
    assert starts[-1] == (1821 - 256) * 256 and weights.sum() == pytest.approx(1)
    assert (np.diff(every(SPEC, 465984, 1e-6)[0]) == 256).all()
    for hop in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            every(SPEC, 465984, hop)


def test_random_crops_reach_every_place_and_no_other():
    generator = np.random.default_rng(0)
    samples = 65792 + 5 * 256
    drawn = {crop(SPEC, samples, generator) for _ in range(500)}
    assert drawn == {256 * i for i in range(positions(SPEC, samples))}
    assert crop(SPEC, 100, generator) == 0


def test_cut_pads_with_zeros_and_honours_the_lead():
    audio = np.arange(1, 11, dtype=np.int16)
    window = Window(16000, 6, 2, 2)
    assert cut(audio, window, 0).tolist() == [0, 0, 1, 2, 3, 4]
    assert cut(audio, window, 4).tolist() == [3, 4, 5, 6, 7, 8]
    assert cut(audio, window, 8).tolist() == [7, 8, 9, 10, 0, 0]
    assert cut(audio, window, 40).tolist() == [0] * 6
    assert cut(audio[3:], window, 4, offset=3).tolist() == [0, 4, 5, 6, 7, 8]
    assert cut(audio, window, 4).dtype == np.int16
