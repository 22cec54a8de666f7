"""Audio in memory and float files: the rate is asked for, integers cast to float are named, nothing infinite passes."""

import inspect
import logging

import numpy as np
import pytest
import soundfile

from datamodules.audio import reading
from datamodules.common.errors import DataError
from tasks.alignment.inference import Audio2Frames, File2Alignment
from tasks.generation.inference import Writer
from tasks.sed.inference import Audio2Events, Audio2EventScores, File2Events
from tasks.separation.inference import Audio2Stems, File2Stems
from tasks.separation.song_stems import resampler
from tasks.tagging.inference import Audio2Embeddings, Audio2Tags, Audio2TagScores, File2Tags

RATE = 16_000
STEPS = (
    Audio2TagScores.__call__,
    Audio2Tags.__call__,
    Audio2Embeddings.__call__,
    Audio2EventScores.__call__,
    Audio2Events.__call__,
    Audio2Stems.__call__,
    Audio2Frames.__call__,
    File2Alignment.align,
)
LAST_STEPS = (Audio2Tags, File2Tags, Audio2Events, File2Events, File2Stems, File2Alignment, Writer)


def tone(gain=1.0, rate=RATE, seconds=0.5):
    return (gain * np.sign(np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate))).astype(np.float32)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__qualname__)
def test_every_step_that_takes_audio_requires_its_rate(step):
    parameters = inspect.signature(step).parameters
    assert parameters["sample_rate"].default is inspect.Parameter.empty
    assert [*parameters][[*parameters].index("audio") + 1] == "sample_rate"


@pytest.mark.parametrize("step", LAST_STEPS, ids=lambda step: step.__qualname__)
def test_every_last_step_takes_inference_options_instead_of_those_stored(step):
    assert inspect.signature(step).parameters["inference"].default is None and callable(step.__call__)


@pytest.mark.parametrize(("gain", "warned"), [(1.0, False), (3.9, False), (20_000.0, True)])
def test_floats_in_the_range_of_integers_are_warned_of(gain, warned, caplog):
    with caplog.at_level(logging.WARNING):
        reading.mono(tone(gain), RATE, RATE)
    assert ("reaches 2e+04, but full scale is 1" in caplog.text) == warned == bool(caplog.records)


def test_files_of_such_floats_say_so(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(20_000.0), RATE, subtype="FLOAT")
    stream = reading.AudioBlocks(path, RATE)
    list(stream)
    assert stream.remark == reading.decode(path, RATE).remark and stream.remark.startswith("it reaches 2e+04, but full")


@pytest.mark.parametrize("reader", ["decode", "read", "Stream"])
def test_what_resampling_makes_infinite_is_refused_by_name(tmp_path, reader):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(3e38, 44_100), 44_100, subtype="FLOAT")
    assert np.isfinite(soundfile.read(path, dtype="float32")[0]).all()
    read = {
        "decode": lambda: reading.decode(path, RATE),
        "read": lambda: reading.read(path, 0, 4000, RATE),
        "Stream": lambda: list(reading.AudioBlocks(path, RATE)),
    }[reader]
    with pytest.raises(DataError, match=r"x\.wav holds NaN, infinite or far too large samples"):
        read()


def test_what_resampling_a_song_makes_infinite_is_refused_by_name():
    with pytest.raises(DataError, match=r"song\.wav holds NaN, infinite"):
        resampler(44_100, RATE, 1, "song.wav")(tone(3e38, 44_100)[:, None], True)


@pytest.mark.parametrize("sound", [tone(3e38, 44_100), np.full(9, np.nan, np.float32), np.zeros(0, np.float32)])
def test_arrays_that_are_no_audio_are_refused(sound):
    with pytest.raises(ValueError, match="the audio"):
        reading.mono(sound, 44_100, RATE)
