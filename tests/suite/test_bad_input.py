"""Mistakes that a newcomer makes: one sentence on stderr, exit code 2, nothing left behind; and what is no mistake."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from tasks.callbacks import newest_loadable
from tests.helpers.commands import tagging, write_tiny
from tests.helpers.layouts import tone, write_audio, write_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with a tiny data set, its config, and a finished run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bad")
    options = write_tiny(folder)
    assert tagging("fit", *options, "--report.gallery", "false", "--trainer.max_epochs", "1").code == 0
    (folder / "empty").mkdir()
    shutil.copytree(folder / "mtat", folder / "table_only", ignore=shutil.ignore_patterns("*.mp3"))
    (folder / "text.ckpt").write_text("no checkpoint")
    (folder / "broken.yaml").write_text("model: [1, 2\n x: :")
    (folder / "typo.yaml").write_text("data: {init_args: {batch_sise: 3}}")
    (folder / "stranger.yaml").write_text("dat: {batch_size: 3}")
    best = folder / "runs" / "tagging" / "tiny" / "checkpoints" / "best.ckpt"
    (folder / "cut.ckpt").write_bytes(best.read_bytes()[:5000])
    content = torch.load(best, weights_only=True)
    torch.save(content | {"quintet": {"task": "sed"}}, folder / "sed.ckpt")
    torch.save({name: value for name, value in content.items() if name != "quintet"}, folder / "foreign.ckpt")
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refuse(place, *words):
    """Error sentence of a command that must fail at once, leaving every file as it was."""
    before = files(place)
    done = tagging(*words)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < 600
    assert files(place) == before
    return lines[0]


def fit(place, *words, root="mtat", config="tiny.yaml"):
    where = ("--data.root", place / root) if root else ()
    quiet = ("--trainer.enable_model_summary", "false")
    return ("fit", "--config", place / config, "--runs", place / "runs", *where, *quiet, *words)


DATA = {
    "no root": (None, (), "--data.root is required"),
    "wrong root": ("nowhere", (), "is not a folder"),
    "a file as root": ("tiny.yaml", (), "is not a folder"),
    "empty root": ("empty", (), "annotations_final.csv"),
    "no audio": ("table_only", (), "None of the 32 listed audio files"),
    "unknown tag": ("mtat", ("--data.tags", "[zither]"), "zither"),
    "batch larger than the data": ("mtat", ("--data.batch_size", "4000"), "lower --data.batch_size"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_is_not_there(place, case):
    root, words, said = DATA[case]
    assert said in refuse(place, *fit(place, *words, root=root))


def test_prepare_says_what_is_missing_too(place):
    assert "annotations_final.csv" in refuse(place, "prepare", *fit(place, root="empty")[1:])


VALUES = {
    "negative batch": ("--data.batch_size", "-3", "batch_size must be positive"),
    "no clips a batch": ("--data.eval_batch_size", "0", "batch_size"),
    "batch in words": ("--data.batch_size", "many", "batch_size"),
    "negative workers": ("--data.num_workers", "-1", "num_workers"),
    "unknown policy": ("--data.policy", "won17", "won16"),
    "unknown data": ("--data", "datamodules.MTATT", "MTATT"),
    "unknown network": ("--model.net", "models.tagging.Nope", "Nope"),
    "unknown optimizer": ("--model.optimizer", "Adamm", "Adamm"),
    "negative rate": ("--model.optimizer.lr", "-1", "learning rate"),
    "no heads": ("--model.net.back_end.heads", "0", "heads"),
    "negative epochs": ("--trainer.max_epochs", "-5", "max_epochs"),
    "no devices": ("--trainer.devices", "0", "devices"),
    "unknown precision": ("--trainer.precision", "13", "precision"),
    "name that escapes": ("--name", "../x", "plain folder name"),
    "name that is a path": ("--name", "/tmp/x", "plain folder name"),
    "empty name": ("--name", "", "plain folder name"),
    "missing config": ("--config", "none.yaml", "none.yaml"),
    "missing checkpoint": ("--ckpt_path", "none.ckpt", "none.ckpt does not exist"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_that_mean_nothing(place, case):
    option, value, said = VALUES[case]
    assert said in refuse(place, *fit(place, option, value))


def test_a_graphics_card_that_is_not_there(place):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "gpu" in refuse(place, *fit(place, "--trainer.accelerator", "gpu"))


OPTIONS = {
    "--data.batchsize": "--data.batch_size",
    "--trainer.max_epoch": "--trainer.max_epochs",  # not taken for the longer name it begins
    "--model.net.front_end.chanels": "--model.net.front_end.channels",
    "--nam": "--name",
}


@pytest.mark.parametrize("wrong", OPTIONS)
def test_a_misspelt_option_is_answered_with_the_nearest(place, wrong):
    assert refuse(place, *fit(place, wrong, "8")).endswith(f"did you mean {OPTIONS[wrong]}?")


def test_misspelt_keys_of_a_config(place):
    assert refuse(place, *fit(place, "--config", place / "typo.yaml")).endswith("did you mean batch_size?")
    assert "'dat.batch_size'" in refuse(place, *fit(place, "--config", place / "stranger.yaml"))
    assert "parsing config" in refuse(place, *fit(place, config="broken.yaml"))


def test_a_misspelt_verb(place):
    assert "prepare, fit, validate" in refuse(place, "fti")


@pytest.mark.parametrize("verb", ["validate", "test", "predict", "export"])
def test_verbs_that_need_a_checkpoint_say_so(place, verb):
    assert "--ckpt_path" in refuse(place, verb)


CHECKPOINTS = {
    "text.ckpt": "not a checkpoint",
    "cut.ckpt": "truncated",
    "sed.ckpt": "checkpoint of task sed",
    "foreign.ckpt": "another program",
    "none.ckpt": "does not exist",
    "empty": "has no checkpoints",
}


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_that_are_none_of_ours(place, verb, name):
    words = {"fit": fit(place), "test": ("test",), "predict": ("predict", "--data.inputs", place / "mtat")}[verb]
    assert CHECKPOINTS[name] in refuse(place, *words, "--ckpt_path", place / name)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("verb", ["fit", "test", "predict", "export"])
def test_a_checkpoint_cannot_run_code(place, verb, tmp_path):
    torch.save({"state_dict": {}, "quintet": {"task": "tagging"}, "x": Trap(tmp_path / "caught")}, tmp_path / "trap.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Trap(tmp_path / "caught")))
    words = {"fit": fit(place), "predict": ("predict", "--data.inputs", place / "mtat")}.get(verb, (verb,))
    said = refuse(place, *words, "--ckpt_path", tmp_path / "trap.ckpt")
    assert "mkdir" in said
    assert "could run any code" in said
    refuse(place, *words, "--ckpt_path", tmp_path / "plain.ckpt")
    assert not (tmp_path / "caught").exists()


def test_what_a_run_looks_for_to_go_on_from_cannot_run_code_either(tmp_path):
    torch.save({"loops": {}, "optimizer_states": [], "x": Trap(tmp_path / "caught")}, tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match="cannot be resumed from"):
        assert newest_loadable(tmp_path) is None
    assert not (tmp_path / "caught").exists(), "the file was unpickled: load with weights_only=True"


def test_settings_that_do_not_fit_the_weights(place):
    run = place / "runs" / "tagging" / "tiny"
    done = tagging("test", "--ckpt_path", run, "--name", "unfit", "--runs", place / "runs", "--model.net.front_end.width", "32")
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "do not fit this network" in done.err
    assert not (place / "runs" / "tagging" / "unfit").exists()


def predict(place, *words):
    return "predict", "--ckpt_path", place / "runs" / "tagging" / "tiny", *words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--data.inputs"),
        (("--data.inputs", "no_such.mp3"), "does not exist"),
        (("--data.inputs", "no_such_*.mp3"), "matches no audio file"),
        (("--data.inputs", "SONG", "--output.embeddings", "[nope]"), "unknown layer 'nope'"),
        (("--data.inputs", "SONG", "--output.map_tags", "[zither]"), "unknown tag 'zither'"),
        (("--data.inputs", "SONG", "--model.inference.top", "0"), "--model.inference.top must be at least 1, got 0"),
        (("--data.inputs", "SONG", "--model.inference.threshold", "1.5"), "must be a probability, from 0 to 1, got 1.5"),
        (("--data.inputs", "SONG", "--model.inference.threshold", "no.json"), "threshold no.json cannot be read"),
        (("--data.inputs", "SONG", "--output.hop", "0"), "--output.hop must be above 0 s"),
        (("--data.inputs", "SONG", "--output.map_tags", "[flute]"), "needs --output.maps true"),
        (("SONG", "--output.join", "true"), "needs at least two files in --data.inputs"),
        (("SONG", "--data.scores", "a.mid"), "--data.scores is not read here"),
        (("--data.input", "SONG"), "did you mean --data.inputs?"),
    ],
)
def test_predictions_that_cannot_be_made(place, words, said):
    song = next((place / "mtat" / "0").glob("*.mp3"))
    chosen = [song if word == "SONG" else word for word in words]
    done = tagging(*predict(place, *chosen, "--output.folder", place / "nothing"))
    assert done.code == 2
    assert "Traceback" not in done.err
    assert said in done.err
    assert not (place / "nothing").exists()


def test_bad_files_are_named_one_by_one(place):
    folder = place / "files"
    whole = write_audio(folder / "whole.mp3", tone(4.0, 1))
    (folder / "truncated.mp3").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "text.mp3").write_text("no music\n" * 100)
    (folder / "empty.flac").touch()
    write_audio(folder / "nan.wav", np.full(16_000, np.nan, np.float32))
    done = tagging(*predict(place, "--data.inputs", folder, "--output.folder", place / "found"))
    assert done.code == 1
    assert "Traceback" not in done.err
    listed = json.loads((place / "found" / "tags.json").read_text())
    assert sorted(listed["files"]) == [str(folder / "truncated.mp3"), str(whole)]
    assert sorted(listed["failed"]) == [str(folder / name) for name in ("empty.flac", "nan.wav", "text.mp3")]
    assert "NaN" in listed["failed"][str(folder / "nan.wav")]
    strict = tagging(*predict(place, "--data.inputs", folder, "--output.folder", place / "strict", "--data.strict", "true"))
    assert strict.code == 2
    assert "empty.flac" in strict.err


def test_training_leaves_bad_clips_out_and_strict_stops_at_the_first(place):
    spoilt = place / "spoilt"
    shutil.copytree(place / "mtat", spoilt)
    clips = sorted((spoilt / "0").glob("*.mp3")) + sorted((spoilt / "c").glob("*.mp3"))[:1]
    for clip in clips:
        clip.write_text("no music\n" * 100)
    short = ("--trainer.max_epochs", "1", "--report.gallery", "false", "--data.batch_size", "1", "--name", "spoilt")
    done = tagging(*fit(place, *short, root="spoilt"))
    assert done.code == 0, done.err
    strict = tagging(*fit(place, *short, "--overwrite", "true", "--data.strict", "true", root="spoilt"))
    assert strict.code == 2
    assert "does not decode as audio" in strict.err
    for clip in (spoilt / "c").glob("*.mp3"):
        clip.write_text("no music\n" * 100)
    none = tagging(*fit(place, *short, "--overwrite", "true", root="spoilt"))
    assert none.code == 2
    assert "Traceback" not in none.err
    assert "no clip of the" in none.err


def test_a_table_that_lists_an_unknown_file(place):
    own = write_folder(place / "own", seconds=2.0)
    with (own / "clips.csv").open("a") as table:
        table.write("ghost.ogg,train,piece,1,0,1\n")
    words = fit(place, "--data", "datamodules.Folder", "--data.root", own, "--data.batch_size", "2", root=None)
    said = refuse(place, *words)
    assert "ghost.ogg" in said
    assert "--data.missing skip" in said
    done = tagging(*words, "--data.missing", "skip", "--trainer.fast_dev_run", "true")
    assert done.code == 0, done.err
