import csv
import io
import sys
import zipfile
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import soundfile

from datamodules.audio import render
from datamodules.audio.midi_file import DRUMS
from datamodules.audio.render import Control, RenderedNote, midi_file
from datamodules.common.errors import DataError
from datamodules.demo import accompany, arrange, music, plan, tagging
from datamodules.demo.cache import build_once, fingerprint
from datamodules.demo.music import DemoPiece, QuarterNote, read_chorale, read_tunes

TINY = {"chorale": 2, "jig": 1, "reel": 3}


def level(audio):
    return 20 * np.log10(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tagging.build(tmp_path_factory.mktemp("cache"), TINY, processes=2)


def rows(root):
    with (root / "annotations_final.csv").open(newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def test_midi_file_is_read_back_by_another_library():
    import pretty_midi

    notes = [RenderedNote(0.25, 1.0, 0, 60, 90), RenderedNote(1.0, 1.5, 0, 60, 80), RenderedNote(0.5, 3.0, DRUMS, 36, 100)]
    data = midi_file(notes, {0: 40, DRUMS: 8}, 4.0, [Control(0.1, 0, render.VOLUME, 77)])
    read = pretty_midi.PrettyMIDI(io.BytesIO(data))
    assert [(i.program, i.is_drum) for i in read.instruments] == [(40, False), (8, True)]
    heard = [(n.start, n.end, n.pitch, n.velocity) for n in read.instruments[0].notes]
    np.testing.assert_allclose(heard, [(0.25, 1.0, 60, 90), (1.0, 1.5, 60, 80)], atol=1e-3)
    assert [(c.number, c.value) for c in read.instruments[0].control_changes] == [(render.VOLUME, 77)]


def test_gain_is_fixed_and_releases_are_kept():
    quiet, loud = (render.render(midi_file([RenderedNote(0, 0.5, 0, 69, velocity)], {0: 73}, 1.5), 1.5) for velocity in (50, 100))
    assert loud.shape == quiet.shape == (72_000, 2)
    # The SoundFont's law, 40 log10 of the velocity: normalised clips would have equal levels.
    assert level(loud) - level(quiet) == pytest.approx(12.0, abs=1.5)
    assert 0.02 * render.GAIN < np.abs(loud).max() < 0.5
    assert np.abs(loud[24_100:30_000]).max() > 0.01  # sounds on after the key is released
    mono = render.render_mono(midi_file([RenderedNote(0, 0.5, 0, 69, 100)], {0: 73}, 1.5), 16_000, 1.0)
    assert mono.shape == (16_000,)
    assert mono.dtype == np.float32


def test_without_midirenderer_a_fluidsynth_program_renders(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "midirenderer", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    render._renderer.cache_clear()
    data = midi_file([RenderedNote(0, 0.5, 0, 69, 100)], {0: 73}, 1.0)
    with pytest.raises(DataError, match=r"pip install midirenderer.*fluidsynth"):
        render.render(data)
    soundfile.write(tmp_path / "answer.wav", np.full((480, 2), 0.25), 48_000)
    program = tmp_path / "fluidsynth"
    program.write_text(
        f"#!{sys.executable}\nimport sys, shutil\n"
        f"assert sys.argv[-1].endswith('.mid') and sys.argv[-2].endswith('.sf2')\n"
        f"shutil.copy({str(tmp_path / 'answer.wav')!r}, sys.argv[sys.argv.index('-F') + 1])\n"
    )
    program.chmod(0o755)
    render._renderer.cache_clear()
    assert render.render(data) == pytest.approx(np.full((480, 2), 0.25 * render.GAIN), abs=1e-4)
    render._renderer.cache_clear()


TUNE = """X:7
T:Made up
R:reel
M:C|
L:1/8
K:Em
BA|"Em"GFGA ^GBge|{c}d>c (3BcB A-A G2|[Bd]4 e'2 E,2|z2 B3 ABc|GFGA GBge|dcBA G2F2|GFGA GBge|E4 E2:|
"""


def test_tunes_are_read(tmp_path):
    path = tmp_path / "made.abc"
    path.write_text(TUNE + "\nX:8\nK:Emix\nGABc|\n")
    (tune,) = read_tunes(path)
    assert (tune.mode, tune.tonic, tune.beats, tune.beat_type, tune.bar, tune.kind) == ("minor", 4, 4, 4, 4.0, "reel")
    (melody,) = tune.parts
    assert melody[0] == (-1.0, 0.5, 71)  # the pickup lies before the first downbeat
    first = [note for note in melody if 0 <= note.onset < 4]
    assert [note.pitch for note in first] == [67, 66, 67, 69, 68, 71, 79, 76]  # F sharp by key, G sharp for one bar only
    second = [note for note in melody if 4 <= note.onset < 8]
    assert [note.pitch for note in second] == [74, 72, 71, 72, 71, 69, 67]
    assert [note.duration for note in second] == pytest.approx([0.75, 0.25, 1 / 3, 1 / 3, 1 / 3, 1.0, 1.0])
    third = [note for note in melody if 8 <= note.onset < 12]
    assert [(note.pitch, note.duration) for note in third] == [(71, 2.0), (88, 1.0), (52, 1.0)]
    assert next(note.onset for note in melody if note.onset >= 12) == 13.0  # after the rest
    assert melody[-1].onset + melody[-1].duration == 28.0  # the last bar lacks its upbeat: left out


PART = """<part id="P1">
<measure><attributes><divisions>2</divisions><key><fifths>-1</fifths><mode>minor</mode></key>
<time><beats>4</beats><beat-type>4</beat-type></time></attributes>
<note><pitch><step>D</step><octave>5</octave></pitch><duration>2</duration><voice>1</voice></note></measure>
<measure><note><pitch><step>C</step><alter>1</alter><octave>5</octave></pitch><duration>8</duration><voice>1</voice>
<tie type="start"/></note>
<backup><duration>8</duration></backup>
<note><pitch><step>E</step><octave>4</octave></pitch><duration>8</duration><voice>2</voice></note></measure>
<measure><note><pitch><step>C</step><alter>1</alter><octave>5</octave></pitch><duration>4</duration><voice>1</voice>
<tie type="stop"/></note><note><rest/><duration>4</duration></note></measure></part>"""


def test_chorales_are_read(tmp_path):
    path = tmp_path / "made.mxl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made.xml", f"<score-partwise>{4 * PART}</score-partwise>")
    piece = read_chorale(path, "made")
    assert (piece.mode, piece.tonic, piece.bar) == ("minor", 2, 4.0)
    assert piece.parts == (((-1.0, 1.0, 74), (0.0, 6.0, 73)),) * 4


def test_pieces_that_come_twice_are_used_once():
    pieces = [piece for piece, _ in tagging.choose({"chorale": 100, "reel": 100}, np.random.default_rng(0))]
    openings = [tuple(np.diff([note.pitch for note in piece.parts[0]][:17])) for piece in pieces]
    assert len(pieces) == 200
    assert len({piece.name for piece in pieces}) == 200
    assert len(set(openings)) > 195  # not all: a pickup can hide a likeness
    again = pieces[0]._replace(name="copy", tonic=(pieces[0].tonic + 1) % 12)
    assert music.distinct([*pieces[:3], again]) == tuple(pieces[:3])


def test_every_tag_has_both_kinds_of_clip_in_every_split_and_no_piece_is_in_two():
    jobs = tagging.jobs()
    assert len(jobs) >= 600
    assert len(plan.TAGS) >= 20
    splits, pieces, found = defaultdict(list), defaultdict(set), {}
    for job in jobs[:: tagging.VERSIONS]:
        pieces[job.piece.name].add(job.split)
    for job in jobs:
        assert job.path[0] in tagging.FOLDERS[job.split]
        pitch = arrange.arrange(job.piece, job.plan).pitch if job.split != "train" else 60.0
        splits[job.split].append(plan.tags(job.piece, job.plan, pitch))
    assert all(len(where) == 1 for where in pieces.values())
    for split, clips in splits.items():
        counts = {tag: sum(tag in clip for clip in clips) for tag in plan.TAGS}
        found[split] = counts
        known = [n for tag, n in counts.items() if split != "train" or tag not in ("high", "low")]
        assert min(known) >= 5, counts
        assert max(known) <= 0.6 * len(clips), counts
    # Kinds and modes are shared out evenly.
    for kind, mode in product(tagging.PIECES, ("major", "minor")):
        group = [job.split for job in jobs if plan.kind_of(job.piece) == kind and job.piece.mode == mode]
        for split, share in tagging.SHARES.items():
            assert abs(group.count(split) - share * len(group)) <= 1.5 * tagging.VERSIONS
    for few in ({"chorale": 3, "waltz": 3, "jig": 3, "reel": 3}, {"reel": 6}):
        assert {split for _, split in tagging.choose(few, np.random.default_rng(0))} == set(tagging.SHARES)
    # Bass and drums come independently, so that neither gives the other away.
    both = [("bass" in clip, "drums" in clip) for clip in splits["train"] if "classical" not in clip and "solo" not in clip]
    assert all(both.count(pair) > 0.1 * len(both) for pair in product((False, True), repeat=2))


def test_layout_is_that_of_magnatagatune(root):
    header, *clips = rows(root)
    assert header == ["clip_id", *plan.TAGS, "mp3_path"]
    assert (root / "annotations_final.csv").read_text().startswith('"clip_id"\t"piano"\t')
    assert len(clips) == tagging.VERSIONS * sum(TINY.values())
    assert {clip[-1] for clip in clips} == {str(path.relative_to(root)) for path in root.glob("*/*")}
    for clip in clips:
        info = soundfile.info(root / clip[-1])
        assert (info.samplerate, info.channels, info.format) == (16_000, 1, "MP3")
        assert info.duration == pytest.approx(10.0, abs=0.1)
        assert set(clip[1:-1]) == {"0", "1"}
    with (root / "clip_info_final.csv").open() as file:
        info = list(csv.DictReader(file, delimiter="\t"))
    assert [row["mp3_path"] for row in info] == [clip[-1] for clip in clips]
    assert {row["artist"] for row in info} == {"Johann Sebastian Bach", "traditional"}


def test_build_is_deterministic_whatever_the_processes(root, tmp_path):
    again = tagging.build(tmp_path, TINY, processes=1)
    assert again.name == root.name
    assert (again / "annotations_final.csv").read_bytes() == (root / "annotations_final.csv").read_bytes()
    for path in sorted(root.glob("*/*")):
        assert (again / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_finished_set_is_used_again_and_other_settings_are_another_set(root, monkeypatch):
    monkeypatch.setattr(tagging.render, "parallel", lambda *_: pytest.fail("rendered again"))
    cache = root.parents[1]
    assert tagging.build(cache, TINY) == root
    monkeypatch.setattr(tagging.render, "parallel", lambda *_: None)
    assert tagging.build(cache, TINY, seed=1) != root


def test_interrupted_build_is_not_believed(tmp_path):
    def killed(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once("set", killed, [__file__], cache_dir=tmp_path)
    built = build_once("set", lambda folder: (folder / "whole.txt").write_text("whole"), [__file__], cache_dir=tmp_path)
    assert sorted(path.name for path in built.iterdir()) == ["checksums.json", "whole.txt"]
    assert [path for path in built.parent.iterdir() if path.is_dir()] == [built]


def test_changed_generator_is_another_set(tmp_path):
    source = tmp_path / "generator.py"
    source.write_text("a = 1")
    before = fingerprint([source], "x")
    assert before == fingerprint([source], "x") != fingerprint([source], "y")
    source.write_text("a = 2")
    assert fingerprint([source], "x") != before


@pytest.fixture(scope="module")
def tune():
    return next(piece for piece in music.fiddle_tunes() if (piece.beats, piece.beat_type) == (4, 4) and piece.length > 60)


@pytest.fixture(scope="module")
def band(tune):
    planner = plan.Planner(np.random.default_rng(5))
    while True:
        drawn = planner.plan(tune)
        if len(drawn.lines) == 2 and drawn.kit is not None and drawn.bass is not None and drawn.style == "folk":
            return drawn._replace(entries="together", gate=plan.LEGATO, dynamics="medium")


def heard(piece, drawn):
    return render.render_mono(arrange.arrange(piece, drawn).midi, 16_000, arrange.SECONDS)


def test_dynamics_are_heard(tune, band):
    levels = {name: level(heard(tune, band._replace(dynamics=name))) for name in ("quiet", "medium", "loud")}
    assert levels["quiet"] + 5 < levels["medium"] < levels["loud"] - 5
    for name, sign in (("crescendo", 1), ("diminuendo", -1)):
        audio = heard(tune, band._replace(dynamics=name))
        assert sign * (level(audio[-32_000:]) - level(audio[:32_000])) > 12


def test_entries_and_articulation_are_heard(tune, band):
    def sounding(**changes):
        audio = np.abs(heard(tune, band._replace(**changes))).reshape(10, -1)
        return audio.mean(1)

    together, building = sounding(entries="together"), sounding(entries="building")
    assert building[:2].sum() < 0.7 * together[:2].sum()
    assert building[8:].sum() > 0.9 * together[8:].sum()
    assert sounding(gate=plan.STACCATO).sum() < 0.9 * together.sum()


def test_tempo_is_the_rate_of_the_melody(tune, band):
    solo = band._replace(lines=(arrange.Line("flute", 73, "melody"),), bass=None, kit=None)
    for rate in (1.0, 3.0, 6.0):
        excerpt = arrange.cut(tune, solo._replace(rate=rate))
        starts = [tone.start for tone in excerpt.parts[0] if tone.start >= 0]
        assert len(starts) == pytest.approx(rate * arrange.SECONDS, rel=0.35)


def test_chords_are_those_of_the_notes():
    bars = [(60, 64, 67, 64), (65, 69, 72, 69), (67, 71, 74, 71), (69, 60, 64, 60), (60, 67, 64, 60)]
    notes = tuple(QuarterNote(4.0 * bar + beat, 1.0, pitch) for bar, four in enumerate(bars) for beat, pitch in enumerate(four))
    piece = DemoPiece("made", "", "", "major", 0, 3, 3, (notes,))
    chords = accompany.harmonise(piece)
    assert [chord.start for chord in chords] == [0, 4, 8, 12, 16]
    assert [chord.pitches[0] for chord in chords] == [0, 5, 7, 9, 0]  # I IV V vi I
    moved = piece._replace(tonic=2, parts=(tuple(note._replace(pitch=note.pitch + 2) for note in notes),))
    assert [chord.pitches[0] for chord in accompany.harmonise(moved)] == [2, 7, 9, 11, 2]
