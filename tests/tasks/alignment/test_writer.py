"""`predict` on disk: a folder for each recording, a list of them all, and what is said of those that fail."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio.files import DecodedFiles, Recordings
from datamodules.audio.reading import decode
from datamodules.common.errors import DataError
from tasks.alignment import writer as writers
from tasks.alignment.writer import FILES, AlignmentWriter
from tasks.cli.trainer import Trainer
from tasks.suite_module import SuiteModule
from tests.helpers.known_alignments import RATE, aligned, without_second_bar
from tests.helpers.layouts import tone, write_audio

QUICK = {"page": False, "check": False, "clicks": False, "picture": False}
LISTS = {"alignments.csv", "alignments.json", "journal.jsonl"}
TABLES = {"warped.mid", "notes.csv", "beats.csv", "bars.csv", "labels.txt"}


class Known(SuiteModule):
    """Knows how each recording lies on its score, by the recording's name."""

    def __init__(self, known=None, failing=()):
        super().__init__(torch.optim.Adam)
        self.known, self.failing = known or {}, failing

    def predict_input(self, batch):
        name = Path(batch.path).name
        if name in self.failing:
            raise DataError(f"{batch.path} is silent: nothing to align")
        found = self.known.get(name, aligned())
        return found._replace(path=batch.path, audio=batch.audio.numpy())


class Decoded(Recordings):
    """Recordings with their audio."""

    def predict_set(self):
        return DecodedFiles([item.path for item in self.remaining()], partial(decode, rate=RATE), self.strict)


def song(path, seconds=7.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_audio(path, 0.3 * tone(seconds, rate=RATE), RATE)


def predict(inputs, folder, module=None, strict=False, **how):
    """Run the verb as the command line does; returns the writer."""
    writer = AlignmentWriter(str(folder), **QUICK | how)
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False, enable_model_summary=False)
    data = Decoded([str(one) for one in inputs], strict=strict)
    super(Trainer, trainer).predict(module or Known(), datamodule=data, return_predictions=False)
    return writer


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_each_recording_gets_a_folder_and_a_line(tmp_path, capsys):
    first, second = song(tmp_path / "in/a/waltz.wav"), song(tmp_path / "in/b/waltz.wav", 6.9)
    cut = song(tmp_path / "in/cut.flac", 20.0)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    known = aligned(transposition=-2, tuning_cents=12.34, unfolding="AABB", remarks=["It is two semitones lower.", "Yes, it is."])
    writer = predict([tmp_path / "in"], tmp_path / "out", Known({"waltz.wav": known, "cut.flac": without_second_bar()}))
    assert not writer.failed_files
    folders = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert len(folders) == 3 and {"waltz", "cut"} < folders
    assert names(tmp_path / "out") == folders | LISTS
    (other,) = folders - {"waltz", "cut"}
    with (tmp_path / "out/alignments.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert list(rows) == [str(first), str(second), str(cut)]
    assert rows[str(second)] == {
        "file": str(second),
        "folder": other,
        "score": "pieces/waltz.mid",
        "duration_s": "6.9",
        "begin_s": "0.4",
        "end_s": "6.5",
        "transposition": "-2",
        "tuning_cents": "12.3",
        "unfolding": "AABB",
        "cost": "0.125",
        "confidence": "0.6",
        "notes": "12",
        "notes_left_out": "0",
        "passes": "1",
        "remarks": "It is two semitones lower. Yes, it is.",
        "damage": "",
    }
    short = rows[str(cut)]
    assert (short["notes"], short["notes_left_out"]) == ("9", "3") and short["damage"].startswith("breaks off at ")
    content = json.loads((tmp_path / "out/alignments.json").read_text())
    assert content["failed"] == {} and list(content["files"]) == list(rows)
    assert content["files"][str(second)]["remarks"] == known.remarks and content["files"][str(second)]["duration_s"] == 6.9
    said = capsys.readouterr().out
    assert f"3 recordings aligned: {tmp_path / 'out/alignments.csv'}" in said
    assert "  waltz.wav: Yes, it is.\n" in said and f"  cut.flac: it {short['damage']}, and ends there\n" in said


def test_everything_that_was_asked_for_is_there_and_nothing_else(tmp_path):
    path = song(tmp_path / "waltz.wav")
    place = "waltz"
    predict([path], tmp_path / "tables")
    assert names(tmp_path / "tables" / place) == TABLES
    for option, name in (("page", "page.html"), ("check", "check.flac"), ("clicks", "clicks.wav"), ("picture", "path.png")):
        predict([path], tmp_path / option, **{option: True})
        assert names(tmp_path / option / place) == TABLES | {name}
    predict([path], tmp_path / "all", page=True, check=True, clicks=True, picture=True)
    assert names(tmp_path / "all" / place) == set(FILES) - {"recording.flac"}
    assert soundfile.info(tmp_path / "all" / place / "check.flac").frames == 7 * RATE


def test_files_that_fail_are_named_and_the_others_are_done(tmp_path):
    paths = [song(tmp_path / name) for name in ("good.wav", "silent.wav", "wrong.wav")]
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    nothing = aligned(notes_s=np.full((12, 2), np.nan))
    module = Known({"wrong.wav": nothing}, failing=["silent.wav"])
    writer = predict([*paths, tmp_path / "broken.wav"], tmp_path / "out", module)
    assert len(writer.failed_files) == 3  # the command line then exits with 1
    broken, silent, wrong = writer.failed_files
    assert str(tmp_path / "broken.wav") in broken
    assert silent == f"{paths[1]} is silent: nothing to align"
    assert wrong == f"{paths[2]} has no note of pieces/waltz.mid: the score may belong to another piece"
    assert names(tmp_path / "out") == {"good"} | LISTS
    content = json.loads((tmp_path / "out/alignments.json").read_text())
    assert list(content["files"]) == [str(paths[0])] and len(content["failed"]) == 3
    with pytest.raises(DataError, match="has no note"):
        predict([paths[2]], tmp_path / "strict", module, strict=True)


def test_nothing_is_overwritten_unasked_and_nothing_stale_is_left(tmp_path):
    path = song(tmp_path / "waltz.wav")
    place = tmp_path / "out" / "waltz"
    predict([path], tmp_path / "out", clicks=True)
    (place / "mine.txt").write_text("a note of the user's")
    before = (place / "notes.csv").read_text()
    predict([path], tmp_path / "out", Known({"waltz.wav": without_second_bar()}), clicks=True)
    assert (place / "notes.csv").read_text() == before  # the same network and options: nothing to do
    predict([path], tmp_path / "out", Known({"waltz.wav": without_second_bar()}), overwrite=True)
    assert names(place) == TABLES | {"mine.txt"}  # the clicks were those of other times
    assert (place / "notes.csv").read_text() != before


HOSTILE = ("<script>alert(1)&\"'", "..a", "=1+1", "a b\nc", "$x_{$", "-rf", "ü%2e%2e\\", "x" * 250)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_within_the_folder(tmp_path, name):
    path = song(tmp_path / "in" / f"{name}.wav")
    writer = predict([path], tmp_path / "out", page=True)
    assert not writer.failed_files
    assert names(tmp_path) == {"in", "out"} and names(tmp_path / "in") == {path.name}
    (place,) = (one for one in (tmp_path / "out").iterdir() if one.is_dir())
    assert names(place) == TABLES | {"page.html"}
    assert not place.name.startswith((".", "=")) and "<" not in place.name
    with (tmp_path / "out/alignments.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [str(path)]
    assert "<script>alert" not in (place / "page.html").read_text()


def test_a_folder_is_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(place, *_):
        (place / "notes.csv").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writers, "write_files", full)
    path = song(tmp_path / "waltz.wav")
    writer = predict([path], tmp_path / "out")
    assert names(tmp_path / "out") == LISTS
    assert "cannot be written (No space left on device): free space" in writer.failed_files[0]


def test_a_soundfont_that_is_not_there_is_said_before_anything_is_aligned(tmp_path):
    path = song(tmp_path / "waltz.wav")
    with pytest.raises(DataError, match=r"--output\.font: piano\.sf2 not found"):
        predict([path], tmp_path / "out", check=True, font="piano.sf2")
    assert not (tmp_path / "out").exists()
    predict([path], tmp_path / "out", font="piano.sf2")  # nobody needs it then


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path):
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(DataError, match="out cannot be written"):
        predict([song(tmp_path / "waltz.wav")], tmp_path / "out")
