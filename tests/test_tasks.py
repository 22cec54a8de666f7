"""What suite and README promise of every task, found by its configs/<task>/default.yaml and made small by tiny.yaml."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.commands import command

ROOT = Path(__file__).parent.parent
TASKS = sorted(path.parent.name for path in ROOT.glob("configs/*/default.yaml"))
TINY = sorted(f"{path.parent.name}/{path.stem}" for path in ROOT.glob("configs/*/tiny*.yaml"))  # one per way of training


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
    words = [sys.executable, "-m", f"tasks.{words[0]}", *words[1:]]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not sign.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
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
    options = ("--test_after_fit", "false", "--checkpoint.every_n_train_steps", "1")
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


@pytest.mark.parametrize("config", TINY)
def test_mixed_precision_trains_and_a_checkpoint_is_plain_data(config, tmp_path):
    task = config.split("/")[0]
    told = run(fit(config, tmp_path, "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1"))
    folder = tmp_path / task / "run"
    assert (folder / "metrics.json").is_file()
    assert "nan" not in (folder / "metrics.json").read_text().lower().split('"per_tag"')[0]
    assert str(folder / "metrics.json") in told
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["quintet"]["task"] == task
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values() if value.is_floating_point())
