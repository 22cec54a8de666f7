"""WAV files read in place: every header that occurs, and files that were cut."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.audio import wav
from datamodules.audio.wav import MissingFile, NeedsConversion, open_wav
from datamodules.common.errors import DataError

RATE = 8_000


def sound(frames: int = 500, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(frames).uniform(-0.9, 0.9, (frames, channels)).astype(np.float32)


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def riff(*chunks: bytes, kind: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(body) if kind == b"RIFF" else wav.UNKNOWN) + body


def form(code: int = 1, channels: int = 2, bits: int = 16, extra: bytes = b"") -> bytes:
    frame = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, RATE, RATE * frame, frame, bits) + extra)


def samples(frames: int = 100, channels: int = 2) -> np.ndarray:
    return (sound(frames, channels) * 32767).astype("<i2")


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_reads_what_soundfile_reads(tmp_path, subtype, container, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(channels=channels), RATE, subtype=subtype, format=container)
    file = open_wav(path)
    assert (file.rate, file.channels, file.frames, file.damage) == (RATE, channels, 500, None)
    wanted = soundfile.read(path, dtype="int16" if subtype == "PCM_16" else "float32", always_2d=True)[0]
    for start, frames in ((0, 500), (17, 100), (499, 1), (490, 100), (500, 10), (700, 3)):
        got = file.read(start, frames)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted[start : start + frames])


def test_odd_chunks_before_and_after_the_samples(tmp_path):
    path = tmp_path / "a.wav"
    data = samples()
    path.write_bytes(
        riff(
            chunk(b"bext", b"x" * 603), form(), chunk(b"LIST", b"odd"), chunk(b"data", data.tobytes()), chunk(b"id3 ", b"y" * 99)
        )
    )
    np.testing.assert_array_equal(open_wav(path).read(0, 1000), data)
    assert open_wav(path).damage is None


def test_rf64_takes_its_length_from_ds64(tmp_path):
    path = tmp_path / "a.wav"
    data = samples()
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, data.nbytes, 100, 0))
    path.write_bytes(riff(sizes, form(), chunk(b"data", data.tobytes(), wav.UNKNOWN), chunk(b"junk", b"z" * 40), kind=b"RF64"))
    np.testing.assert_array_equal(open_wav(path).read(0, 1000), data)


def test_a_streamed_file_goes_to_its_end(tmp_path):
    path = tmp_path / "a.wav"
    data = samples()
    path.write_bytes(riff(form(), chunk(b"data", data.tobytes(), wav.UNKNOWN)))
    assert open_wav(path).damage is None
    np.testing.assert_array_equal(open_wav(path).read(0, 1000), data)


@pytest.mark.parametrize(("claim", "words"), [(8000, "is truncated: 0.01 s of the 0.25 s"), (0, "declares no length")])
def test_a_cut_file_gives_what_is_there_and_says_so(tmp_path, claim, words):
    path = tmp_path / "a.wav"
    data = samples()
    path.write_bytes(riff(form(), chunk(b"data", data.tobytes()[:-2], claim)))  # the last frame is half there
    file = open_wav(path)
    assert file.frames == 99
    assert words in file.damage and str(path) in file.damage
    np.testing.assert_array_equal(file.read(0, 1000), data[:99])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (b"ID3 something else, long enough", "is not a WAV file"),
        (riff(form()), "is a WAV file without samples"),
        (riff(chunk(b"data", b"1234")), "without a format"),
        (riff(form(), chunk(b"data", b"")), "holds no audio"),
        (riff(chunk(b"fmt ", b"1234"), chunk(b"data", b"1234")), "a format chunk of 4 bytes"),
        (riff(form(channels=0), chunk(b"data", b"1234")), "broken header"),
        (riff(form(), b"data"), "is a WAV file without samples"),
    ],
)
def test_what_is_no_wav_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_wav(path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_foreign_and_folders_are_told_apart(tmp_path):
    with pytest.raises(MissingFile, match="is missing"):
        open_wav(tmp_path / "none.wav")
    with pytest.raises(DataError, match="cannot be read"):
        open_wav(tmp_path)
    for subtype in ("PCM_24", "PCM_U8", "DOUBLE", "ULAW"):
        soundfile.write(tmp_path / "b.wav", sound(), RATE, subtype=subtype)
        with pytest.raises(NeedsConversion, match="convert it to 16 bit PCM"):
            open_wav(tmp_path / "b.wav")


def test_a_file_that_shrinks_while_it_is_read_is_an_error_by_name(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(), RATE, subtype="PCM_16")
    file = open_wav(path)
    file.read(0, 500)
    with path.open("rb+") as handle:
        handle.truncate(200)
    with pytest.raises(DataError, match="became shorter"):
        file.read(0, 500)
    path.unlink()
    wav._handle.cache_clear()
    with pytest.raises(DataError, match="cannot be read"):
        file.read(0, 500)


def test_pickles_small_and_keeps_few_files_open(tmp_path):
    for i in range(wav.KEPT + 40):
        (tmp_path / f"{i}.wav").write_bytes(riff(form(), chunk(b"data", samples(4).tobytes())))
    files = [open_wav(tmp_path / f"{i}.wav") for i in range(wav.KEPT + 40)]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for file in files:
        file.read(0, 4)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + wav.KEPT
    again = pickle.loads(pickle.dumps(files[0]))
    assert again == files[0] and len(pickle.dumps(files[0])) < 400
    np.testing.assert_array_equal(again.read(1, 2), files[0].read(1, 2))
