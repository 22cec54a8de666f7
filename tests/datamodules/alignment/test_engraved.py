"""MusicXML, MEI and Humdrum read as by other readers: ties, tuplets, grace notes, tempi and every way through the repeats."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from datamodules.alignment.reading import read_score, unfoldings
from datamodules.alignment.score import Score
from datamodules.common.errors import DataError
from datamodules.generation.reading import scores
from tests.helpers.score_layouts import BACKWARD, FORWARD, attributes, chord, musicxml, note, tempo, waltz, write_text

QUARTER = 0.5  # s, at 120 quarter notes a minute


@pytest.fixture
def engrave(tmp_path):
    """Write measures as MusicXML and read them: the ways in which they may be played, by name."""
    pytest.importorskip("partitura")

    def read(*measures: str) -> dict[str, Score]:
        return dict(unfoldings(write_text(tmp_path / "score.musicxml", musicxml(*measures))))

    return read


TUPLET = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification>"
START, STOP = '<tie type="start"/>', '<tie type="stop"/>'
BACK = "<backup><duration>36</duration></backup>"
KNOTTED = (
    attributes() + note(0) + chord(2) + "".join(note(i, 1 / 3, "", TUPLET) for i in (3, 4, 5)) + note(6, 1.0, "", START),
    note(6, 0.5, "", STOP) + note(5, 2.5) + BACK + note(1, 3.0, octave=3).replace("<voice>1", "<voice>2"),
    note(3, 1.5) + "<note><rest/><duration>12</duration><voice>1</voice></note>" + note(2, 0.5),
)


def test_musicxml_reads_as_by_music21(engrave, tmp_path):
    from music21 import converter

    (score,) = engrave(*KNOTTED).values()
    flat = converter.parse(tmp_path / "score.musicxml", forceSource=True).stripTies().flatten()
    rows = [(float(e.offset), p.midi, float(e.quarterLength)) for e in flat.notes for p in e.pitches]
    wanted = np.array(sorted(rows)) * [QUARTER, 1, QUARTER]
    assert len(wanted) == 10
    np.testing.assert_allclose(score.notes.onset, wanted[:, 0], atol=1e-9)
    np.testing.assert_array_equal(score.notes.pitch, wanted[:, 1])
    np.testing.assert_allclose(score.notes.offset - score.notes.onset, wanted[:, 2], atol=1e-9)
    np.testing.assert_allclose(score.beats, np.arange(9) * QUARTER)
    np.testing.assert_allclose(score.bars, np.arange(3) * 3 * QUARTER)


def test_the_usual_way_through_repeats_is_that_of_music21(engrave, tmp_path):
    from music21 import converter

    first, second = ('<barline location="{}"><ending number="1" type="{}"/>{}</barline>',) * 2
    first = first.format("left", "start", "") + "{}" + second.format("right", "stop", '<repeat direction="backward"/>')
    last = '<barline location="left"><ending number="2" type="start"/></barline>{}'
    last += '<barline location="right"><ending number="2" type="stop"/></barline>'
    one, two, three, four, five = waltz(5)
    ways = engrave(one, first.format(two), last.format(three), FORWARD + four + BACKWARD, five)
    expanded = converter.parse(tmp_path / "score.musicxml", forceSource=True).parts[0].expandRepeats().flatten()
    wanted = [n.pitch.midi for n in expanded.notes]
    assert ways["all repeats"].notes.pitch.tolist() == wanted and len(wanted) == 3 * 7
    assert len(ways["all repeats"].beats) == 21 and ways["all repeats"].ids[12:15] == ("n4a-1", "n4b-1", "n4c-1")
    assert ways["all repeats"].ids[15:18] == ("n4a-2", "n4b-2", "n4c-2")
    assert {len(score.bars) for score in ways.values()} == {7, 6, 5, 4} and next(iter(ways)) == "all repeats"
    assert ways["no repeats"].ids[:6] == ("n1a-1", "n1b-1", "n1c-1", "n3a-1", "n3b-1", "n3c-1")


def test_each_repeat_may_be_played_or_left_out(engrave):
    one, two, three, four = waltz(4)
    ways = engrave(one, two + BACKWARD, FORWARD + three, four + BACKWARD)
    assert {name: len(score.bars) for name, score in ways.items()} == {
        "all repeats": 8,
        "no repeats": 4,
        "sections A-A-B": 6,
        "sections A-B-B": 6,
    }
    assert ways["sections A-A-B"].ids[6] == "n1a-2" and ways["sections A-B-B"].ids[6] == "n3a-1"


def test_after_a_da_capo_repeats_are_not_played_again(engrave):
    fine = '<direction><direction-type><words>Fine</words></direction-type><sound fine="yes"/></direction>'
    again = '<direction><direction-type><words>D.C. al Fine</words></direction-type><sound dacapo="yes"/></direction>'
    one, two, three = waltz(3)
    ways = engrave(one, two + fine + BACKWARD, three + again)
    assert [name[:2] for name in ways["all repeats"].ids[::3]] == ["n1", "n2", "n1", "n2", "n3", "n1", "n2"]


def test_a_bar_that_a_repeat_divides_stays_one(engrave):
    pickup, one, rest, second = note(0, 1.0), "".join(note(i) for i in range(3)), note(3) + note(4), note(5)
    ways = engrave(attributes() + pickup, one, rest + BACKWARD, FORWARD + second, one, rest + BACKWARD)
    np.testing.assert_allclose(ways["all repeats"].bars, QUARTER * np.array([1, 4, 7, 10, 13, 16, 19, 22]))
    np.testing.assert_allclose(ways["all repeats"].beats, QUARTER * np.arange(24))


def test_many_repeats_are_all_played_or_none(engrave):
    head, *others = waltz(8)
    ways = engrave(head + BACKWARD, *(FORWARD + one + BACKWARD for one in others))
    assert [(name, len(score.bars)) for name, score in ways.items()] == [("all repeats", 16), ("no repeats", 8)]


def test_written_tempi_hold_in_every_repeat(engrave):
    one, two, three = waltz(3)
    mark = "<metronome><beat-unit>quarter</beat-unit><beat-unit-dot/><per-minute>40</per-minute></metronome>"
    dotted = f"<direction><direction-type>{mark}</direction-type></direction>"  # 60 quarter notes a minute
    ways = engrave(one.replace("</attributes>", "</attributes>" + dotted), tempo(120) + two + BACKWARD, three)
    np.testing.assert_allclose(ways["all repeats"].bars, [0, 3, 4.5, 7.5, 9])
    np.testing.assert_allclose(ways["no repeats"].beats, [0, 1, 2, 3, 3.5, 4, 4.5, 5, 5.5])


def test_a_repeat_goes_on_in_the_tempo_that_was_written_before_it(engrave):
    one, two, three = waltz(3)
    ways = engrave(one.replace("</attributes>", "</attributes>" + tempo(60)), tempo(120) + two, FORWARD + three + BACKWARD)
    np.testing.assert_allclose(ways["all repeats"].bars, [0, 3, 4.5, 6])


def test_a_tempo_that_cannot_be_is_none(engrave):
    (score,) = engrave(waltz(1)[0] + tempo(0), tempo(100_000) + waltz(1, 2)[0]).values()
    np.testing.assert_allclose(score.beats, np.arange(6) * QUARTER)


def test_grace_notes_come_before_the_beat_and_keep_their_order(engrave):
    bar = attributes() + note(1, 0, "g") + note(0, 1.0, "a") + note(1, 1 / 6, "b")
    bar += note(2, 0, "g1") + note(3, 0, "g2") + note(4, 11 / 6, "c")
    (score,) = engrave(bar).values()
    times = dict(zip(score.ids, zip(score.notes.onset, score.notes.offset, strict=True), strict=True))
    assert score.ids == ("g", "a", "b", "g1", "g2", "c")
    assert times["g"] == pytest.approx((0.0, 0.07)) and times["a"][0] == pytest.approx(0.07)  # all is later by the first
    assert times["b"][0] < times["g1"][0] < times["g2"][0] < times["c"][0] == pytest.approx(0.07 + 7 / 6 * QUARTER)
    assert times["c"][0] - times["g1"][0] == pytest.approx((times["c"][0] - times["b"][0]) / 2)
    np.testing.assert_allclose(score.beats, 0.07 + np.arange(3) * QUARTER)


MEI = """<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="4.0.1"><music><body><mdiv><score>
<scoreDef><staffGrp>
<staffDef xml:id="s1" n="1" lines="5" clef.shape="G" clef.line="2" meter.count="3" meter.unit="4"/>
</staffGrp></scoreDef>
<section>{}</section></score></mdiv></body></music></mei>"""
MEI_BAR = '<measure xml:id="m{0}" n="{0}"><staff n="1"><layer n="1">{1}</layer></staff></measure>'


def test_humdrum_and_mei_read_as_the_musicxml_they_say(engrave, tmp_path):
    kern = "**kern\n*M3/4\n4b\n=1\n4c\n8d\n8e\n4f\n=2\n2.g\n==\n*-\n"
    played = [[("b", 4)], [("c", 4), ("d", 8), ("e", 8), ("f", 4)], [("g", 2)]]
    bars = ["".join(f'<note xml:id="n{name}" pname="{name}" oct="4" dur="{part}"/>' for name, part in bar) for bar in played]
    bars[2] = bars[2].replace('dur="2"', 'dur="2" dots="1"')
    write_text(tmp_path / "a.mei", MEI.format("".join(MEI_BAR.format(i, bar) for i, bar in enumerate(bars))))
    bar = note(0) + note(1, 0.5) + note(2, 0.5) + note(3)
    (wanted,) = engrave(attributes() + note(6), bar, note(4, 3.0)).values()
    for path in (write_text(tmp_path / "a.krn", kern), tmp_path / "a.mei"):
        read = read_score(path)
        for mine, theirs in zip(read.notes[:3], wanted.notes[:3], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-9, err_msg=path.name)
        np.testing.assert_allclose(read.beats, np.arange(7) * QUARTER, err_msg=path.name)
        np.testing.assert_allclose(read.bars, [QUARTER, 4 * QUARTER], err_msg=path.name)


def container(path: str) -> str:
    return f'<container><rootfiles><rootfile full-path="{path}"/></rootfiles></container>'


def test_compressed_musicxml_is_the_same_score(engrave, tmp_path):
    (wanted,) = engrave(*waltz(2)).values()
    with zipfile.ZipFile(tmp_path / "a.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", container("score.xml"))
        archive.writestr("score.xml", musicxml(*waltz(2)))
    read = read_score(tmp_path / "a.mxl")
    assert read.ids == wanted.ids and read.notes.onset.tolist() == wanted.notes.onset.tolist()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "other.xml"])
def test_a_compressed_score_cannot_name_another_file(tmp_path, name):
    pytest.importorskip("partitura")
    with zipfile.ZipFile(tmp_path / "a.mxl", "w") as archive:
        archive.writestr("META-INF/container.xml", container(name))
        archive.writestr("score.xml", musicxml(*waltz(1)))
    with pytest.raises(DataError, match=r"a\.mxl is a zip file without a score"):
        read_score(tmp_path / "a.mxl")


def test_a_score_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("partitura")
    monkeypatch.setattr(scores, "LARGEST", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score.xml", musicxml(*waltz(1)) + " " * (2 << 20))
    assert (tmp_path / "bomb.mxl").stat().st_size < 10_000
    with pytest.raises(DataError, match=r"bomb\.mxl holds a score of more than 1 MB"):
        read_score(tmp_path / "bomb.mxl")


def with_entities(entities: str) -> str:
    text = musicxml(*waltz(1)).replace("<score-partwise", f"<!DOCTYPE score-partwise [{entities}]><score-partwise", 1)
    return text.replace("piano", "&e;")


def test_entities_lead_nowhere(tmp_path):
    pytest.importorskip("partitura")
    secret = write_text(tmp_path / "secret.txt", "<step>C</step>")
    write_text(tmp_path / "file.musicxml", with_entities(f'<!ENTITY e SYSTEM "file://{secret}">'))
    bomb = "".join(f'<!ENTITY e{"" if i == 11 else i} "{f"&e{i - 1};" * 10 if i else "x" * 10}">' for i in range(12))
    write_text(tmp_path / "bomb.musicxml", with_entities(bomb))
    for name in ("file", "bomb"):
        with pytest.raises(DataError, match=rf"{name}\.musicxml declares XML entities"):
            read_score(tmp_path / f"{name}.musicxml")


def test_without_partitura_the_command_that_installs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "partitura", None)
    with pytest.raises(DataError, match=r"a\.krn is read by partitura.*not installed: pip install -e '\.\[score\]'"):
        read_score(write_text(tmp_path / "a.krn", "**kern\n4c\n*-\n"))


def test_reading_a_score_touches_no_network(tmp_path):
    """Where it finds fluidsynth, partitura fetches a SoundFont when it is imported."""
    pytest.importorskip("partitura")
    write_text(tmp_path / "fluidsynth.py", "raise SystemExit('fluidsynth was imported')")
    write_text(tmp_path / "a.krn", "**kern\n*M3/4\n=1\n4c\n4d\n4e\n==\n*-\n")
    code = "import socket, sys\nsocket.socket.connect = lambda *_: sys.exit('the network was used')\n"
    code += "from datamodules.alignment.reading import read_score\n"
    code += f"print(len(read_score({str(tmp_path / 'a.krn')!r}).ids), 'fluidsynth' in sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": f"{tmp_path}:{root}"}, capture_output=True, text=True)
    assert done.stdout.split() == ["3", "False"], done.stderr
