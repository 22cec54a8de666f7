"""MIDI, MusicXML, ABC and other scores as pieces, what other readers find in them, and what is said of damaged ones."""

import io
import os
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.symbolic.keys import PROFILES, find_key
from datamodules.symbolic.piece import DURATION, ONSET, PITCH, QUALITIES, VELOCITY, VOICE, Piece, in_order
from datamodules.symbolic.reading import MUSIC, read_piece, read_pieces
from datamodules.symbolic.reading.chord_symbols import read_symbol, write_symbol
from datamodules.symbolic.voices import monophonic, part
from datamodules.symbolic.writing.midi import midi_bytes


def written(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def midi(*tracks: bytes, ticks: int = 480, kind: int = 1) -> bytes:
    """A MIDI file of tracks, each without its end."""
    number = len(tracks).to_bytes(2, "big")
    chunks = [b"MTrk" + (len(track) + 4).to_bytes(4, "big") + track + b"\0\xff\x2f\0" for track in tracks]
    return b"MThd\0\0\0\6" + kind.to_bytes(2, "big") + number + ticks.to_bytes(2, "big") + b"".join(chunks)


def played(*notes: tuple[int, int], channel: int = 0) -> bytes:
    """Notes (pitch, 127 ticks at most) one after the other."""
    return b"".join(bytes((0, 0x90 | channel, pitch, 80, ticks, 0x80 | channel, pitch, 0)) for pitch, ticks in notes)


METRE = b"\0\xff\x58\4"


# Keys


def piece_of(chords: list[tuple[int, ...]]) -> Piece:
    return Piece(in_order([(at, 1, pitch, 80, 0) for at, chord in enumerate(chords) for pitch in chord]), 1, len(chords))


@pytest.mark.parametrize("tonic", range(12))
def test_scales_and_cadences_are_in_their_keys(tonic):
    major = [(60 + tonic + step,) for step in (0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2, 0)]
    minor = [(60 + tonic + step,) for step in (0, 2, 3, 5, 7, 8, 11, 12, 10, 8, 7, 5, 3, 2, 0)]
    cadence = [(0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)]
    lament = [(0, 3, 7), (5, 8, 12), (7, 11, 14), (0, 3, 7)]
    assert find_key(piece_of(major)) == (tonic, "major")
    assert find_key(piece_of(minor)) == (tonic, "minor")
    assert find_key(piece_of([tuple(48 + tonic + note for note in chord) for chord in cadence])) == (tonic, "major")
    assert find_key(piece_of([tuple(48 + tonic + note for note in chord) for chord in lament])) == (tonic, "minor")


def test_the_key_is_the_profile_that_correlates_most():
    random, alike = np.random.default_rng(0), 0
    for _ in range(60):
        rows = [(at, int(random.integers(1, 9)), int(random.integers(40, 80)), 80, 0) for at in range(25)]
        piece = Piece(in_order(rows), 4, 40)
        weights = [sum(row[1] for row in rows if row[2] % 12 == pitch) for pitch in range(12)]
        fits = {
            (tonic, mode): np.corrcoef(np.roll(profile, tonic), weights)[0, 1]
            for tonic in range(12)
            for mode, profile in zip(("major", "minor"), PROFILES, strict=True)
        }
        best = max(fits, key=fits.get)
        found = find_key(piece)
        bass = min(row[2] for row in rows if row[0] + row[1] == max(one[0] + one[1] for one in rows)) % 12
        assert found == best or (found[0] == bass and fits[found] >= fits[best] - 0.05)
        alike += found == best
    assert alike > 40


def test_one_pitch_and_no_pitch_have_a_key():
    assert find_key(piece_of([(62,)])) == (2, "major")
    assert find_key(Piece(in_order([]), 4, 0)) == (0, "major")


# What cannot be read

XML = '<score-partwise><part-list/><part id="P1"><measure number="1">{}</measure></part></score-partwise>'
NOTE = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>{}</duration></note>"
SCORE = XML.format("<attributes><divisions>1</divisions></attributes>" + NOTE.format(1))


def zipped(**members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_xml", ".xml"), text)
    return stream.getvalue()


BAD = {
    "empty.mid": (b"", r"is empty \(0 bytes\)"),
    "text.mid": (b"no music at all", "is no MIDI file: it does not begin with MThd"),
    "head.mid": (b"MThd\0\0\0\6\0\1\0", r"does not read as MIDI \(File size is less than 14\)"),
    "cut.mid": (midi(played((60, 96)))[:-9], "does not read as MIDI"),
    "smpte.mid": (midi(played((60, 96)), ticks=0xE728), "does not read as MIDI"),
    "timeless.mid": (midi(played((60, 96)), ticks=0), "counts no ticks"),
    "silent.mid": (midi(METRE + b"\4\2\x18\x08"), "holds no notes"),
    "drums.kar": (midi(played((36, 96), channel=9)), "holds only drums"),
    "endless.mid": (midi(b"\0\x90\x3c\x50\xff\xff\xff\x7f\x80\x3c\0", ticks=1), "is damaged: its last note ends after"),
    "many.mid": (midi(played((36, 96), channel=9), b"", kind=2), "holds only drums"),
    "plain.xml": (b"not XML", "is no XML"),
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
    "torn.mxl": (zipped(a_xml=SCORE)[:-30], "is no XML|is damaged"),
    "none.abc": ("X:1\nT:Nothing\nK:C\n", "holds no notes"),
    "binary.abc": (b"X:1\nK:C\nCDE\0", "is no text"),
    "huge.abc": ("X:1\nK:C\nC" + "9" * 30, "is damaged"),
    "none.krn": ("**kern\n*-\n", "cannot be read as a score|holds no notes"),
    "notes.pdf": (b"%PDF", "has none of the endings"),
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
    monkeypatch.setattr("datamodules.symbolic.reading.scores.LARGEST", 1000)
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


# MIDI


def test_one_note_is_a_piece(tmp_path):
    piece = read_piece(written(tmp_path, "one.midi", midi(played((60, 96)))))
    assert piece.notes.tolist() == [[0, 96, 60, 80, 0]]
    assert (piece.ticks, piece.length, piece.name, piece.voices) == (480, 96, "one", 1)
    assert (piece.tonic, piece.mode, piece.metres.tolist(), piece.tempi.tolist()) == (None, None, [[0, 4, 4]], [[0, 500_000]])


def test_an_irregular_metre_and_the_last_of_several_tempi_are_kept(tmp_path):
    frame = METRE + b"\7\3\x18\x08" + b"\0\xff\x51\3\x07\xa1\x20\0\xff\x51\3\x03\xd0\x90" + b"\0\xff\x59\2\xfd\1"
    piece = read_piece(written(tmp_path, "seven.mid", midi(frame, played((60, 96)), ticks=96)))
    assert piece.metres.tolist() == [[0, 7, 8]]
    assert piece.bar == 336
    assert piece.tempi.tolist() == [[0, 250_000]]
    assert (piece.tonic, piece.mode) == (0, "minor")


@pytest.mark.parametrize(("first", "at", "pickup"), [(b"\1\2", 96, 96), (b"\3\3", 0x81_10, 144), (b"\4\2", 0x83_00, 0)])
def test_a_short_first_bar_is_the_pickup(first, at, pickup, tmp_path):
    later = at.to_bytes(2, "big") if at > 127 else bytes((at,))
    frame = METRE + first + b"\x18\x08" + later + METRE[1:] + b"\4\2\x18\x08"
    piece = read_piece(written(tmp_path, "up.mid", midi(frame, played(*[(60, 96)] * 9), ticks=96)))
    assert piece.pickup == pickup
    assert piece.metres.tolist() == [[0, 4, 4]] if pickup else [[0, 4, 4], [384, 4, 4]]


def test_formats_differ_in_what_a_track_is(tmp_path):
    low, high, drums = played((50, 96)), played((70, 96), channel=1), played((36, 96), channel=9)
    for kind, tracks in ((0, (low + high + drums,)), (1, (low, high, drums))):
        piece = read_piece(written(tmp_path, "a.mid", midi(*tracks, kind=kind)))
        assert [piece.voice(number)[0, PITCH] for number in range(2)] == [70, 50]  # from high to low
        assert piece.drums[:, 2].tolist() == [36]
    pieces = read_pieces(written(tmp_path, "a.mid", midi(low, drums, high, kind=2)))
    assert [(piece.name, piece.notes[0, PITCH]) for piece in pieces] == [("a-1", 50), ("a-3", 70)]


def test_notes_are_those_of_pretty_midi(tmp_path):
    pretty_midi = pytest.importorskip("pretty_midi")
    random = np.random.default_rng(1)
    file, expected = pretty_midi.PrettyMIDI(resolution=960, initial_tempo=90), []
    for program in (0, 40):
        line = pretty_midi.Instrument(program)
        for at in range(30):
            start, end, pitch, velocity = at / 4, at / 4 + 0.25, int(random.integers(40, 80)), int(random.integers(1, 128))
            line.notes.append(pretty_midi.Note(velocity, pitch, start, end))
            ticks = file.time_to_tick(start), file.time_to_tick(end)
            expected.append((ticks[0], ticks[1] - ticks[0], pitch, velocity))
        file.instruments.append(line)
    file.write(str(tmp_path / "peer.mid"))
    piece = read_piece(tmp_path / "peer.mid")
    assert sorted(map(tuple, piece.notes[:, :VOICE].tolist())) == sorted(expected)
    assert (piece.ticks, sorted(piece.programs)) == (960, [0, 40])


def test_a_lone_track_is_parted_by_pitch(tmp_path):
    chords = b"\0\x90\x3c\x50\0\x90\x43\x50\x60\x90\x48\x50\x60\x80\x3c\0\0\x80\x43\0\0\x80\x48\0"
    piece = read_piece(written(tmp_path, "lone.mid", midi(chords)))
    # C4 and G4 together, then C5 above both while they are held: it is in the first voice that is free.
    assert piece.notes[:, [ONSET, PITCH, VOICE]].tolist() == [[0, 67, 0], [0, 60, 1], [96, 72, 2]]
    random = np.random.default_rng(2)
    rows = [(int(random.integers(200)), int(random.integers(1, 40)), int(random.integers(30, 90)), 80, 0) for _ in range(150)]
    parted = part(np.array(rows))
    assert sorted(parted[:, :VOICE].tolist()) == sorted([list(row[:VOICE]) for row in rows])
    for voice in range(parted[:, VOICE].max() + 1):
        one = parted[parted[:, VOICE] == voice]
        assert (one[1:, ONSET] >= one[:-1, ONSET] + one[:-1, DURATION]).all()


def test_a_melody_played_legato_is_one_voice(tmp_path):
    legato = b"\0\x90\x3c\x50\x60\x90\x40\x50\x04\x80\x3c\0\x5c\x90\x3e\x50\x04\x80\x40\0\x60\x80\x3e\0"
    piece = read_piece(written(tmp_path, "legato.mid", midi(legato, ticks=96)))
    assert piece.voices == 1
    assert piece.notes[:, DURATION].tolist() == [100, 100, 100]
    assert not monophonic(piece.notes)
    assert monophonic(piece.notes, slack=4)


# MusicXML

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


# ABC

TUNES = """%abc-2.1
X:1
T:The First
R:jig
M:6/8
L:1/8
Q:3/8=120
K:Ador
E|"Am7"A2B c>d^g|"G/B"{g}(3efg !fermata!f3 "^slow"z2:|
K:D
[1 f-|f2 [fa]2- [fa]2 |[M:2/4][L:1/4] c _B|]

X:2
T:Two Voices
M:C|
K:Bb
V:1
B4 d4|e8-|e8|
V:2
E,,4 F,4|=E,8|Z|
"""


def test_abc_is_read_with_chords_ties_and_changes(tmp_path):
    first, second = read_pieces(written(tmp_path, "tunes.abc", TUNES))
    rows = (first.notes[:, [ONSET, DURATION, PITCH]] / [first.ticks, first.ticks, 1]).round(3).tolist()
    assert rows == [
        [0, 0.5, 64],
        [0.5, 1, 69],
        [1.5, 0.5, 71],
        [2, 0.75, 72],
        [2.75, 0.25, 74],
        [3, 0.5, 80],
        [3.5, 0.333, 76],
        [3.833, 0.333, 78],
        [4.167, 0.333, 79],  # natural again after the bar line
        [4.5, 1.5, 78],
        [7, 1.5, 78],  # tied
        [8.5, 2, 78],
        [8.5, 2, 81],
        [10.5, 1, 73],
        [11.5, 1, 70],
    ]
    assert (first.name, first.title, first.kind, first.tonic, first.mode) == ("tunes-1", "The First", "jig", 9, "minor")
    assert first.pickup == first.ticks // 2
    assert first.metres.tolist() == [[0, 6, 8], [int(10.5 * first.ticks), 2, 4]]
    assert first.tempi.tolist() == [[0, 333_333]]
    assert first.fermatas.tolist() == [int(4.5 * first.ticks)]
    seventh, major = QUALITIES.index("minor seventh"), QUALITIES.index("major")
    assert first.chords.tolist() == [[first.ticks // 2, 9, seventh], [int(3.5 * first.ticks), 7, major]]
    assert second.voice(0)[:, [DURATION, PITCH]].tolist() == [[24, 70], [24, 74], [96, 75]]
    assert second.voice(1)[:, [DURATION, PITCH]].tolist() == [[24, 39], [24, 53], [48, 52]]
    assert (second.metres.tolist(), second.tonic, second.mode) == ([[0, 2, 2]], 10, "major")
    assert read_piece(tmp_path / "tunes.abc").name == "tunes-1"


@pytest.mark.parametrize("name", ["AdmiralsHornpipe", "BillyTheBarberShavedHisFatherJig", "BirminghamHornpipe"])
def test_tunes_are_as_music21_reads_them(name):  # which forgets accidentals inside a bar: these have none twice
    from music21 import converter

    from datamodules.demo.music import corpus

    path = corpus() / "ryansMammoth" / f"{name}.abc"
    piece = read_piece(path)
    notes = converter.parse(path, forceSource=True, storePickle=False).parts[0].stripTies().flatten().notes
    expected = [(Fraction(note.quarterLength), note.pitch.midi) for note in notes]
    assert [(Fraction(lasts, piece.ticks), pitch) for lasts, pitch in piece.notes[:, [DURATION, PITCH]].tolist()] == expected


@pytest.mark.parametrize(
    ("text", "root", "quality"),
    [
        ("C", 0, "major"),
        ("Am7", 9, "minor seventh"),
        ("Bb", 10, "major"),
        ("F#dim", 6, "diminished"),
        ("G7/B", 7, "dominant"),
        ("D/f+", 2, "major"),
        ("Gm/d", 7, "minor"),
        ("E♭maj7", 3, "major seventh"),
        ("CM7", 0, "major seventh"),
        ("Bm7b5", 11, "diminished"),
        ("Caug", 0, "augmented"),
        ("D7b9", 2, "dominant"),
        ("Asus4", 9, "other"),
        ("Dm6", 2, "minor"),
        ("Fadd9", 5, "major"),
    ],
)
def test_chord_symbols_are_read(text, root, quality):
    assert read_symbol(text) == (root, QUALITIES.index(quality))


def test_words_are_no_chord_symbols_and_written_ones_are_read():
    for word in ("Fine", "D.C.", "slow", "Adagio", "N.C.", "", "4", "Capo 2"):
        assert read_symbol(word) is None
    for root in range(12):
        for quality in range(len(QUALITIES)):
            assert read_symbol(write_symbol(root, quality)) == (root, quality)


REAL = Path(os.environ.get("QUINTET_DATA", ""), "generation")


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="QUINTET_DATA names no folder with generation/")
def test_nottingham_and_pop909_are_read(tmp_path):
    tunes = [piece for path in sorted((REAL / "nottingham_abc").glob("*.abc")) for piece in read_pieces(path)]
    assert len(tunes) == 1034
    assert sum(len(piece.chords) > 0 for piece in tunes) > 1000
    for path in sorted((REAL / "pop909").glob("*.mid"))[:20]:
        song = read_piece(path)
        assert song.voices == 3
        again = read_piece(written(tmp_path, path.name, midi_bytes(song)))
        assert np.array_equal(again.tempi, song.tempi)
        assert len(again.notes) == len(song.notes)
