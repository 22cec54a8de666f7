"""Decoding: crops equal the whole, whatever the format; lying, damaged and impossible files."""

import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio import decoding
from datamodules.audio import reading as audio
from datamodules.common.errors import DataError
from tests.helpers.layouts import tone

RATE = 16_000


def write(path, sound, rate, **options):
    soundfile.write(path, sound, rate, **options)
    return path


def low_rate_mp3(path, seconds=6.0, rate=RATE, mode="VARIABLE", level=0.9):
    """An mp3 whose frames borrow bits from many frames before."""
    random = np.random.default_rng(0)
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.3 * np.sin(2 * np.pi * 220 * time) * (np.sin(2 * np.pi * 0.7 * time) > 0)
    sound += 0.1 * random.standard_normal(len(time)) * (np.sin(2 * np.pi * 1.3 * time) > 0.5)
    return write(path, sound.astype(np.float32), rate, bitrate_mode=mode, compression_level=level)


def claim_frames(path, factor):
    """Let the mp3's own tag claim another number of frames."""
    content = path.read_bytes()
    at = content.index(b"Xing") + 8
    (frames,) = struct.unpack(">I", content[at : at + 4])
    path.write_bytes(content[:at] + struct.pack(">I", int(frames * factor)) + content[at + 4 :])
    return path


def assert_crops_equal_whole(path, rate=RATE, seed=0, tolerance=1e-5):
    whole = audio.read_file(path, rate)
    assert len(whole) == audio.length(path, rate)
    starts = [0, 1, len(whole) - 4000, len(whole) - 7, len(whole) + 5]
    for start in [*starts, *np.random.default_rng(seed).integers(0, len(whole), 12).tolist()]:
        crop = audio.read(path, start, 4000, rate)
        expected = whole[start : start + 4000]
        assert crop.dtype == np.float32
        assert crop.shape == expected.shape
        assert np.abs(crop - expected).max(initial=0) <= tolerance
    return whole


@pytest.mark.parametrize(
    ("ending", "rate"),
    [
        *(("wav", rate) for rate in (8000, 11_025, 16_000, 192_000)),
        *(("mp3", rate) for rate in (16_000, 44_100, 48_000)),
        *(("flac", 44_100), ("ogg", 22_050), ("ogg", 44_100)),
    ],
)
def test_a_crop_equals_the_crop_of_the_resampled_whole(tmp_path, ending, rate):
    path = write(tmp_path / f"x.{ending}", tone(3.1, seed=3, rate=rate, channels=2), rate)
    whole = assert_crops_equal_whole(path)
    assert len(whole) == pytest.approx(3.1 * RATE, abs=2304 * RATE / rate)


def test_mp3_crops_wait_for_the_bit_reservoir(tmp_path):
    path = low_rate_mp3(tmp_path / "x.mp3")
    assert_crops_equal_whole(path)
    # The trap is real: a bare seek is wrong in this file.
    whole, _ = soundfile.read(path, dtype="float32")
    worst = 0.0
    for start in range(5000, 60_000, 1777):
        with soundfile.SoundFile(path) as file:
            file.seek(start)
            worst = max(worst, np.abs(file.read(2000, dtype="float32") - whole[start : start + 2000]).max())
    assert worst > 0.01


def test_vorbis_crops_after_transients_and_in_the_last_page(tmp_path):
    random = np.random.default_rng(0)
    sound = 0.02 * random.standard_normal(8 * 22_050)
    sound[:: 22_050 // 7] = 0.9  # clicks make short blocks
    path = write(tmp_path / "x.ogg", sound.astype(np.float32), 22_050)
    assert_crops_equal_whole(path, rate=22_050)
    assert_crops_equal_whole(path, seed=1)


def test_resampling_keeps_a_tone(tmp_path):
    time = np.arange(44_100 * 2) / 44_100
    path = write(tmp_path / "x.wav", np.sin(2 * np.pi * 440 * time), 44_100, subtype="FLOAT")
    heard = audio.read_file(path, RATE)[1000:-1000]
    assert np.abs(heard - np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)[1000:-1000]).max() < 1e-4


def test_channels_are_averaged(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 6)).astype(np.float32)
    path = write(tmp_path / "x.wav", sound, RATE, subtype="FLOAT")
    assert np.allclose(audio.read_file(path, RATE), sound.mean(1), atol=1e-7)
    assert np.allclose(audio.read(path, 100, 50, RATE), sound[100:150].mean(1), atol=1e-7)
    assert audio.header(path) == (RATE, 6, 4000, "WAV")


def test_a_header_that_claims_too_much(tmp_path):
    path = claim_frames(low_rate_mp3(tmp_path / "x.mp3"), 2)
    assert audio.claimed_length(path, RATE) > 1.9 * 6 * RATE
    assert audio.length(path, RATE) == len(audio.read_file(path, RATE)) == pytest.approx(6 * RATE, abs=2304)
    assert audio.duration(path) == pytest.approx(6, abs=0.15)
    assert "header claims 12" in audio.decode(path, RATE).damage
    assert len(audio.read(path, 6 * RATE - 500, 4000, RATE)) < 3000
    assert len(audio.read(path, 9 * RATE, 4000, RATE)) == 0


def test_a_length_guessed_too_short_loses_nothing(tmp_path):
    """A file of variable rate without the tag that counts its frames, loud at first: the guess ends far too early."""
    sound = np.concatenate([0.4 * np.random.default_rng(0).standard_normal(2 * RATE), np.zeros(6 * RATE)]).clip(-1, 1)
    path = write(tmp_path / "x.mp3", sound.astype(np.float32), RATE, bitrate_mode="VARIABLE", compression_level=0.3)
    assert len(audio.read_file(path, RATE)) == 8 * RATE
    content = path.read_bytes()
    first = content.index(content[:2], content.index(b"Xing") + 4)
    path.write_bytes(content[first:])
    assert audio.claimed_length(path, RATE) < 6 * RATE
    whole = assert_crops_equal_whole(path)
    assert 8 * RATE <= len(whole) <= 8 * RATE + 2304
    assert audio.decode(path, RATE).damage is None
    # Behind a tag with a cover picture too.
    path.write_bytes(b"ID3\x03\x00\x00\x00\x00\x20\x00" + bytes(4096) + content[first:])
    assert audio.length(path, RATE) == len(whole)


def test_an_mp3_cut_short_is_used_as_far_as_it_goes(tmp_path):
    whole = low_rate_mp3(tmp_path / "x.mp3", mode="AVERAGE", level=0.8)
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    sound, damage, _ = audio.decode(cut, RATE)
    assert 2 * RATE < len(sound) < 4 * RATE
    assert np.abs(sound[:20_000] - audio.read_file(whole, RATE)[:20_000]).max() < 1e-6
    assert "but its header claims 6.0 s" in damage
    assert audio.length(cut, RATE) == len(sound)


def test_a_flac_cut_short_is_used_as_far_as_it_goes(tmp_path):
    path = write(tmp_path / "x.flac", tone(20, seed=1), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sound, damage, _ = audio.decode(path, RATE)
    assert RATE < len(sound) < 12 * RATE
    assert "breaks off" in damage


@pytest.mark.parametrize(
    "name", ["zero.mp3", "zero.wav", "text.mp3", "text.wav", "stub.flac", "header.wav", "song.m4a", "gone.wav", "."]
)
def test_what_is_no_audio_is_named_in_one_sentence(tmp_path, name):
    path = tmp_path / name
    if name.startswith("zero"):
        path.write_bytes(b"")
    elif name.startswith("text"):
        path.write_text("this is a shopping list, not a song\n" * 50)
    elif name.startswith("stub"):
        path.write_bytes(write(tmp_path / "x.flac", tone(1), RATE).read_bytes()[:20])
    elif name.startswith("header"):
        write(path, np.zeros(0, np.float32), RATE)
    elif name.startswith("song"):
        path.write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(100))
    for reading in (lambda: audio.read_file(path, RATE), lambda: audio.length(path, RATE)):
        with pytest.raises(DataError) as caught:
            reading()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    said = {"zero": "empty", "song": "cannot be opened as an audio or video file", "gone": "does not exist", ".": "is a folder"}
    said["header"] = "no audio"
    assert said.get(name.split(".")[0] or ".", "does not decode") in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_is_refused(tmp_path, value):
    sound = tone(1)
    sound[9000] = value
    path = write(tmp_path / "x.wav", sound, RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=r"x\.wav holds NaN"):
        audio.read_file(path, RATE)
    with pytest.raises(DataError, match="NaN"):
        audio.read(path, 8500, 1000, RATE)
    assert len(audio.read(path, 0, 8000, RATE)) == 8000


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 192_000])
def test_ten_milliseconds(tmp_path, rate):
    path = write(tmp_path / "x.wav", tone(0.01, rate=rate), rate, subtype="FLOAT")
    assert len(audio.read_file(path, RATE)) == len(audio.read(path, 0, 65_792, RATE)) == 160
    assert audio.duration(path) == pytest.approx(0.01)


def test_less_than_one_sample(tmp_path):
    path = write(tmp_path / "x.wav", np.ones(1), 48_000)
    with pytest.raises(DataError, match="shorter than one sample"):
        audio.read_file(path, RATE)


def test_silence_is_audio(tmp_path):
    path = write(tmp_path / "x.wav", np.zeros(RATE), RATE)
    assert audio.decode(path, RATE) == (pytest.approx(np.zeros(RATE)), None, None)


def test_an_hour_is_decoded_in_little_more_than_its_own_memory(tmp_path):
    path = write(tmp_path / "x.flac", np.zeros(3600 * 8000, np.int16), 8000)
    tracemalloc.start()
    sound = audio.read_file(path, RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(sound) == 3600 * RATE
    assert peak < 1.3 * sound.nbytes
    assert len(audio.read(path, 3599 * RATE, 2 * RATE, RATE)) == RATE


def test_int16_rounds_and_clips():
    sound = np.array([-2, -1, -0.5 / 32768 - 1e-6, 0.4 / 32768, 0.99999, 1, 2], np.float32)
    assert audio.to_int16(sound).tolist() == [-32768, -32768, -1, 0, 32767, 32767, 32767]


@pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="this libsndfile cannot write mp3")
def test_an_mp3_read_in_blocks_is_the_one_read_at_once(tmp_path):
    """Bits that a frame keeps in the frames before it survive from block to block."""
    random = np.random.default_rng(0)
    sound = random.standard_normal(5 * decoding.BLOCK // 2) * np.repeat(random.random(5 * decoding.BLOCK // 2 // 512) ** 4, 512)
    path = tmp_path / "a.mp3"
    soundfile.write(path, 0.3 * sound, 44_100, bitrate_mode="CONSTANT", compression_level=0.9)
    with decoding.AudioSource(path) as source:
        blocks = np.concatenate(list(source.blocks()))
    assert np.array_equal(blocks, soundfile.read(path, dtype="float32")[0])


def test_a_damaged_mp3_is_used_as_far_as_it_goes(tmp_path):
    whole = low_rate_mp3(tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "hole.mp3").write_bytes(whole[:3000] + b"x" * 900 + whole[3900:] + b"trash" * 99)
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(3000))
    sound, damage, _ = audio.decode(tmp_path / "hole.mp3", RATE)
    assert damage and RATE / 2 < len(sound) == len(audio.read(tmp_path / "hole.mp3", 0, 2 * RATE, RATE))
    with pytest.raises(DataError, match="does not decode"):
        audio.read_file(tmp_path / "noise.mp3", RATE)


def test_audio_in_memory_is_mixed_and_resampled_like_a_file(tmp_path):
    sound = np.stack([tone(1.0, seed, 22_050) for seed in (1, 2)])
    path = write(tmp_path / "x.wav", sound.T, 22_050, subtype="FLOAT")
    whole = audio.read_file(path, RATE)
    np.testing.assert_allclose(audio.mono(sound, 22_050, RATE), whole, atol=1e-5)
    np.testing.assert_allclose(audio.mono(torch.from_numpy(sound), 22_050, RATE), whole, atol=1e-5)
    assert np.array_equal(audio.mono(sound[0], RATE, RATE), sound[0])
    assert np.abs(audio.mono(audio.to_int16(sound[0]), RATE, RATE) - sound[0]).max() < 2**-15
    for wrong in (sound.T, sound[None], (sound * 100).astype(np.int32)):
        with pytest.raises(ValueError, match="expected audio as"):
            audio.mono(wrong, RATE, RATE)
