"""Every verb of every task, after one tiny training: what each leaves, refuses and says; two processes score as one."""

import importlib
import inspect
import json
import math
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter

from datamodules.common.base import SuiteDataModule
from tasks.__main__ import find_tasks
from tasks.callbacks import StopEvaluation
from tasks.cli.registry import SUBCOMMANDS, Task, resolve
from tasks.writers.journal import read_history
from tests.helpers import forkserver
from tests.helpers.commands import command
from tests.helpers.layouts import tone, write_audio
from tests.helpers.traced import files_entered

ROOT = Path(__file__).parents[2]
TASKS = sorted(find_tasks())
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")
MOST_FILES = {"tagging": 10}
"""Files from a data set's `__getitem__` to the return of `training_step`, where it is not 14."""
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


def task_of(name: str) -> Task:
    return importlib.import_module(f"tasks.{name}.__main__").TASK


def told(name: str, *words: object, code: int = 0) -> str:
    done = command(name, *words)
    assert done.code == code, done.out[-1000:] + done.err[-2000:]
    assert "Traceback" not in done.err
    return done.out + done.err


def need(name: str, verb: str) -> None:
    if task_of(name).lacks(verb):
        pytest.skip(f"{name} has no {verb} yet")


@pytest.fixture(scope="module")
def entered():
    """Task -> files that its first training step entered, of the runs that `run` has trained."""
    return {}


@pytest.fixture(scope="module")
def run(tmp_path_factory, entered):
    """Run folder of a task's tiny config, trained when it is first asked for."""
    runs = {}

    def get(name):
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            tiny = ROOT / "configs" / name / "tiny.yaml"
            with files_entered() as entered[name]:
                said = told(name, "fit", "--config", tiny, "--runs", folder, *QUIET)
            assert re.search(r"^fit took \d+:\d\d \([1-9]\d* CPU s over all processes\)$", said, re.MULTILINE), said[-400:]
            runs[name] = folder / name / "tiny"
        return runs[name]

    return get


def inputs(name: str, folder: Path) -> tuple[list[str], Path]:
    """What `predict` reads, and a broken file; a task of other inputs than audio says so by `predict_inputs` in its test."""
    module = f"tests.tasks.{name}.test_task"
    if importlib.util.find_spec(module) and hasattr(importlib.import_module(module), "predict_inputs"):
        return importlib.import_module(module).predict_inputs(folder)
    write_audio(folder / "song.wav", tone(3.0, 1, 44_100, channels=2), 44_100)
    (folder / "broken.wav").write_bytes(b"no audio")
    return [str(folder / "song.wav")], folder / "broken.wav"


@pytest.mark.parametrize("name", TASKS)
def test_each_entry_of_a_task_is_what_it_says(name):
    task = task_of(name)
    assert task.name == name
    assert task.monitor[1] in ("min", "max")
    kinds = {"module": pl.LightningModule, "data": SuiteDataModule, "files": SuiteDataModule, "report": pl.Callback}
    for entry, kind in (kinds | {"writer": BasePredictionWriter}).items():
        path = getattr(task, entry)
        assert path is None or issubclass(resolve(path), kind), f"{entry}: {path} is no {kind.__name__}"
    if task.writer:
        assert {"folder", "overwrite"} <= inspect.signature(resolve(task.writer).__init__).parameters.keys()
    if task.compare:
        assert callable(resolve(task.compare))
    arguments = inspect.signature(resolve(task.module).__init__).parameters
    assert {target.split(".")[0] for target in task.links.values()} <= arguments.keys()


@pytest.mark.parametrize("name", TASKS)
def test_usage_offers_the_verbs_that_the_task_has(name):
    usage, task = told(name, "--help"), task_of(name)
    assert {verb for verb in SUBCOMMANDS if f"\n  {verb} " in usage} == {verb for verb in SUBCOMMANDS if not task.lacks(verb)}
    for verb in SUBCOMMANDS:
        if task.lacks(verb):
            assert f"{name} cannot {verb} yet" in told(name, verb, code=2)


@pytest.mark.parametrize("name", TASKS)
def test_scores_are_finite_and_say_what_they_were_measured_on(name, run):
    content = json.loads((run(name) / "metrics.json").read_text())
    assert (content["task"], content["row"], content["seed"]) == (name, "tiny", 0)
    assert {"name", "subset", "split", "policy"} <= content["data"].keys()
    assert content["data"]["name"] == "demo"  # never under the real set's name
    assert content["parameters"] > 0 and content["checkpoint"] == "best.ckpt"
    assert all(value is None or math.isfinite(value) for value in content["metrics"].values())
    assert any(value is not None for value in content["metrics"].values())


@pytest.mark.parametrize("name", TASKS)
def test_validate_and_test_leave_their_scores(name, run):
    need(name, "test")
    before = json.loads((run(name) / "metrics.json").read_text())["metrics"]
    told(name, "test", "--config", "tiny", "--ckpt_path", run(name), *QUIET)  # whose report draws little
    assert json.loads((run(name) / "metrics.json").read_text())["metrics"] == pytest.approx(before, abs=1e-4)
    said = told(name, "validate", "--config", "tiny", "--ckpt_path", run(name), *QUIET)
    path = run(name) / "metrics_validation.json"
    assert json.loads(path.read_text())["data"]["split"] == "validation"
    assert str(path) in said


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", TASKS)
def test_predict_names_what_it_cannot_read_and_goes_on_where_it_was(name, run, tmp_path):
    need(name, "predict")
    good, broken = inputs(name, tmp_path)
    words = ("predict", "--ckpt_path", run(name), "--output.folder", tmp_path / "out", *QUIET)
    # Words up to the next option, as a shell makes them of *.wav.
    assert str(broken) in told(name, *words, "--data.inputs", *good, broken, "--data.num_workers", 0, code=1)
    left = contents(tmp_path / "out")
    assert left
    assert not [path for path in left if path.name.startswith(".")]
    said = told(name, *words, *good)  # positional files
    assert re.search(rf"{len(good)} of {len(good)} inputs? (is|are) done already", said)
    assert contents(tmp_path / "out") == left
    again = told(name, *words, "--data.inputs", json.dumps([*good, str(broken)]), code=1)
    assert str(broken) in again and "1 that failed before" in again
    told(name, *words, *good, "--overwrite", "true")
    tables = [path for path in (tmp_path / "out").iterdir() if path.suffix in (".csv", ".json", ".tsv")]
    assert tables and not any("broken" in path.read_text(encoding="utf-8") for path in tables)


@pytest.mark.parametrize("name", TASKS)
def test_a_signal_stops_predict_at_the_next_file_and_a_file_that_is_no_utf8_stops_nothing(name, run, tmp_path, monkeypatch):
    need(name, "predict")
    (first, *_), _ = inputs(name, tmp_path)
    odd = tmp_path / os.fsdecode(b"b\xff") / Path(first).name
    try:
        odd.parent.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    for file in tmp_path.glob(f"{Path(first).stem}.*"):
        shutil.copy(file, odd.parent / file.with_stem(os.fsdecode(b"s\xfe")).name)
    odd = odd.with_stem(os.fsdecode(b"s\xfe"))
    writer = resolve(task_of(name).writer)
    write_input = writer.write_input

    def stopped(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        return write_input(self, *args)

    words = ("predict", "--ckpt_path", run(name), "--output.folder", tmp_path / "out", *QUIET, "--data.inputs", first, odd)
    monkeypatch.setattr(writer, "write_input", stopped)
    told(name, *words, code=143)
    monkeypatch.setattr(writer, "write_input", write_input)
    history = read_history(tmp_path / "out")
    assert [entry.error for entry in history.entries.values()] == [None]
    assert "1 of 2 inputs is done already" in told(name, *words)
    entries = read_history(tmp_path / "out").entries.values()
    assert sorted(entry.file.rpartition("/")[2] for entry in entries) == sorted([Path(first).name, rf"s\xfe{odd.suffix}"])
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".csv", ".json", ".tsv", ".html", ".jsonl"):
            path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("verb", "file"), [("test", "metrics.json"), ("validate", "metrics_validation.json")])
def test_a_signal_stops_validate_and_test_and_leaves_no_scores_of_a_part(name, verb, file, run, tmp_path, monkeypatch):
    need(name, verb)
    checkpoint = run(name)  # trained before anything is signalled
    for hook in ("on_test_start", "on_validation_start"):
        start = getattr(StopEvaluation, hook)

        def signalled(self, *args, start=start):
            start(self, *args)
            os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(StopEvaluation, hook, signalled)
    words = ("--ckpt_path", checkpoint, "--runs", tmp_path, "--name", "stopped", *QUIET)
    told(name, verb, *words, code=143)
    assert not (tmp_path / name / "stopped" / file).exists()


@pytest.mark.parametrize("name", TASKS)
def test_prepare_export_and_compare(name, run, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.separation.module.SECONDS", 1.0)  # recurrent layers are unrolled: a node a frame
    tiny = ROOT / "configs" / name / "tiny.yaml"
    told(name, "prepare", "--config", tiny, "--runs", tmp_path, "--name", "prepared")
    assert json.loads((tmp_path / name / "prepared" / "report.json").read_text())
    if not task_of(name).lacks("compare"):
        assert "tiny" in told(name, "compare", run(name), "--out", tmp_path / "compared")
        assert (tmp_path / "compared" / "compare.md").is_file()
    if hasattr(resolve(task_of(name).module), "export_program"):
        told(name, "export", "--ckpt_path", run(name))
        assert {"model.safetensors", "model.pt2", "config.yaml"} <= {path.name for path in (run(name) / "export").iterdir()}
        assert "--overwrite true" in told(name, "export", "--ckpt_path", run(name), code=2)


@pytest.mark.parametrize("name", [name for name in TASKS if not (ROOT / "tests" / "tasks" / name / "test_ddp.py").exists()])
def test_two_processes_train_and_score_as_one(name, tmp_path):
    tiny = str(ROOT / "configs" / name / "tiny.yaml")
    done = forkserver.run(f"tasks.{name}", "fit", "--config", tiny, "--runs", tmp_path, *QUIET, *TWO)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(str(tmp_path / name / "tiny" / "metrics.json")) == 1  # said once, not by each process
    alone = ("--config", "tiny", "--ckpt_path", tmp_path / name / "tiny", "--name", "alone", "--runs", tmp_path)
    told(name, "test", *alone, *QUIET)
    both = [json.loads((tmp_path / name / kind / "metrics.json").read_text())["metrics"] for kind in ("tiny", "alone")]
    assert both[0] == pytest.approx(both[1], abs=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_a_training_step_enters_few_files(name, run, entered):
    run(name)
    assert 5 < len(entered[name]) <= MOST_FILES.get(name, 14), sorted(entered[name])
