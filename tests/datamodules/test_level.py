"""Level of recordings: robust to clicks, free of loudness, and channels that cancel each other."""

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio import level, reading
from datamodules.audio.pack import Pack, build
from tests.helpers.layouts import tone, write_audio

RATE = 16_000


def antiphase(seconds=2.0, seed=0, rate=RATE, right=-1.0):
    """(samples, 2) whose mean is nearly nothing."""
    left = tone(seconds, seed, rate)
    return np.stack([left, right * left], axis=1)


def test_robust_level_is_the_percentile_and_deaf_to_clicks():
    sound = tone(10.0)
    assert level.robust_level(sound) == pytest.approx(np.percentile(np.abs(sound), 99.9), rel=1e-6)
    clicked = sound.copy()
    clicked[8000:8016] = 1.0  # 1 ms
    assert level.robust_level(clicked) == pytest.approx(level.robust_level(sound), rel=0.02)
    assert level.robust_level(np.zeros(0, np.float32)) == level.robust_level(np.zeros(9, np.float32)) == 0.0
    assert level.robust_level(np.float32([0.25])) == 0.25


def test_clicks_are_measured_over_the_robust_level():
    sound = 0.05 * tone(10.0)
    assert level.click_db(sound) < 10
    sound[100] = 1.0
    assert level.click_db(sound) > level.CLICK_DB
    assert level.click_db(np.zeros(100, np.float32)) == 0.0


@pytest.mark.parametrize("gain", [1.0, 1e-2, 1e-4])
def test_soft_is_not_silent(gain):
    sound = tone(2.0)
    assert not level.is_silent(gain * sound)
    louder, remark = level.raised((gain * sound).astype(np.float32))
    quiet = level.decibels(level.robust_level(gain * sound)) < level.QUIET_DB
    assert quiet == (gain == 1e-4) == (remark is not None)
    if quiet:
        assert level.decibels(level.robust_level(louder)) == pytest.approx(level.RAISED_DB, abs=0.1)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(400), np.full(400, 0.3), np.full(400, 1e-9)])
def test_digital_silence_and_constants_are_silent(sound):
    sound = sound.astype(np.float32)
    assert level.is_silent(sound) and level.raised(sound) == (sound, None)


def test_the_last_bits_hold_no_event():
    random = np.random.default_rng(0)
    dither = random.integers(-1, 2, RATE).astype(np.float32) / 32768
    assert level.is_inaudible(dither) and level.is_inaudible(np.zeros(RATE, np.float32))
    assert not level.is_inaudible(1e-3 * tone(1.0))


@pytest.mark.parametrize("right", [-1.0, -0.9])
@pytest.mark.parametrize(("ending", "rate"), [("wav", RATE), ("wav", 44_100), ("flac", 22_050), ("mp3", 44_100)])
def test_the_louder_channel_stands_for_two_that_cancel(tmp_path, ending, rate, right):
    path = write_audio(tmp_path / f"x.{ending}", antiphase(2.0, rate=rate, right=right), rate)
    alone = reading.read_file(write_audio(tmp_path / f"left.{ending}", tone(2.0, rate=rate), rate), RATE)
    decoded = reading.decode(path, RATE)
    assert decoded.remark == "its channels cancel each other (anti-phase): channel 1, the loudest, is used alone"
    assert np.abs(decoded.audio - alone)[100:-100].max() < (0.08 if ending == "mp3" else 1e-4)
    np.testing.assert_allclose(reading.read(path, 5000, 4000, RATE), decoded.audio[5000:9000], atol=1e-5)
    stream = reading.AudioBlocks(path, RATE)
    np.testing.assert_array_equal(np.concatenate(list(stream)), decoded.audio)
    assert stream.remark == decoded.remark and stream.damage is None


def test_channels_that_do_not_cancel_are_averaged(tmp_path):
    random = np.random.default_rng(0)
    for channels in (2, 6, 32):
        sound = random.uniform(-0.5, 0.5, (8000, channels)).astype(np.float32)
        path = write_audio(tmp_path / "x.wav", sound, RATE)
        decoded = reading.decode(path, RATE)
        assert decoded.remark is None
        np.testing.assert_allclose(decoded.audio, sound.mean(1), atol=1e-6)
    wide = np.stack([tone(2.0, 1) + 0.5 * tone(2.0, 2), 0.5 * tone(2.0, 2) - tone(2.0, 1)], axis=1)
    assert reading.decode(write_audio(tmp_path / "wide.wav", wide, RATE), RATE).remark is None
    alone = np.stack([tone(1.0), np.zeros(RATE, np.float32)], axis=1)
    assert reading.decode(write_audio(tmp_path / "alone.wav", alone, RATE), RATE).remark is None


def test_a_crop_without_cancellation_is_not_decided_alone(tmp_path):
    """Anti-phase in one passage only: the file as a whole is averaged, and so is every crop of it."""
    mixed = np.concatenate([np.stack([tone(6.0)] * 2, axis=1), antiphase(1.0)])
    path = write_audio(tmp_path / "x.wav", mixed, RATE)
    decoded = reading.decode(path, RATE)
    assert decoded.remark is None
    np.testing.assert_allclose(reading.read(path, 6 * RATE, RATE, RATE), decoded.audio[6 * RATE :], atol=1e-5)


def test_arrays_in_memory_are_treated_like_files(caplog):
    mixed = reading.mono(antiphase().T, RATE, RATE)
    np.testing.assert_allclose(mixed, tone(2.0), atol=1e-6)
    assert "channel 1, the loudest" in caplog.text


def test_packs_say_so(tmp_path):
    write_audio(tmp_path / "in/x.wav", antiphase(), RATE)
    packed = build(tmp_path / "pack", tmp_path / "in", np.array([b"x.wav"]), RATE, workers=1)
    assert isinstance(packed, Pack) and np.abs(packed.whole(0)).max() > 1000
    assert "cancel each other" in packed.flaws()[0].message and packed.flaws()[0].used


def test_a_stream_reads_in_constant_memory_what_decode_reads(tmp_path):
    path = write_audio(tmp_path / "x.wav", tone(30.0, rate=44_100, channels=2), 44_100)
    blocks = list(reading.AudioBlocks(path, RATE))
    assert len(blocks) > 5 and max(map(len, blocks)) < 3 * RATE * 1.1
    np.testing.assert_array_equal(np.concatenate(blocks), reading.decode(path, RATE).audio)


def test_front_end_and_level_module_agree():
    from models.sed import MelFrontEnd

    sound = tone(3.0)
    sound[100] = 1.0
    robust, plain = (MelFrontEnd(RATE, 512, 160, 16, standardise="none", level=kind) for kind in ("robust", "none"))
    scaled = np.clip(sound / (level.CREST * level.robust_level(sound)), -1, 1)
    torch.testing.assert_close(robust(torch.from_numpy(sound)[None])[0], plain(torch.from_numpy(scaled)[None])[0])


def test_silent_files_are_still_audio(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((RATE, 2)), RATE)
    assert reading.decode(tmp_path / "x.wav", RATE) == (pytest.approx(np.zeros(RATE)), None, None)
