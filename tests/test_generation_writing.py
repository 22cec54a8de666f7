"""Pieces as MIDI, MusicXML, ABC and sound: what other readers find in them, and that ours finds the same piece."""

import importlib.util
import io
import sys
import warnings
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.symbolic.keys import fifths_of
from datamodules.symbolic.piece import DURATION, ONSET, PITCH, Piece, in_order, same
from datamodules.symbolic.reading import read_piece
from datamodules.symbolic.writing.abc import abc_text
from datamodules.symbolic.writing.layers import bars, layers
from datamodules.symbolic.writing.midi import midi_bytes
from datamodules.symbolic.writing.musicxml import musicxml_bytes
from datamodules.symbolic.writing.preview import preview
from datamodules.symbolic.writing.spelling import Spelling
from datamodules.symbolic.writing.values import Values

TICKS = (480, 960, 24, 12)


def busy_piece(seed: int, ticks: int = 480, voices: int = 3, together: bool = False, triplets: bool = False) -> Piece:
    """Random notes, with all that a piece may hold but drums; together: voices that sound several notes at once."""
    random = np.random.default_rng(seed)
    step, rows = ticks // (12 if triplets else 4), []
    for voice in range(voices):
        now = int(random.integers(3)) * step
        while now < 10 * ticks:
            lasts = int(random.integers(1, 9)) * step
            for pitch in random.choice(np.arange(40, 90), random.integers(0, 4 if together else 2), replace=False):
                shorter = int(random.integers(2)) * step if together and lasts > step else 0
                rows.append((now, lasts - shorter, pitch, random.integers(1, 128), voice))
            now += lasts
        rows.append((now, step, 60, 80, voice))
    notes, pickup = in_order(rows), int(random.choice([0, ticks // 4, ticks, 3 * ticks // 2]))
    changes = [[0, 3, 4], [pickup + 6 * ticks, 4, 4]] if seed % 2 else [[0, 4, 4]]
    tempi = [[0, int(random.integers(200_000, 1_500_000))], [4 * ticks + step, 400_000]]
    return Piece(
        notes,
        ticks,
        int((notes[:, ONSET] + notes[:, DURATION]).max()) + int(random.integers(3)) * step,
        pickup=pickup,
        metres=np.array(changes, np.int32),
        tempi=np.array(tempi[: 1 + seed % 3], np.int32),
        tonic=int(random.integers(12)),
        mode=("major", "minor")[seed % 2],
        fermatas=np.unique(notes[::5, ONSET]),
        chords=np.array([[0, 1, 2], [2 * ticks, 10, 7], [5 * ticks + step, 6, 5]], np.int32),
        programs=tuple(range(10, 10 + voices)),
    )


CASES = [(seed, ticks, 1 + seed % 4, seed % 3 == 0, seed % 2 == 1) for seed, ticks in enumerate(TICKS * 3)]
"""Seed, ticks, voices, together, triplets."""


def back(data: bytes, ending: str, folder: Path) -> Piece:
    path = folder / f"piece{ending}"
    path.write_bytes(data)
    return read_piece(path)


@pytest.mark.parametrize("case", CASES)
def test_a_midi_file_is_read_as_the_same_piece(case, tmp_path):
    piece = busy_piece(*case)
    piece = replace(piece, drums=np.array([[0, 5, 36, 90], [piece.ticks, 5, 42, 70]], np.int32))
    found = back(midi_bytes(piece), ".mid", tmp_path)
    assert same(found, piece)
    assert found.programs == piece.programs


@pytest.mark.parametrize("pickup", [1, 7, 160, 240, 480, 700, 1919])
def test_any_pickup_survives_midi(pickup, tmp_path):
    piece = Piece(in_order([(0, 480, 60, 80, 0), (1920, 960, 62, 80, 0)]), 480, 2880, pickup=pickup)
    assert same(back(midi_bytes(piece), ".mid", tmp_path), piece)


def test_other_readers_find_notes_tempi_metres_and_the_end_in_midi():
    mido, pretty_midi = pytest.importorskip("mido"), pytest.importorskip("pretty_midi")
    piece = replace(busy_piece(5, 480, 4), pickup=720, metres=np.array([[0, 4, 4]], np.int32))
    data = midi_bytes(piece)
    assert data == midi_bytes(piece)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert [sum(message.time for message in track) for track in file.tracks] == [piece.length] * 5
    metres = [(event.numerator, event.denominator) for event in file.tracks[0] if event.type == "time_signature"]
    assert metres == [(3, 8), (4, 4)]
    peer = pretty_midi.PrettyMIDI(io.BytesIO(data))
    tick = peer.time_to_tick
    found = sorted((tick(n.start), tick(n.end), n.pitch, n.velocity) for line in peer.instruments for n in line.notes)
    assert found == sorted((on, on + lasts, pitch, velocity) for on, lasts, pitch, velocity, _ in piece.notes.tolist())
    assert peer.get_tempo_changes()[1] == pytest.approx(60e6 / piece.tempi[:, 1])
    assert [line.program for line in peer.instruments] == [10, 11, 12, 13]
    assert [line.name for line in peer.instruments] == ["Soprano", "Alto", "Tenor", "Bass"]


def test_repeated_notes_that_overlap_are_cut_where_they_begin_again(tmp_path):
    piece = Piece(in_order([(0, 960, 60, 80, 0), (480, 960, 60, 80, 0), (0, 1440, 64, 80, 1)]), 480, 1440)
    found = back(midi_bytes(piece), ".mid", tmp_path)
    assert found.voice(0)[:, :2].tolist() == [[0, 480], [480, 960]]
    assert found.voice(1)[:, :2].tolist() == [[0, 1440]]


@pytest.mark.parametrize("case", CASES)
def test_musicxml_is_read_as_the_same_piece(case, tmp_path):
    piece = busy_piece(*case)
    found = back(musicxml_bytes(piece), ".musicxml", tmp_path)
    assert same(found, piece)
    assert found.programs == piece.programs


def test_names_and_a_missing_key_survive_musicxml(tmp_path):
    piece = replace(busy_piece(2), title="<Air> & \x0b dance", composer="Ä. B.", tonic=None, mode=None)
    found = back(musicxml_bytes(piece), ".xml", tmp_path)
    assert same(found, piece)
    assert (found.title, found.composer) == ("<Air> &  dance", "Ä. B.")


def sounding(piece: Piece) -> Counter:
    """Onset and duration in quarter notes, and pitch."""
    rows = piece.notes[:, :3].tolist()
    return Counter((Fraction(on, piece.ticks), Fraction(lasts, piece.ticks), pitch) for on, lasts, pitch in rows)


@pytest.mark.parametrize("case", [(1, 480, 4, False, False), (3, 960, 2, False, True), (6, 480, 1, True, False)])
def test_music21_finds_the_same_notes_in_musicxml(case):
    from music21 import converter

    piece = busy_piece(*case)
    score = converter.parseData(musicxml_bytes(piece).decode(), format="musicxml")
    found = Counter()
    for part in score.parts:
        # By hand: stripTies loses the first of three tied notes now and then.
        tied: dict[int, list] = {}
        rows = []
        for note in part.flatten().notes:
            if "ChordSymbol" in note.classes:
                continue
            for one in note.notes if note.isChord else [note]:
                row = tied.pop(one.pitch.midi, None) if one.tie and one.tie.type in ("stop", "continue") else None
                if row is None:
                    row = [Fraction(note.offset), Fraction(0), one.pitch.midi]
                    rows.append(row)
                row[1] += Fraction(note.quarterLength)
                if one.tie and one.tie.type in ("start", "continue"):
                    tied[one.pitch.midi] = row
        found += Counter(map(tuple, rows))
    assert found == sounding(piece)
    assert score.parts[0].measure(0 if piece.pickup else 1).duration.quarterLength == Fraction(
        piece.pickup or 3 * piece.ticks, piece.ticks
    )
    assert len(score.parts[0].flatten().getElementsByClass("ChordSymbol")) == 3


@pytest.mark.parametrize("case", [(3, 960, 2, False, True), (6, 480, 1, True, False), (9, 24, 2, True, True)])
def test_partitura_finds_the_same_notes_in_musicxml(case, tmp_path):
    pytest.importorskip("lxml")
    sys.modules.setdefault("fluidsynth", None)  # where it is installed, partitura fetches a SoundFont
    partitura = pytest.importorskip("partitura")
    piece, path = busy_piece(*case), tmp_path / "piece.musicxml"
    path.write_bytes(musicxml_bytes(piece))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = partitura.load_musicxml(str(path)).parts
    found = Counter()
    for part in parts:
        start = part.first_point.t
        for note in part.notes_tied:
            ends = note.start.t - start, note.duration_tied, int(note.midi_pitch)
            found[Fraction(ends[0], piece.ticks), Fraction(ends[1], piece.ticks), ends[2]] += 1
    assert found == sounding(piece)


def test_musicxml_is_valid():
    etree, partitura = pytest.importorskip("lxml.etree"), importlib.util.find_spec("partitura")
    if partitura is None:
        pytest.skip("the schema lies in partitura")
    schema = Path(partitura.origin).parent / "assets" / "musicxml.xsd"
    xlink = "".join(f'<xs:attribute name="{name}"/>' for name in ("href", "type", "role", "title", "show", "actuate"))
    xml = '<xs:attribute name="lang"/><xs:attribute name="space"/>'
    imported = {"/xlink.xsd": ("1999/xlink", xlink), "/xml.xsd": ("XML/1998/namespace", xml)}

    class Offline(etree.Resolver):
        def resolve(self, url, public_id, context):
            for ending, (space, attributes) in imported.items():
                if url.endswith(ending):
                    head = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="http://www.w3.org/{space}">'
                    return self.resolve_string(f"{head}{attributes}</xs:schema>", context)
            return None

    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(Offline())
    valid = etree.XMLSchema(etree.parse(str(schema), parser))
    for case in CASES[:6]:
        valid.assertValid(etree.fromstring(musicxml_bytes(replace(busy_piece(*case), title="A", composer="B"))))
    broken = musicxml_bytes(busy_piece(1)).replace(b"<fifths>", b"<wrong/><fifths>")
    assert not valid.validate(etree.fromstring(broken))


def test_clefs_suit_the_four_voices():
    lines = ((72, 79), (62, 69), (53, 66), (43, 55))
    rows = [(at, 1, pitch, 80, voice) for voice, line in enumerate(lines) for at, pitch in enumerate(line)]
    piece = Piece(in_order(rows), 1, 2)
    clefs = fromstring(musicxml_bytes(piece)).findall("part/measure/attributes/clef")
    assert [(clef.findtext("sign"), clef.findtext("clef-octave-change")) for clef in clefs] == [
        ("G", None),
        ("G", None),
        ("G", "-1"),
        ("F", None),
    ]


def test_pitches_are_spelled_in_their_key():
    def names(tonic, mode, pitches):
        return [f"{step}{'#' * alter}{'b' * -alter}{octave}" for step, alter, octave in map(Spelling(tonic, mode).name, pitches)]

    assert names(7, "minor", (55, 58, 63, 66, 61)) == ["G3", "Bb3", "Eb4", "F#4", "C#4"]
    assert names(9, "major", (61, 66, 68, 63)) == ["C#4", "F#4", "G#4", "D#4"]
    assert names(8, "major", (60, 61, 66, 71)) == ["C4", "Db4", "Gb4", "Cb5"]
    assert names(1, "minor", (60, 63)) == ["B#3", "D#4"]
    for tonic in range(12):
        for mode in ("major", "minor"):
            spelling = Spelling(tonic, mode)
            for pitch in range(21, 109):
                step, alter, octave = spelling.name(pitch)
                assert 12 * (octave + 1) + "C D EF G A B".index(step) + alter == pitch
                assert abs(alter) < 2
            scale = (0, 2, 4, 5, 7, 9, 11) if mode == "major" else (0, 2, 3, 5, 7, 8, 10)
            for degree in scale:  # no note of the scale needs an accidental
                step, alter, _ = spelling.name(60 + tonic + degree)
                assert alter == spelling.signature(step)


def test_signatures_are_music21s():
    from music21.key import Key

    for mode, names in (("major", "CDEFGAB"), ("minor", "cdefgab")):
        for name in (letter + accidental for letter in names for accidental in ("", "#", "-")):
            key = Key(name)
            ours = fifths_of(key.tonic.pitchClass, mode)
            assert -5 <= ours <= 6
            assert (ours - key.sharps) % 12 == 0  # F# or Gb


@pytest.mark.parametrize("ticks", [480, 24, 7])
def test_values_last_as_long_as_what_they_stand_for(ticks):
    values = Values(ticks)
    for start in range(0, 2 * ticks, max(1, ticks // 12)):
        for duration in range(1, 4 * ticks, max(1, ticks // 24)):
            assert sum(value.ticks for value in values.split(start, duration, ticks)) == duration


def test_durations_look_as_an_engraver_writes_them():
    def shown(start, duration):
        return [(value.kind, value.dots, value.tuplet) for value in Values(480).split(start, duration, 480)]

    assert shown(0, 720) == [("quarter", 1, None)]
    assert shown(240, 480) == [("quarter", 0, None)]  # a syncopation stays one note
    assert shown(360, 600) == [("16th", 0, None), ("quarter", 0, None)]
    assert shown(0, 160) == [("eighth", 0, (3, 2))]
    assert shown(160, 800) == [("quarter", 0, (3, 2)), ("quarter", 0, None)]
    assert shown(0, 96) == [("16th", 0, (5, 4))]
    assert shown(0, 2400) == [("whole", 0, None), ("quarter", 0, None)]


def test_bars_and_layers_of_a_voice():
    piece = Piece(in_order([(0, 480, 60, 80, 0), (0, 480, 64, 80, 0), (0, 960, 67, 80, 0)]), 480, 4000, pickup=480)
    assert [(bar.start, bar.end) for bar in bars(piece)] == [(0, 480), (480, 2400), (2400, 4000)]
    assert [[len(sound.notes) for sound in layer] for layer in layers(piece.notes)] == [[1], [2]]


@pytest.mark.parametrize("case", [(seed, ticks, 1, False, triplets) for seed, ticks, _, _, triplets in CASES])
def test_abc_is_read_as_the_same_melody(case, tmp_path):
    piece = busy_piece(*case)
    if case[0] % 3 == 0:
        piece = replace(piece, tonic=None, mode=None)
    found = back(abc_text(piece).encode(), ".abc", tmp_path)
    ticks = np.lcm(found.ticks, piece.ticks)
    piece = piece.at(ticks)
    expected = piece.with_notes([[*row[:3], 80, 0] for row in piece.notes.tolist()])
    assert same(replace(found.at(ticks), tempi=piece.tempi), expected)


def test_music21_reads_our_abc():
    from music21 import converter

    piece = replace(busy_piece(4, 480, 1), chords=np.zeros((0, 3), np.int32), fermatas=np.zeros(0, np.int32))
    part = converter.parseData(abc_text(piece), format="abc").parts[0]
    begun = [note for note in part.flatten().notes if not note.tie or note.tie.type == "start"]
    found = [(Fraction(note.offset), note.pitch.midi) for note in begun]
    first = found[0][0] - Fraction(int(piece.notes[0, ONSET]), piece.ticks)
    assert [(onset - first, pitch) for onset, pitch in found] == [
        (Fraction(on, piece.ticks), pitch) for on, pitch in piece.notes[:, [ONSET, PITCH]].tolist()
    ]


def test_a_preview_follows_the_tempi_and_stays_within_full_scale():
    notes = in_order([(0, 240, 72, 127, 0), (960, 240, 72, 127, 0), (1920, 240, 72, 127, 0)])
    piece = Piece(notes, 480, 2880, tempi=np.array([[0, 250_000], [960, 1_000_000]], np.int32), programs=(11,))
    sound = preview(piece, 44_100)
    assert sound.dtype == np.float32 and sound.shape[1] == 2
    assert len(sound) == pytest.approx(44_100 * (0.5 + 4 + 1), abs=2)  # two beats at 240, four at 60, and the tail
    loud = np.abs(sound).max(1)
    for onset in (0.0, 0.5, 2.5):
        place = round(onset * 44_100)
        assert loud[place : place + 4410].max() > 2 * loud[max(0, place - 4410) : place].max(initial=0)
    cluster = in_order([(0, 960, pitch, 127, 0) for pitch in range(40, 80)])
    assert np.abs(preview(Piece(cluster, 480, 960))).max() == pytest.approx(1.0, abs=1e-6)
    assert not np.abs(preview(Piece(in_order([]), 480, 480))).any()


def test_a_preview_that_cannot_be_made_says_why(monkeypatch):
    piece = busy_piece(1)
    with pytest.raises(DataError, match="minutes: a preview has at most 60"):
        preview(replace(piece, length=480 * 10_000))

    def broken(*_):
        raise RuntimeError("no such program")

    monkeypatch.setattr("datamodules.symbolic.writing.preview.render", broken)
    with pytest.raises(DataError, match=r"cannot be rendered \(no such program\)"):
        preview(piece)


def test_a_piece_without_notes_is_written(tmp_path):
    blank = Piece(in_order([]), 480, 1920)
    assert b"MTrk" in midi_bytes(blank)
    assert b'<rest measure="yes" />' in musicxml_bytes(blank)
    assert "z8" in abc_text(blank)
    with pytest.raises(DataError, match="no notes"):
        back(midi_bytes(blank), ".mid", tmp_path)
