"""Files that ask for endless time or memory: a sentence with the file's name, or linear time."""

import struct
import time

import numpy as np
import pytest
import soundfile

from datamodules import audio
from datamodules.alignment.musicxml import read_musicxml
from datamodules.errors import DataError
from datamodules.plausible_score import exact_number
from datamodules.songs import Song
from datamodules.symbolic.reading import read_piece, read_pieces
from datamodules.symbolic.reading.chord_symbols import read_symbol
from datamodules.wav import open_wav
from tasks.separation.stems_on_disk import StemPair


@pytest.fixture(autouse=True)
def in_linear_time():
    before = time.process_time()
    yield
    assert time.process_time() - before < 20  # of a busy machine; what is quadratic takes minutes


def wav(path, rate, frames=1500):
    soundfile.write(path, np.zeros(frames, np.float32), 8000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    return path


READERS = {
    "header": audio.header,
    "decode": lambda path: audio.decode(path, 16_000),
    "crop": lambda path: audio.read(path, 0, 1000, 16_000),
    "length": lambda path: audio.length(path, 16_000),
    "stems in place": open_wav,
    "song": Song,
    "scores of stems": lambda path: StemPair("x", ((path,),), (path,), 8000)(),
}


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
@pytest.mark.parametrize("reader", READERS)
def test_sampling_rates_that_no_recording_has(reader, rate, tmp_path):
    path = wav(tmp_path / "x.wav", rate)
    with pytest.raises(DataError, match=f"x.wav claims a sampling rate of {rate} Hz, expected 1 to 768 kHz"):
        READERS[reader](path)


@pytest.mark.parametrize("rate", [1000, 192_000, 768_000])
def test_unusual_rates_are_read(rate, tmp_path):
    assert len(audio.decode(wav(tmp_path / "x.wav", rate), rate).audio) == 1500
    assert open_wav(tmp_path / "x.wav").rate == rate


HEAD = "X:1\nM:4/4\nL:1/8\nK:C\nCDEF|"
TUNES = {
    "opening braces": HEAD + "{" * 100_000,
    "opening fields": HEAD + "[K:" * 60_000,
    "fields of text": HEAD + "[r:" * 60_000,
    "a quote that is left open": HEAD + '"' + "a" * 50_000,
    "ties": HEAD + "-" * 100_000,
    "a chord symbol of 100 words that can be read in two ways": HEAD + '"C' + "mino" * 100 + 'x"G',
    "slashes": HEAD + "C" + "/" * 100_000,
}


@pytest.mark.parametrize("case", TUNES)
def test_tunes_take_linear_time(case, tmp_path):
    path = tmp_path / "x.abc"
    path.write_text(TUNES[case] + "\n")
    assert len(read_pieces(path)[0].notes) >= 4


def test_a_length_of_100000_digits_is_refused(tmp_path):
    path = tmp_path / "x.abc"
    path.write_text(HEAD + "C" + "1" * 100_000 + "\n")
    with pytest.raises(DataError, match=r"x\.abc is damaged"):
        read_piece(path)


def test_usual_signs_of_tunes_still_mean_what_they_meant(tmp_path):
    path = tmp_path / "x.abc"
    path.write_text(HEAD + '{ab}"Gmadd9"G2 [K:G] F2-|F4 "Fine"z4|\n')
    piece = read_piece(path)
    assert [row[2] for row in piece.notes.tolist()] == [60, 62, 64, 65, 67, 66]
    assert len(piece.chords) == 1


@pytest.mark.parametrize("symbol", ["Cmaj7", "F#m7(b5)", "G7sus4/D", "Bbmadd9"])
def test_usual_chord_symbols(symbol):
    assert read_symbol(symbol) is not None


def score(divisions="1", duration="1", extra="", octave="4", beats="4", beat_type="4"):
    note = f"<note><pitch><step>C</step><octave>{octave}</octave></pitch><duration>{duration}</duration><voice>1</voice></note>"
    time = f"<time><beats>{beats}</beats><beat-type>{beat_type}</beat-type></time>"
    attributes = f"<attributes><divisions>{divisions}</divisions>{time}</attributes>"
    return (
        "<score-partwise><part-list><score-part id='P1'><part-name/></score-part></part-list><part id='P1'>"
        f"<measure number='1'>{attributes}{extra}{note * 4}</measure></part></score-partwise>"
    )


SCORES = {
    "divisions below zero": {"divisions": "-1"},
    "no divisions": {"divisions": "0"},
    "divisions of 12 MB": {"divisions": "1e99999999"},
    "divisions that are no number": {"divisions": "nan"},
    "endless notes": {"duration": "1000000000"},
    "notes of 20 digits": {"duration": "9" * 20},
    "notes of 12 MB": {"duration": "1e99999999"},
    "an endless rest": {"extra": "<forward><duration>1000000000</duration></forward>"},
}
ENGRAVED = {
    "notes of negative length": {"duration": "-1"},
    "a millionth octave": {"octave": "1000000"},
    "a million beats": {"beats": "1000000"},
    "beats of nothing": {"beat_type": "0"},
}


@pytest.mark.parametrize("case", SCORES | ENGRAVED)
def test_scores_with_numbers_that_no_score_has(case, tmp_path):
    path = tmp_path / "x.musicxml"
    path.write_text(score(**(SCORES | ENGRAVED)[case]))
    readers = [read_musicxml] if case in ENGRAVED else [read_musicxml, read_piece]
    for read in readers:
        with pytest.raises(DataError, match=r"x\.musicxml is damaged"):
            read(path)


def test_usual_numbers_of_scores(tmp_path):
    path = tmp_path / "x.musicxml"
    path.write_text(score(divisions="0.5", duration=" 2 ", beats="2+2"))
    assert len(read_piece(path).notes) == 4
    assert read_musicxml(path).notes
    assert exact_number(" -0.25 ") == -0.25
