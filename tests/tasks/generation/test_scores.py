"""MusicXML and other scores as pieces, and what music21 finds in them."""

from fractions import Fraction

import pytest

from datamodules.generation.piece import DURATION, ONSET, PITCH, QUALITIES, VELOCITY
from datamodules.generation.reading import MUSIC, read_piece
from tests.helpers.music_files import written, zipped

PART = """<score-partwise version="4.0"><work><work-title>Études</work-title></work>
<identification><creator type="composer">N. N.</creator></identification>
<part-list><score-part id="P1"><part-name>Clarinet</part-name><midi-instrument id="I"><midi-program>72</midi-program>
</midi-instrument></score-part></part-list><part id="P1">
<measure number="0" implicit="yes"><attributes><divisions>4</divisions><key><fifths>1</fifths><mode>minor</mode></key>
<time><beats>3</beats><beat-type>4</beat-type></time><transpose><chromatic>-2</chromatic></transpose></attributes>
<direction><direction-type><metronome><beat-unit>quarter</beat-unit><beat-unit-dot/><per-minute>60</per-minute></metronome>
</direction-type></direction>
<note><grace/><pitch><step>C</step><octave>5</octave></pitch></note>
<note dynamics="100"><pitch><step>D</step><octave>5</octave></pitch><duration>4</duration><tie type="start"/></note></measure>
<measure number="1"><harmony><root><root-step>E</root-step></root><kind>minor-seventh</kind></harmony>
<note><pitch><step>D</step><octave>5</octave></pitch><duration>4</duration><tie type="stop"/></note>
<note><pitch><step>F</step><alter>1</alter><octave>5</octave></pitch><duration>8</duration>
<notations><fermata/></notations></note>
<note><chord/><pitch><step>A</step><octave>5</octave></pitch><duration>8</duration></note>
<backup><duration>12</duration></backup>
<forward><duration>4</duration></forward>
<note><pitch><step>E</step><octave>4</octave></pitch><duration>8</duration><voice>2</voice></note>
<barline><repeat direction="backward"/></barline></measure>
<measure number="2"><attributes><time><beats>2</beats><beat-type>4</beat-type></time></attributes>
<direction><offset>2</offset><sound tempo="120"/></direction>
<note><rest/><duration>8</duration></note></measure></part></score-partwise>"""


@pytest.mark.parametrize("name", ["a.musicxml", "a.xml", "a.mxl"])
def test_musicxml_is_read_as_it_sounds(name, tmp_path):
    piece = read_piece(written(tmp_path, name, zipped(a_xml=PART) if name == "a.mxl" else PART))
    assert piece.ticks == 12  # a multiple of the divisions that holds triplets
    assert piece.notes.tolist() == [
        [0, 24, 72, 90, 0],  # tied over the bar line
        [24, 24, 76, 80, 0],
        [24, 24, 79, 80, 0],
        [24, 24, 62, 80, 1],
    ]
    assert (piece.pickup, piece.length) == (12, 12 + 36 + 24)
    assert piece.metres.tolist() == [[0, 3, 4], [48, 2, 4]]
    assert piece.tempi.tolist() == [[0, 666_667], [54, 500_000]]
    assert (piece.tonic, piece.mode) == (2, "minor")  # E minor as written for a clarinet
    assert piece.fermatas.tolist() == [24]
    assert piece.chords.tolist() == [[12, 2, QUALITIES.index("minor seventh")]]
    assert (piece.title, piece.composer, piece.programs) == ("Études", "N. N.", (71, 71))


@pytest.mark.parametrize("name", ["bwv66.6", "bwv269", "bwv330"])
def test_chorales_are_as_music21_reads_them(name):
    from music21 import converter

    from datamodules.demo.music import corpus

    path = corpus() / "bach" / f"{name}.mxl"
    piece = read_piece(path)
    score = converter.parse(path, forceSource=True, storePickle=False)
    for voice, part_ in enumerate(score.parts):
        notes = part_.stripTies().flatten().notes
        expected = [(Fraction(note.offset), Fraction(note.quarterLength), note.pitch.midi) for note in notes]
        rows = piece.voice(voice)[:, :VELOCITY].tolist()
        assert [(Fraction(on, piece.ticks), Fraction(lasts, piece.ticks), pitch) for on, lasts, pitch in rows] == expected
    first = score.parts[0].getElementsByClass("Measure")[0]
    assert Fraction(piece.pickup, piece.ticks) == (first.duration.quarterLength if first.number == 0 else 0)
    notes = [note for part_ in score.parts for note in part_.flatten().notes]
    held = {Fraction(note.offset) for note in notes if any("Fermata" in one.classes for one in note.expressions)}
    assert {Fraction(int(tick), piece.ticks) for tick in piece.fermatas} == held
    assert len(held) > 3


def test_humdrum_and_mei_come_through_music21(tmp_path):
    kern = "**kern\t**kern\n*M3/4\t*M3/4\n*k[f#]\t*k[f#]\n2C\t4c\n.\t4e\n4G\t4g\n=\t=\n2.C\t2.e\n==\t==\n*-\t*-\n"
    piece = read_piece(written(tmp_path, "a.krn", kern))
    quarters = piece.notes[:, [ONSET, DURATION, PITCH]] / [piece.ticks, piece.ticks, 1]
    assert sorted(quarters.tolist()) == [[0, 1, 60], [0, 2, 48], [1, 1, 64], [2, 1, 55], [2, 1, 67], [3, 3, 48], [3, 3, 64]]
    assert piece.metres.tolist() == [[0, 3, 4]]
    assert set(MUSIC) >= {".krn", ".mei"}
