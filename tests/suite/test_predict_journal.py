"""Journal of `predict`: what later runs skip, redo and add, and what is left after a kill, a signal or an error."""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from datamodules.common.errors import DataError
from tasks.generation.options import GenerationOptions as GenerationOptions
from tasks.sed.options import DetectionOptions as SEDOptions
from tasks.writers.journal import PredictionJournal, read_history
from tasks.writers.resume import differences, provenance
from tests.helpers import forkserver
from tests.helpers.predict_toy import Counter, predict


def in_processes(*words):
    """Exit status of the toy in processes of its own."""
    return forkserver.run("tests.helpers.predict_toy", *words).returncode


def total(folder):
    content = json.loads((folder / "total.json").read_text(encoding="utf-8"))
    return {Path(name).name: letters for name, letters in content["files"].items()}, content["failed"]


@pytest.fixture
def texts(tmp_path):
    """Files a, bb and ccc with as many letters."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "bb", "ccc"):
        (folder / f"{name}.txt").write_text(name)
    return folder


def test_a_second_run_skips_what_is_done_and_adds_new_inputs(texts, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict([texts], out) == ["a.txt", "bb.txt", "ccc.txt"]
    (texts / "dddd.txt").write_text("dddd")
    capsys.readouterr()
    assert predict([texts], out) == ["dddd.txt"]
    said = capsys.readouterr().out
    assert "3 of 4 inputs are done already and skipped" in said and "1 new, 4 in all" in said
    assert total(out) == ({"a.txt": 1, "bb.txt": 2, "ccc.txt": 3, "dddd.txt": 4}, [])
    assert predict([texts], out) == []
    elsewhere = tmp_path / "e.txt"
    elsewhere.write_text("eeeee")
    assert predict([elsewhere], out) == ["e.txt"]  # another input into the same folder adds to it
    assert len(total(out)[0]) == 5
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_failed_changed_and_removed_files_are_done_again(texts, tmp_path, capsys):
    out = tmp_path / "out"
    (texts / "empty.txt").touch()
    predict([texts], out)
    assert total(out)[1] == [str(texts / "empty.txt")]
    assert predict([texts], out) == [] and len(predict.failed) == 1  # failed again
    (texts / "empty.txt").write_text("mended")
    (texts / "a.txt").write_text("longer")
    (out / "counts" / "bb.txt").unlink()
    capsys.readouterr()
    assert predict([texts], out) == ["a.txt", "bb.txt", "empty.txt"]
    said = capsys.readouterr().out
    assert "repeated: 1 that failed before; repeated and replaced: 1 changed since, 1 with missing outputs" in said
    assert total(out) == ({"a.txt": 6, "bb.txt": 2, "ccc.txt": 3, "empty.txt": 6}, [])


def test_a_file_that_fails_again_under_a_relative_path_keeps_its_name(texts, tmp_path, monkeypatch):
    (texts / "empty.txt").touch()
    predict([texts / "empty.txt"], tmp_path / "out")
    monkeypatch.chdir(texts)
    predict(["empty.txt"], tmp_path / "out")
    assert predict.failed == [f"{texts / 'empty.txt'} is empty"]


def test_equal_content_with_another_time_is_not_done_again_but_other_content_of_equal_size_is(texts, tmp_path):
    out = tmp_path / "out"
    predict([texts], out)
    os.utime(texts / "a.txt", (1, 1))
    assert predict([texts], out) == []
    (texts / "ccc.txt").write_text("cCc")
    os.utime(texts / "ccc.txt", (1, 1))
    assert predict([texts], out) == ["ccc.txt"]


def test_other_options_replace_the_files_asked_for_and_their_outputs(texts, tmp_path, capsys):
    out = tmp_path / "out"
    predict([texts], out)
    capsys.readouterr()
    assert predict([texts / "a.txt"], out, bold=True) == ["a.txt"]
    said = capsys.readouterr().out
    assert "1 done with other options before (--output.bold false (now true))" in said
    assert "2 of the inputs in the tables were done with other options" in said
    assert {path.name for path in (out / "counts").iterdir()} == {"a-bold.txt", "bb.txt", "ccc.txt"}
    assert predict([texts / "a.txt"], out, Counter(factor=2), bold=True) == ["a.txt"]
    assert total(out)[0] == {"a.txt": 2, "bb.txt": 2, "ccc.txt": 3}


@pytest.mark.parametrize(
    ("kind", "other", "said"),
    [
        (GenerationOptions, {"top_k": 5}, "--model.inference.top_k 0 (now 5)"),
        (SEDOptions, {"thresholds": "fixed"}, '--model.inference.thresholds "tuned" (now "fixed")'),
    ],
)
def test_options_of_inference_at_their_defaults_are_no_other_options(kind, other, said):
    def options(inference, ignored=()):
        module = torch.nn.Linear(1, 1)
        module.hparams, module.inference = {"inference": inference}, inference or kind()
        trainer = SimpleNamespace(datamodule=SimpleNamespace(hparams={}), precision="32-true", checkpoint=None)
        return provenance(trainer, module, {}, ignored).options

    assert options(None) == options(kind())
    assert differences(options(None), options(kind(**other))) == [said]
    ignored = [f"model.inference.{name}" for name in other]  # as where they change the tables alone
    assert options(None, ignored) == options(kind(**other), ignored)


def test_outputs_on_request_are_added_and_those_of_earlier_runs_stay(texts, tmp_path, capsys):
    out = tmp_path / "out"
    predict([texts], out, pictures="blue")
    assert predict([texts], out) == []  # nothing is taken away that is not asked for again
    capsys.readouterr()
    assert predict([texts / "a.txt"], out, maps="round") == ["a.txt"]
    assert "1 without --output.maps before" in capsys.readouterr().out
    assert {path.parent.name for path in out.glob("*/a.txt")} == {"counts", "maps", "pictures"}
    assert predict([texts], out, pictures="blue") == predict([texts / "a.txt"], out, maps="round", pictures="blue") == []
    assert predict([texts / "a.txt"], out, pictures="red") == ["a.txt"]
    assert (out / "pictures" / "a.txt").read_text() == "red" and (out / "maps" / "a.txt").exists()
    (out / "maps" / "a.txt").unlink()
    assert predict([texts / "a.txt"], out) == ["a.txt"] and predict([texts / "a.txt"], out) == []
    assert (out / "pictures" / "a.txt").read_text() == "red"
    assert predict([texts / "a.txt"], out, maps="round") == ["a.txt"]


def test_results_of_two_networks_are_never_mixed(texts, tmp_path):
    out = tmp_path / "out"
    predict([texts], out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = Counter(factor=5)
    torch.nn.init.ones_(other.weight)
    with pytest.raises(DataError, match="already holds predictions of other weights: add --overwrite true"):
        predict([texts], out, other)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert predict([texts / "a.txt"], out, other, overwrite=True) == ["a.txt"]
    assert total(out)[0] == {"a.txt": 5}
    assert [path.name for path in (out / "counts").iterdir()] == ["a.txt"]


def test_a_folder_of_an_earlier_version_is_not_added_to(texts, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "total.json").write_text("{}")
    with pytest.raises(DataError, match=r"of an earlier version without journal\.jsonl: add --overwrite true"):
        predict([texts], out)
    assert predict([texts / "a.txt"], out, overwrite=True) == ["a.txt"]


def test_a_killed_run_goes_on_from_its_journal(texts, tmp_path):
    """As after `kill -9` of two processes: a torn line, the journal of the other rank, half-written outputs, no tables."""
    out = tmp_path / "out"
    predict([texts], out)
    entries = read_history(out).entries
    lines = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    (out / "journal.jsonl").write_text(lines[0] + lines[1])
    other = PredictionJournal(out, rank=1)
    other.add(next(entry for entry in entries.values() if entry.name == "bb.txt"))
    other.close()
    with (out / "journal-1.jsonl").open("a") as file:
        file.write(lines[3][:40])
    (out / "total.json").unlink()
    (out / ".123.ccc").mkdir()
    (out / "counts" / ".123.ccc.txt").write_text("half")
    assert predict([texts], out) == ["ccc.txt"]
    assert total(out)[0] == {"a.txt": 1, "bb.txt": 2, "ccc.txt": 3}
    assert {path.name for path in out.rglob("*")} == {"counts", "a.txt", "bb.txt", "ccc.txt", "journal.jsonl", "total.json"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_kill_9_costs_the_file_in_hand_alone(texts, tmp_path):
    assert in_processes(texts, tmp_path / "out", "--signal", "SIGKILL", "--at", "bb.txt") == -signal.SIGKILL
    assert predict([texts], tmp_path / "out") == ["bb.txt", "ccc.txt"]
    assert len(total(tmp_path / "out")[0]) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process that is sent SIGTERM")
def test_of_two_processes_both_stop_when_one_is_signalled(texts, tmp_path):
    for name in ("dddd", "eeeee", "ffffff"):
        (texts / f"{name}.txt").write_text(name)
    out = tmp_path / "out"
    assert in_processes(texts, out, "--devices", 2, "--signal", "SIGTERM", "--at", "bb.txt") == 143
    assert total(out)[0] == {"a.txt": 1, "bb.txt": 2}  # one file of each
    assert not [path for path in out.iterdir() if path.name.startswith((".", "journal-"))]
    assert predict([texts], out) == ["ccc.txt", "dddd.txt", "eeeee.txt", "ffffff.txt"]


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGUSR1", 138), ("SIGINT", 130)])
def test_a_signal_stops_before_the_next_file_with_tables_of_what_is_done(texts, tmp_path, name, status):
    out, number = tmp_path / "out", getattr(signal, name)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as left:
            predict([texts], out, act=lambda file: os.kill(os.getpid(), number) if file == "bb.txt" else None)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert left.value.code == status
    assert total(out)[0] == {"a.txt": 1, "bb.txt": 2}
    assert predict([texts], out) == ["ccc.txt"]


def test_a_signal_in_the_last_file_counts_though_all_is_done(texts, tmp_path):
    with pytest.raises(SystemExit) as left:
        predict([texts], tmp_path / "out", act=lambda file: os.kill(os.getpid(), signal.SIGTERM) if file == "ccc.txt" else None)
    assert left.value.code == 143 and len(total(tmp_path / "out")[0]) == 3


def test_a_second_ctrl_c_stops_within_the_file(texts, tmp_path):
    def twice(file):
        if file == "bb.txt":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit):
            predict([texts], tmp_path / "out", act=twice)
    finally:
        signal.signal(signal.SIGINT, before)
    assert total(tmp_path / "out")[0] == {"a.txt": 1}


def test_an_error_leaves_tables_of_what_is_done(texts, tmp_path):
    def fail(file):
        if file == "ccc.txt":
            raise RuntimeError

    with pytest.raises(RuntimeError):
        predict([texts], tmp_path / "out", act=fail)
    assert total(tmp_path / "out")[0] == {"a.txt": 1, "bb.txt": 2}
    (texts / "bb.txt").write_text("")
    with pytest.raises(DataError, match="is empty"):
        predict([texts], tmp_path / "out", strict=True)
    assert predict([texts / "ccc.txt"], tmp_path / "out") == ["ccc.txt"]


def test_two_runs_at_once_into_one_folder_are_refused(texts, tmp_path):
    refused = []

    def second(file):
        if file == "a.txt":
            with pytest.raises(DataError, match="is writing predictions into"):
                predict([texts], tmp_path / "out")
            refused.append(file)

    predict([texts], tmp_path / "out", act=second)
    assert refused and len(total(tmp_path / "out")[0]) == 3


def test_outputs_among_the_inputs_are_no_inputs(texts):
    predict([texts], texts / "out")
    assert predict([texts], texts / "out") == []


def test_a_journal_names_no_file_outside_its_folder(texts, tmp_path):
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    mine.write_text("kept")
    predict([texts], out)
    text = (out / "journal.jsonl").read_text().replace("counts/a.txt", "../mine.txt")
    (out / "journal.jsonl").write_text(text)
    predict([texts], out, overwrite=True)
    assert mine.read_text() == "kept"


def test_equal_names_keep_their_outputs_apart_and_for_ever(tmp_path):
    out = tmp_path / "out"
    for folder in ("one", "two", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "song.txt").write_text(folder)
    predict([tmp_path / "two"], out)
    predict([tmp_path / "one", tmp_path / "two", tmp_path / "other"], out)
    stems = {entry.key: entry.stem for entry in read_history(out).entries.values()}
    assert stems[str(tmp_path / "two" / "song.txt")] == "song"
    assert len(set(stems.values())) == 3 and all(stem.startswith("song") for stem in stems.values())
    assert (out / "counts" / "song.txt").read_text() == "3"
    predict([tmp_path], out, overwrite=True)  # the first in order has the plain name
    assert {entry.key: entry.stem for entry in read_history(out).entries.values()}[str(tmp_path / "one" / "song.txt")] == "song"


def test_one_song_by_relative_and_absolute_path_is_one_entry(texts, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.chdir(texts)
    assert predict(["a.txt", texts / "a.txt", "./a.txt", "../in/a.txt"], out) == ["a.txt"]
    monkeypatch.chdir(tmp_path)
    assert predict(["in/a.txt"], out) == []
    (texts / "a.txt").write_text("changed")
    assert predict(["in/a.txt"], out) == ["a.txt"]
    assert list(json.loads((out / "total.json").read_text())["files"]) == ["a.txt"]
    other = tmp_path / "a.txt"  # spelled as the first was, but another file
    other.write_text("x")
    predict(["a.txt"], out)
    assert set(json.loads((out / "total.json").read_text())["files"]) == {"a.txt", str(other)}
