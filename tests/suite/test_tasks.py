"""What suite and README promise of every task, found by its configs/<task>/default.yaml and made small by tiny.yaml."""

import importlib
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
from pytorch_lightning import Trainer

from datamodules.common.errors import DataError
from tasks.callbacks import RequireSplits
from tasks.cli.registry import resolve
from tests.helpers import forkserver, toy
from tests.helpers.commands import command

ROOT = Path(__file__).parents[2]
TASKS = sorted(path.parent.name for path in ROOT.glob("configs/*/default.yaml"))
TINY = sorted(f"{path.parent.name}/{path.stem}" for path in ROOT.glob("configs/*/tiny*.yaml"))  # one per way of training
SHORT = ("--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1")


def fit(config: str, runs: Path, *more: str) -> list[str]:
    """Words after `python -m tasks.` that train a tiny config."""
    tiny = str(ROOT / "configs" / f"{config}.yaml")
    return [config.split("/")[0], "fit", "--config", tiny, "--runs", str(runs), "--name", "run", *more]


def run(words: list[str]) -> str:
    done = command(*words)
    assert done.code == 0, done.out[-2000:] + done.err[-2000:]
    return done.out + done.err


def kill_after(words: list[str], sign: Path) -> None:
    """Start a run in a process of its own and end it by SIGKILL as soon as a file is there."""
    process = forkserver.start(f"tasks.{words[0]}", *words[1:])
    deadline = time.monotonic() + 200
    while not sign.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_there_is_a_task():
    assert TASKS


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_files(task):
    """A task is found by its folder of configs: base, default and tiny beside the rows."""
    folder = ROOT / "configs" / task
    assert {"base.yaml", "default.yaml", "tiny.yaml"} <= {path.name for path in folder.iterdir()}
    assert (ROOT / "tasks" / task / "__main__.py").exists()


@pytest.mark.parametrize("config", TINY)
def test_a_run_ended_by_kill_9_goes_on_to_the_same_weights(config, tmp_path):
    task = config.split("/")[0]
    options = ("--test_after_fit", "false", "--checkpoint.every_n_train_steps", "1", *SHORT)
    run(fit(config, tmp_path / "whole", *options))
    broken = fit(config, tmp_path / "broken", *options)
    folder = tmp_path / "broken" / task / "run"
    kill_after(broken, folder / "checkpoints" / "previous.ckpt")
    assert not (folder / "fit.json").exists()
    run([*broken, "--ckpt_path", "last"])
    last = [tmp_path / kind / task / "run" / "checkpoints" / "last.ckpt" for kind in ("whole", "broken")]
    whole, resumed = (torch.load(path, weights_only=True) for path in last)
    assert whole["global_step"] == resumed["global_step"] > 2
    assert whole["state_dict"].keys() == resumed["state_dict"].keys()
    for name, weights in whole["state_dict"].items():
        assert torch.equal(weights, resumed["state_dict"][name]), name
    assert str(whole["optimizer_states"]) == str(resumed["optimizer_states"])


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


@pytest.mark.parametrize(("task", "split"), [*((task, "test_set") for task in TASKS), ("generation", "validation_set")])
def test_a_split_that_is_needed_at_the_end_is_asked_for_before_step_1(task, split, tmp_path, monkeypatch):
    data = resolve(importlib.import_module(f"tasks.{task}.__main__").TASK.data)
    missing = DataError("the annotations name no clip of this split.")
    for kind in subclasses(data):
        if split in vars(kind):
            monkeypatch.setattr(kind, split, mock.Mock(side_effect=missing))
    monkeypatch.setattr(Trainer, "_run_stage", mock.Mock(side_effect=AssertionError("training began")))
    done = command(*fit(f"{task}/tiny", tmp_path))
    assert done.code == 2, done.err
    assert "no clip of this split" in done.err
    assert ("--test_after_fit false" in done.err) == (split == "test_set")
    assert not (tmp_path / task / "run").exists()


def test_an_empty_split_is_refused_and_one_that_is_not_needed_is_not_built(tmp_path):
    trainer = toy.train(tmp_path, callbacks=(RequireSplits(test=False),), data=toy.ToyData(), max_epochs=1)
    assert trainer.current_epoch == 1
    with pytest.raises(DataError, match="is empty: check the data set"):
        toy.train(tmp_path, callbacks=(RequireSplits(test=False),), data=toy.ToyData(validation=0))


@pytest.mark.parametrize("config", TINY)
def test_mixed_precision_trains_and_a_checkpoint_is_plain_data(config, tmp_path):
    task = config.split("/")[0]
    short = (*SHORT, "--trainer.max_epochs", "1", "--trainer.limit_test_batches", "1")
    output = run(fit(config, tmp_path, "--trainer.precision", "bf16-mixed", *short))
    folder = tmp_path / task / "run"
    assert (folder / "metrics.json").is_file()
    assert "nan" not in (folder / "metrics.json").read_text().lower().split('"per_tag"')[0]
    assert str(folder / "metrics.json") in output
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["quintet"]["task"] == task
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values() if value.is_floating_point())
