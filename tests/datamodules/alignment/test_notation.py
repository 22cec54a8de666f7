"""What scores say beyond pitch and duration: transposing instruments, jumps, where a note is written and what is sung to it."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.alignment.reading import read_score, unfoldings
from datamodules.alignment.score import Origin, Score, notes_of
from datamodules.generation.reading import read_piece
from tasks.alignment.output_tables import bar_rows, note_rows
from tests.helpers.known_alignments import played_through
from tests.helpers.score_layouts import attributes, musicxml, note, waltz, write_text

CASES = Path(__file__).parents[2] / "cases" / "alignment"
FIRST = [72, 74, 76, 77]

pytest.importorskip("partitura")


def pitches(path: Path) -> list[int]:
    return read_score(path).notes.pitch.tolist()


def transpose(chromatic: int, octaves: int = 0, staff: str = "") -> str:
    number = f' number="{staff}"' if staff else ""
    change = f"<octave-change>{octaves}</octave-change>" if octaves else ""
    semitones = f"<diatonic>0</diatonic><chromatic>{chromatic}</chromatic>"
    return f"<attributes><transpose{number}>{semitones}{change}</transpose></attributes>"


def test_transposing_parts_stand_at_sounding_pitch():
    assert pitches(CASES / "transposing.musicxml") == [pitch for pitch in 2 * FIRST for _ in range(2)]
    assert pitches(CASES / "bass.musicxml") == [36, 38, 40, 41]


def test_a_transposition_holds_until_the_next(tmp_path):
    """A player changes instrument: clarinet in B flat, in A, then at concert pitch."""
    tied = note(2, 3.0, "", '<tie type="start"/>'), note(2, 3.0, "", '<tie type="stop"/>')
    bars = (attributes() + transpose(-2) + note(0, 3.0), transpose(-3, 1) + note(1, 3.0), *tied, transpose(0) + note(6, 3.0))
    score = read_score(write_text(tmp_path / "a.musicxml", musicxml(*bars)))
    assert score.notes.pitch.tolist() == [58, 71, 73, 71]
    assert (score.notes.offset - score.notes.onset).tolist() == [1.5, 1.5, 3.0, 1.5], "a tie holds at sounding pitch"


def test_a_staff_may_be_transposed_alone(tmp_path):
    back = "<backup><duration>36</duration></backup>"
    upper, lower = (note(0, 3.0).replace("</voice>", f"</voice><staff>{staff}</staff>") for staff in (1, 2))
    bar = attributes() + transpose(-2, 0, "2") + upper + back + lower
    path = write_text(tmp_path / "a.musicxml", musicxml(bar))
    assert pitches(path) == [58, 60]
    assert sorted(read_piece(path).notes[:, 2].tolist()) == [58, 60]


def test_the_readers_of_both_tasks_hear_the_same():
    for path in sorted(CASES.glob("*.*")):
        if path.stem in ("transposing", "bass", "kernA", "lied", "orn", "words", "perc", "rests"):
            assert sorted(read_piece(path).notes[:, 2].tolist()) == sorted(pitches(path)), path.name


MEI = """<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="4.0.1"><music><body><mdiv><score>
<scoreDef><staffGrp>
<staffDef xml:id="s1" n="1" lines="5" clef.shape="G" clef.line="2" meter.count="2" meter.unit="4"/>
<staffDef xml:id="s2" n="2" lines="5" clef.shape="G" clef.line="2" meter.count="2" meter.unit="4" {}/>
</staffGrp></scoreDef><section><measure xml:id="m1" n="1">
<staff n="1"><layer n="1"><note xml:id="a" pname="c" oct="5" dur="2"><verse n="1"><syl con="d">lie</syl></verse></note>
</layer></staff>
<staff n="2"><layer n="1"><note xml:id="b" pname="d" oct="5" dur="4"/><note xml:id="c" pname="f" oct="5" dur="4">
<accid accid="s"/></note></layer></staff></measure></section></score></mdiv></body></music></mei>"""


@pytest.mark.parametrize(("attribute", "wanted"), [('trans.diat="-1" trans.semi="-2"', [72, 72, 76]), ("", [72, 74, 78])])
def test_mei_says_how_a_staff_sounds(tmp_path, attribute, wanted):
    score = read_score(write_text(tmp_path / "a.mei", MEI.format(attribute)))
    assert sorted(score.notes.pitch.tolist()) == wanted
    assert sorted(score.ids) == ["a", "b", "c"]
    assert score.origins[score.ids.index("a")].lyric == "lie-"


def test_humdrum_is_encoded_as_it_sounds():
    """`*ITrd2c3` says how to write the part of a clarinet in A, not how it sounds."""
    assert pitches(CASES / "kernA.krn") == [68, 70, 72, 73, 77]


def bars_of(score: Score) -> list[int]:
    """The first pitch of each bar."""
    return [int(score.notes.pitch[np.searchsorted(score.notes.onset, bar - 1e-6)]) for bar in score.bars]


def test_repeats_are_played_as_their_endings_say():
    ways = dict(unfoldings(CASES / "volta.musicxml"))
    assert bars_of(ways["all repeats"]) == [72, 60, 72, 60, 72, 67]
    assert bars_of(ways["no repeats"]) == [72, 67]


def test_fine_at_the_head_of_a_measure_is_its_end():
    assert bars_of(read_score(CASES / "dc.musicxml")) == [72, 60, 84, 72, 60]


def sound(**marks: str) -> str:
    return "<direction><direction-type><words>x</words></direction-type><sound {}/></direction>".format(
        " ".join(f'{name}="{value}"' for name, value in marks.items())
    )


def sign(name: str) -> str:
    return f"<direction><direction-type><{name}/></direction-type></direction>"


def words(text: str) -> str:
    return f"<direction><direction-type><words>{text}</words></direction-type></direction>"


DAL_SEGNO_AL_CODA = ["n1a", "n2a", "n3a", "n4a", "n2a", "n3a", "n5a"]


@pytest.mark.parametrize(
    "marks",
    [
        (sound(segno="segno"), sound(tocoda="coda"), sound(dalsegno="segno"), sound(coda="coda")),
        (sound(segno="S1"), sound(tocoda="codab"), sound(dalsegno="S1"), sound(coda="codab")),  # labels of the file's own
        ('<sound segno="1"/>', '<sound tocoda="1"/>', '<sound dalsegno="1"/>', '<sound coda="1"/>'),  # without a direction
        (sign("segno"), sign("coda"), words("D.S. al Coda"), sign("coda")),  # nothing for the ear
        (sign("segno"), words("To Coda"), words("Dal Segno al Coda"), words("Coda")),
    ],
)
@pytest.mark.parametrize("at_head", [False, True])
def test_dal_segno_al_coda_in_every_form(tmp_path, marks, at_head):
    segno, to_coda, dal_segno, coda = marks
    one, two, three, four, five = waltz(5)
    three, four = (mark + bar if at_head else bar + mark for bar, mark in ((three, to_coda), (four, dal_segno)))
    path = write_text(tmp_path / "a.musicxml", musicxml(one, segno + two, three, four, coda + five))
    score = read_score(path)
    assert [name.split("-")[0] for name in score.ids[::3]] == DAL_SEGNO_AL_CODA


def test_a_note_is_found_in_its_part_by_its_syllable():
    rows = note_rows(played_through(read_score(CASES / "lied.musicxml")))
    voice = [row for row in rows if row["part"] == "Voice"]
    assert [(row["pitch"], row["lyric"]) for row in voice] == list(zip(FIRST, ("Ah", "du", "lie", "ber"), strict=True))
    others = {(row["part"], row["staff"], row["voice"], row["lyric"]) for row in rows if row not in voice}
    assert others == {("Piano", "1", "1", "")}
    assert [row["id"] for row in rows] == [str(place) for place in range(1, 9)]
    rows = bar_rows(played_through(read_score(CASES / "volta.musicxml")))
    assert [row["bar"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [(row["measure"], row["pass"]) for row in rows] == [("1", 1), ("2", 1), ("1", 2), ("2", 2), ("1", 3), ("3", 1)]


def lyric(verse: int, text: str, syllabic: str = "single") -> str:
    return f'<lyric number="{verse}"><syllabic>{syllabic}</syllabic><text>{text}</text></lyric>'


def test_each_time_through_sings_its_verse(tmp_path):
    bars = (attributes() + note(0, 3.0, "a", lyric(2, "two") + lyric(1, "one", "begin")), note(1, 3.0, "b", lyric(1, "both")))
    again = '<barline location="right"><repeat direction="backward"/></barline>'
    score = read_score(write_text(tmp_path / "a.musicxml", musicxml(bars[0], bars[1] + again)))
    assert [origin.lyric for origin in score.origins] == ["one-", "both", "two", "both"]
    assert score.ids == ("a-1", "b-1", "a-2", "b-2")


def test_parts_of_one_name_are_told_apart(tmp_path):
    text = (CASES / "lied.musicxml").read_text().replace("Voice", "Piano")
    score = read_score(write_text(tmp_path / "a.musicxml", text))
    assert {origin.part for origin in score.origins} == {"Piano (P1)", "Piano (P2)"}


def test_midi_names_tracks_and_sings(tmp_path):
    import pretty_midi

    midi = pretty_midi.PrettyMIDI()
    for name, pitch in (("Soprano", 72), ("Alto", 64)):
        midi.instruments.append(pretty_midi.Instrument(0, name=name))
        midi.instruments[-1].notes += [pretty_midi.Note(80, pitch, at, at + 0.4) for at in (0.0, 0.5)]
    midi.write(str(tmp_path / "a.mid"))
    assert read_score(tmp_path / "a.mid").origins == (Origin("Alto"), Origin("Soprano")) * 2
    whole = (tmp_path / "a.mid").read_bytes()
    first, second = (b"\x00\xff\x05" + bytes([len(text)]) + text for text in (b"\\la-", "\xe4h".encode("latin-1")))
    track = b"\x00\xff\x03\x05Voice" + first + b"\x00\x90\x48\x40\x60\x48\x00" + second + b"\x00\x90\x4a\x40\x60\x4a\x00"
    track += b"\x00\xff\x2f\x00"
    end = 14 + 8 + int.from_bytes(whole[18:22], "big")  # behind the track of tempi
    head = whole[:8] + b"\x00\x01\x00\x02" + whole[12:end]  # two tracks
    (tmp_path / "b.mid").write_bytes(head + b"MTrk" + len(track).to_bytes(4, "big") + track)
    assert read_score(tmp_path / "b.mid").origins == (Origin("Voice", lyric="la-"), Origin("Voice", lyric="\xe4h"))


def test_a_score_made_by_hand_has_empty_cells():
    score = Score(notes_of([0.0, 1.0], [1.0, 2.0], [60, 62]), np.arange(3.0), np.array([0.0]), "x.mid")
    assert [(row["id"], row["part"], row["lyric"]) for row in note_rows(played_through(score))] == [("1", "", ""), ("2", "", "")]


@pytest.mark.parametrize(
    ("name", "onsets", "bars"),
    [
        ("rests", [4.0, 4.5, 5.0, 5.5], [0.0, 2.0, 4.0]),
        ("words", [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 4.0]),  # "ca. 60"
        ("perc", [0.0, 0.5, 1.0, 1.5], [0.0]),
        ("orn", [0.0, 0.5, 1.5, 2.5], [0.5, 2.5]),
        ("cue", [0.0, 0.5, 1.5], [0.0]),
    ],
)
def test_other_notation_is_read(name, onsets, bars):
    score = read_score(CASES / f"{name}.musicxml")
    assert score.notes.onset.tolist() == onsets and score.bars.tolist() == bars


def test_a_tune_is_played_with_its_repeats_or_without():
    ways = dict(unfoldings(CASES.parent.parent / "music" / "reel.abc"))
    played, once = ways["all repeats"], ways["no repeats"]
    first, second = [76, 67, 76, 71], [76, 67, 76, 71]  # the endings differ in their last notes alone
    assert bars_of(played)[:8] == first + second and bars_of(once)[:4] == first
    assert played.bars.tolist() == [2.0 * bar for bar in range(16)] and len(played.beats) == 64
    assert once.bars.tolist() == [2.0 * bar for bar in range(8)] and len(played.notes.pitch) == 2 * len(once.notes.pitch)


def test_a_pickup_of_a_tune_begins_no_bar(tmp_path):
    tune = write_text(tmp_path / "a.abc", 'X:1\nT:x\nM:3/4\nL:1/4\nQ:1/4=60\nV:1 name="Fiddle"\nK:C\nG|cde|c3|]\n')
    ((name, score),) = unfoldings(tune)
    assert name == "as written" and score.notes.pitch.tolist() == [67, 72, 74, 76, 72]
    assert score.bars.tolist() == [1.0, 4.0] and score.beats.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
