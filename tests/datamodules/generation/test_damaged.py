"""What is said of files of music that cannot be read."""

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.generation.piece import DURATION, ONSET
from datamodules.generation.reading import read_piece
from tests.helpers.music_files import METRE, midi, played, written, zipped

XML = '<score-partwise><part-list/><part id="P1"><measure number="1">{}</measure></part></score-partwise>'
NOTE = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>{}</duration></note>"
SCORE = XML.format("<attributes><divisions>1</divisions></attributes>" + NOTE.format(1))


BAD = {
    "empty.mid": (b"", r"is empty \(0 bytes\)"),
    "text.mid": (b"no music at all", "is not a MIDI file: it does not begin with MThd"),
    "head.mid": (b"MThd\0\0\0\6\0\1\0", r"does not read as MIDI \(File size is less than 14\)"),
    "cut.mid": (midi(played((60, 96)))[:-9], "does not read as MIDI"),
    "smpte.mid": (midi(played((60, 96)), ticks=0xE728), "does not read as MIDI"),
    "timeless.mid": (midi(played((60, 96)), ticks=0), "counts no ticks"),
    "silent.mid": (midi(METRE + b"\4\2\x18\x08"), "holds no notes"),
    "drums.kar": (midi(played((36, 96), channel=9)), "holds only drums"),
    "endless.mid": (midi(b"\0\x90\x3c\x50\xff\xff\xff\x7f\x80\x3c\0", ticks=1), "is damaged: its last note ends after"),
    "many.mid": (midi(played((36, 96), channel=9), b"", kind=2), "holds only drums"),
    "plain.xml": (b"not XML", "is not XML"),
    "page.xml": ("<html/>", "is XML of the kind <html>"),
    "time.musicxml": ("<score-timewise/>", "is timewise MusicXML"),
    "bomb.xml": (f'<!DOCTYPE x [<!ENTITY a "aaaa">]>{SCORE}', "declares XML entities"),
    "wide.xml": (f'<!DOCTYPE x [<!ENTITY a "aaaa">]>{SCORE}'.encode("utf-16"), "declares XML entities"),
    "rest.xml": (XML.format("<note><rest/><duration>1</duration></note>"), "holds no notes"),
    "odd.xml": (XML.format("<attributes><divisions>x</divisions></attributes>" + NOTE.format(1)), "cannot be understood"),
    "long.xml": (XML.format(NOTE.format(9**9)), "is damaged: its last note ends after"),
    "kit.xml": (XML.format("<note><unpitched/><duration>1</duration></note>"), "holds only drums"),
    "empty.mxl": (zipped(), "is a zip file without a score"),
    "lost.mxl": (zipped(**{"META-INF__container_xml": '<c><rootfile full-path="../../a.xml"/></c>'}), "without a score"),
    "torn.mxl": (zipped(a_xml=SCORE)[:-30], "is not XML|is damaged"),
    "none.abc": ("X:1\nT:Nothing\nK:C\n", "holds no notes"),
    "binary.abc": (b"X:1\nK:C\nCDE\0", "is not a text file"),
    "huge.abc": ("X:1\nK:C\nC" + "9" * 30, "is damaged"),
    "none.krn": ("**kern\n*-\n", "cannot be read as a score|holds no notes"),
    "notes.pdf": (b"%PDF", "has an unknown suffix"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_in_one_sentence(name, tmp_path):
    content, says = BAD[name]
    path = written(tmp_path, name, content)
    with pytest.raises(DataError, match=says) as error:
        read_piece(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_do_not_exist(tmp_path):
    (tmp_path / "folder.mid").mkdir()
    for name in ("gone.mid", "folder.mid"):
        with pytest.raises(DataError, match=f"{name} does not exist"):
            read_piece(tmp_path / name)


def test_a_score_that_unpacks_to_more_than_it_may_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.generation.reading.scores.LARGEST", 1000)
    for name, content in (("a.mxl", zipped(a_xml=SCORE + " " * 1000)), ("a.xml", SCORE + " " * 1000)):
        with pytest.raises(DataError, match="holds a score of more than"):
            read_piece(written(tmp_path, name, content))


def test_damaged_bytes_raise_nothing_but_dataerror(tmp_path):
    random = np.random.default_rng(0)
    tune = 'X:1\nM:3/4\nL:1/8\nQ:1/4=90\nK:Gm\n"Gm"(3GAB c2>d2|[GB]4-[GB]2|\n'
    sources = {".mid": midi(METRE + b"\3\2\x18\x08", played((60, 96), (62, 48))), ".xml": SCORE.encode(), ".abc": tune.encode()}
    read = 0
    for ending, source in sources.items():
        for _ in range(70):
            data = bytearray(source)
            data[int(random.integers(len(data)))] = int(random.integers(256))
            try:
                piece = read_piece(written(tmp_path, f"x{ending}", bytes(data)))
            except DataError:
                continue
            read += 1
            assert (piece.notes[:, DURATION] > 0).all()
            assert piece.bar > 0
            assert piece.length >= (piece.notes[:, ONSET].astype(int) + piece.notes[:, DURATION]).max()
    assert read > 50
