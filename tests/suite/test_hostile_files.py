"""Files that ask for endless time or memory: a sentence with the file's name, or linear time."""

import pickle
import struct
import sys
import time

import numpy as np
import pytest
import soundfile

from benchmarks.fuzzing.seeds import content_of_checkpoint, saved, seeds
from datamodules.alignment.mei import _probe
from datamodules.alignment.reading import read_score
from datamodules.audio import reading
from datamodules.audio.wav import open_wav
from datamodules.common.errors import DataError
from datamodules.generation.pack import read as read_pack
from datamodules.generation.reading import read_piece, read_pieces
from datamodules.generation.reading.notation import read_symbol
from datamodules.generation.reading.plausible_score import check_metres, exact_number
from datamodules.separation.songs import Song
from datamodules.tagging.msd import load as load_pickle
from models.tagging.importers import load_musicnn
from tasks.cli.checkpoints import read as read_checkpoint
from tasks.cli.configs import parents
from tasks.cli.yaml_files import read_yaml
from tasks.reporting.comparison import read_result
from tasks.separation.stems_on_disk import StemPair


def memory_mb():
    """Largest resident memory so far; 0 on Windows."""
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


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
    "header": reading.header,
    "decode": lambda path: reading.decode(path, 16_000),
    "crop": lambda path: reading.read(path, 0, 1000, 16_000),
    "length": lambda path: reading.length(path, 16_000),
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
    assert len(reading.decode(wav(tmp_path / "x.wav", rate), rate).audio) == 1500
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
    readers = [read_score] if case in ENGRAVED else [read_score, read_piece]
    for read in readers:
        with pytest.raises(DataError, match=r"x\.musicxml is damaged"):
            read(path)


def test_usual_numbers_of_scores(tmp_path):
    path = tmp_path / "x.musicxml"
    path.write_text(score(divisions="0.5", duration=" 2 ", beats="2+2"))
    assert len(read_piece(path).notes) == 4
    assert len(read_score(path).ids) == 0 and len(read_score(path).notes.pitch) == 4
    assert exact_number(" -0.25 ") == -0.25


# --- what the fuzz campaign found ---


def seed_of(kind, folder, old=b"", new=b"", ending=None):
    ending, content = next((end, data) for end, data in seeds()[kind] if ending in (None, end))
    assert old in content
    path = folder / f"x.{ending}"
    path.write_bytes(content.replace(old, new) if old else content)
    return path


def test_an_mei_that_ends_verovio_ends_nothing_else(tmp_path):
    path = seed_of("mei", tmp_path, b'<staffDef n="1"', b'<staffDef n="99999999999"')
    with pytest.raises(DataError, match=r"x\.mei is damaged: verovio, which reads MEI, ended with"):
        _probe(path)
    for read in (read_piece, read_score):
        with pytest.raises(DataError, match=r"x\.mei .*the number 99999999999"):
            read(path)


def test_a_time_signature_of_endless_beats(tmp_path):
    with pytest.raises(DataError, match=r"x\.krn cannot be read as a score .*time signature"):
        read_score(seed_of("kern", tmp_path, b"*M3/4", b"*M3/2147483648"))


@pytest.mark.parametrize("cut", [128, 200])
def test_an_mp3_whose_beginning_is_cut_off(cut, tmp_path):
    """The decoder finds a frame where it knows the file's size, and none where it does not."""
    path = seed_of("mp3", tmp_path)
    path.write_bytes(path.read_bytes()[cut:])
    assert 0 < len(reading.decode(path, 16_000).audio) < 8000
    assert len(reading.read(path, 100, 500, 16_000)) == 500


def test_a_wav_file_of_seventeen_channels_that_libsndfile_refuses(tmp_path):
    """PyAV gives access to eight planes of samples."""
    pytest.importorskip("av")
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 17, 8000, 32_000, 4, 32)
    peak, data = struct.pack("<4sI16x", b"PEAK", 16), struct.pack("<4sI", b"data", 8000) + bytes(8000)
    (tmp_path / "x.wav").write_bytes(struct.pack("<4sI4s", b"RIFF", 8072, b"WAVE") + form + peak + data)
    assert len(reading.decode(tmp_path / "x.wav", 8000).audio) == 117


PICKLES = {
    "a memo of 2.7 GB before damage": b"\x80\x02]r\xff\xff\xff\x0a\xff",
    "a memo of 2.7 GB": b"\x80\x02]r\xff\xff\xff\x0aK\x01a.",
    "a memo in words": b"(lp999999999\n.",
}
PICKLES["an array of 1 TB"] = b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x."


@pytest.mark.parametrize("case", PICKLES)
def test_pickles_that_ask_for_memory(case, tmp_path):
    (tmp_path / "x.pickle").write_bytes(PICKLES[case])
    before = memory_mb()
    with pytest.raises(DataError, match=r"x\.pickle is not a pickle of plain data \(it asks for more memory"):
        load_pickle(tmp_path / "x.pickle")
    assert memory_mb() - before < 100


def test_a_pickle_with_the_same_bytes_in_a_text_is_read(tmp_path):
    content = {"x": "r\x7f\x7f\x7f\x7f and p9999999\n", "y": list(range(300))}
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(content, 4))
    assert load_pickle(tmp_path / "x.pickle") == content


def test_weights_in_a_zip_file_of_the_future(tmp_path):
    np.savez(tmp_path / "x.npz", labels=np.array(["a"]))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[content.rfind(b"PK\x01\x02") + 6] = 255
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npz: zip file version"):
        load_musicnn(tmp_path / "x.npz")


def test_a_pack_with_an_unknown_field(tmp_path):
    path = seed_of("npz", tmp_path)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["header"] = np.frombuffer(arrays["header"].tobytes().replace(b"tonic", b"tonig"), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="is damaged: delete the folder"):
        read_pack(path)


@pytest.mark.parametrize("seed", ["1e999", "[" * 5000, '"x"', "9" * 5000])
def test_metrics_with_numbers_beyond_all_measure(seed, tmp_path):
    (tmp_path / "metrics.json").write_text('{"task": "tagging", "row": "x", "metrics": {}, "data": {}, "seed": ' + seed + "}")
    with pytest.raises(DataError, match=r"is not a metrics\.json written by `test`"):
        read_result(tmp_path, "tagging")


def test_a_config_that_is_no_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfeextends: y.yaml")
    assert parents(tmp_path / "x.yaml") == []
    with pytest.raises(DataError, match=r"x\.yaml cannot be read as YAML"):
        read_yaml(tmp_path / "x.yaml")


def test_settings_whose_names_are_no_text(tmp_path):
    content = content_of_checkpoint()
    content["hyper_parameters"][3] = "x"
    (tmp_path / "x.ckpt").write_bytes(saved(content))
    with pytest.raises(DataError, match=r"x\.ckpt was refused: 'hyper_parameters' must be a mapping of settings"):
        read_checkpoint(tmp_path / "x.ckpt", "tagging")


@pytest.mark.parametrize("count", ["1e999", "0", "99999", "-4", ""])
def test_an_mei_of_endless_beats(count, tmp_path):
    path = seed_of("mei", tmp_path, b'meter.count="4"', f'meter.count="{count}"'.encode())
    for read in (read_piece, read_score):
        with pytest.raises(DataError, match=r"x\.mei .*time signature"):
            read(path)


def test_a_humdrum_file_of_5000_spines(tmp_path):
    path = seed_of("kern", tmp_path, b"4F\t4a", b"4F" + b"\t4a" * 5000)
    for read in (read_piece, read_score):
        with pytest.raises(DataError, match=r"x\.krn .*5,001 spines"):
            read(path)


@pytest.mark.parametrize("metre", [b"*M3+2/8", b"*M4/4", b"*M12/16"])
def test_usual_time_signatures(metre):
    check_metres(b'<extent unit="cm"/><meterSig count="2+3" unit="8"/><staffDef meter.count="4" meter.unit="4"/><x n="12"/>')
    check_metres(b"**kern\t**kern\n" + metre + b"\t" + metre + b"\n*MM120\t*MM120\n4c\t4e\n")


def test_a_wav_that_claims_128_channels(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(2000, np.float32), 8000, subtype="FLOAT")
    content = bytearray((tmp_path / "x.wav").read_bytes())
    content[22:24] = struct.pack("<H", 128)
    (tmp_path / "x.wav").write_bytes(content)
    for reader in (READERS["decode"], READERS["stems in place"], lambda path: list(Song(path).blocks())):
        with pytest.raises(DataError, match=r"x\.wav"):
            reader(tmp_path / "x.wav")
