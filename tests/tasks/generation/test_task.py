"""Music generation as its user runs it: what `predict` reads and answers, and what it says of bad input."""

import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.generation.piece import PITCH, Piece
from datamodules.generation.reading import read_piece
from datamodules.generation.writing.midi import midi_bytes
from tests.helpers.commands import command
from tests.helpers.pieces import chorale
from tests.helpers.symbolic_layouts import melody, write_midi

ROOT = Path(__file__).parents[3]
TINY = ROOT / "configs" / "generation" / "tiny.yaml"
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")
PLAIN = ("--output.picture", "false", "--output.sound", "false", "--output.score", "false")


def predict_inputs(folder):
    """A piece, and a file that is none, for the test of all tasks' verbs."""
    (folder / "song.mid").write_bytes(midi_bytes(chorale(0)))
    (folder / "broken.mid").write_bytes(b"no music")
    return [str(folder / "song.mid")], folder / "broken.mid"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of the tiny config."""
    folder = tmp_path_factory.mktemp("generation")
    done = command("generation", "fit", "--config", TINY, "--runs", folder, "--report.measured", "0", *QUIET)
    assert done.code == 0, done.err[-2000:]
    return folder / "generation" / "tiny"


def asked(run, folder, *words, code=0):
    """What `predict` says, and the pieces that it leaves in a folder of their own."""
    done = command("generation", "predict", "--ckpt_path", run, "--output.folder", folder, *QUIET, *PLAIN, *words)
    assert done.code == code, done.err[-2000:]
    assert "Traceback" not in done.err
    return done.out + done.err, [read_piece(path) for path in sorted(folder.rglob("*.mid"))]


def soprano(ticks: int, shift: int, tempo: int, pickup: int) -> Piece:
    """A melody with an upbeat, of two bars in 3/4, whose first note is the upbeat."""
    quarters = [1, 1, 1, 0.5, 0.5, 1, 2][0 if pickup else 1 :]
    pitches = [67, 72, 71, 69, 67, 65, 64][-len(quarters) :]
    onsets = np.cumsum([0, *quarters[:-1]])
    rows = [(int(o * ticks), int(q * ticks), p + shift, 80, 0) for o, q, p in zip(onsets, quarters, pitches, strict=True)]
    length = pickup * ticks + 6 * ticks
    return Piece(
        np.array(rows, np.int32),
        ticks,
        length,
        pickup=pickup * ticks,
        metres=np.array([[0, 3, 4]], np.int32),
        tempi=np.array([[0, tempo]], np.int32),
    )


@pytest.mark.parametrize(
    ("ticks", "shift", "tempo", "pickup"), [(480, 0, 500_000, 1), (960, 4, 700_000, 1), (480, -7, 400_000, 0)]
)
def test_a_harmonised_melody_comes_back_bit_exact(run, tmp_path, ticks, shift, tempo, pickup):
    melody = soprano(ticks, shift, tempo, pickup)
    (tmp_path / "melody.mid").write_bytes(midi_bytes(melody))
    said, (made,) = asked(run, tmp_path / "out", "--data.inputs", tmp_path / "melody.mid", "--data.use", "harmonise")
    voice = made.notes[made.notes[:, 4] == 0]
    assert np.array_equal(voice[:, :4], melody.notes[:, :4]), said
    assert made.voices > 1
    for name in ("ticks", "length", "pickup"):
        assert getattr(made, name) == getattr(melody, name), name
    assert np.array_equal(made.metres, melody.metres)
    assert np.array_equal(made.tempi, melody.tempi)


def test_the_same_seed_writes_the_same_bytes(run, tmp_path):
    words = ("--data.use", "free", "--data.bars", "2", "--data.metre", "3/4")
    for place in ("one", "two"):
        asked(run, tmp_path / place, *words)
    asked(run, tmp_path / "other", *words, "--seed_everything", "7")
    first, again, other = (next((tmp_path / place).rglob("*.mid")).read_bytes() for place in ("one", "two", "other"))
    assert first == again != other
    assert read_piece(next((tmp_path / "one").rglob("*.mid"))).beats == 3


def test_a_piece_goes_on_from_its_last_bar_and_keeps_what_it_was(run, tmp_path):
    given = chorale(1)
    (tmp_path / "song.mid").write_bytes(midi_bytes(given))
    words = ("--data.use", "continue", "--data.bars", "3", "--model.inference.samples", "2")
    _, made = asked(run, tmp_path / "out", "--data.inputs", tmp_path / "song.mid", *words)
    assert len(made) == 2
    for one in made:
        kept = one.notes[one.notes[:, 0] < given.length]
        assert np.array_equal(kept[:, :3], given.notes[:, :3])
        assert one.bars == given.bars + 3
    assert not np.array_equal(made[0].notes, made[1].notes)


def test_notes_that_end_short_of_the_bar_line_are_not_struck_again(run, tmp_path):
    scale = [(480 * beat, 460, 67 + beat % 5) for beat in range(8)]
    write_midi(tmp_path / "played.mid", {"Lead": scale, "Bass": [(on, lasts, pitch - 19) for on, lasts, pitch in scale]})
    for seed in range(3):
        words = ("--data.inputs", tmp_path / "played.mid", "--data.bars", "1", "--seed_everything", str(seed))
        _, (made,) = asked(run, tmp_path / str(seed), *words)
        new = made.notes[made.notes[:, 0] >= 3820]
        assert len(new) and not (new[:, 0] % 120).any() and len(made.notes) - len(new) == 16


def test_bars_are_written_anew_between_those_that_stay(run, tmp_path):
    given = chorale(2)
    (tmp_path / "song.mid").write_bytes(midi_bytes(given))
    words = ("--data.use", "inpaint", "--data.span", "2")
    _, (made,) = asked(run, tmp_path / "out", "--data.inputs", tmp_path / "song.mid", *words)
    begin, end = given.pickup + given.bar, given.pickup + 2 * given.bar

    def outside(piece):
        notes = piece.notes[(piece.notes[:, 0] < begin) | (piece.notes[:, 0] >= end)]
        return notes[np.lexsort((notes[:, PITCH], notes[:, 0]))][:, [0, PITCH]]

    assert np.array_equal(outside(made), outside(given))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data.use", "interpolate"), "cannot interpolate: --data.use takes continue, free, harmonise, inpaint here"),
        (("--data.use", "inpaint"), "--data.use inpaint and --data.span FIRST-LAST (bars, such as 5-8) together"),
        (("--data.use", "free", "--data.metre", "four"), "four is not a time signature: give --data.metre 3/4"),
        (("--data.use", "continue", "--data.inputs", "nothing.mid"), "nothing.mid does not exist"),
        (("--data.use", "harmonise"), "Nothing to predict on"),
        (("--model.inference.temperature", "-1"), "temperature"),
    ],
)
def test_what_cannot_be_is_one_sentence(run, tmp_path, words, sentence):
    said, made = asked(run, tmp_path / "out", *words, code=2)
    assert sentence in said
    assert not made


def test_a_span_beyond_the_end_costs_the_file_alone(run, tmp_path):
    (tmp_path / "song.mid").write_bytes(midi_bytes(chorale(3)))
    words = ("--data.inputs", tmp_path / "song.mid", "--data.use", "inpaint", "--data.span", "90")
    said, made = asked(run, tmp_path / "out", *words, code=1)
    assert "--data.span reaches to 90" in said
    assert not made


def test_all_kinds_of_files_are_left(run, tmp_path):
    (tmp_path / "song.mid").write_bytes(midi_bytes(chorale(4)))
    words = ("--data.inputs", tmp_path / "song.mid", "--data.bars", "1", "--output.folder", tmp_path / "out")
    done = command("generation", "predict", "--ckpt_path", run, *QUIET, *words)
    assert done.code == 0, done.err[-2000:]
    assert {path.suffix for path in (tmp_path / "out").rglob("01.*")} >= {".mid", ".musicxml", ".png", ".wav"}
    listed = json.loads((tmp_path / "out" / "written.json").read_text())
    assert next(iter(listed["files"].values()))["use"] == "continue"
    notes = read_piece(next((tmp_path / "out").rglob("*.mid"))).notes
    score = read_piece(next((tmp_path / "out").rglob("*.musicxml")))
    assert len(score.notes) == len(notes)


def test_training_goes_on_without_bad_files(tmp_path):
    """Corrupt, empty, drum-only, 7/8 and one-note files among a hundred good ones: each named, the run goes on."""
    music = tmp_path / "music"
    for number in range(100):
        write_midi(music / f"good{number:03d}.mid", {"tune": melody(number, 32)})
    write_midi(music / "odd.mid", {"tune": melody(7, 28)}, metre=(7, 8))
    write_midi(music / "drums.mid", {"kit": melody(8)}, drums=True)
    write_midi(music / "alone.mid", {"tune": melody(9, 1)})
    (music / "corrupt.mid").write_bytes((music / "good000.mid").read_bytes()[:60])
    (music / "empty.mid").write_bytes(b"")
    corpus = ("--data.corpus", "datamodules.generation.corpora.MusicFolder", "--data.corpus.metres", '["4/4"]')
    words = ("--config", TINY, *corpus, "--data.root", music, "--runs", tmp_path / "runs")
    short = ("--trainer.max_epochs", "1", "--report.measured", "0", "--report.pieces", "0", *QUIET)
    done = command("generation", "fit", *words, *short)
    assert done.code == 0, done.err[-2000:]
    report = command("generation", "prepare", *words, "--name", "prepared")
    assert report.code == 0, report.err[-2000:]
    told = json.loads((tmp_path / "runs" / "generation" / "prepared" / "report.json").read_text())
    assert told["pieces"] == 100
    named = " ".join([*told["files"]["damaged"], *told["files"]["left_out"]])
    for name in ("odd", "drums", "alone", "corrupt", "empty"):
        assert f"{name}.mid" in named
    strict = command("generation", "fit", *words, *short, "--data.strict", "true")
    assert strict.code == 2
    assert ".mid" in strict.err
    assert "Traceback" not in strict.err
