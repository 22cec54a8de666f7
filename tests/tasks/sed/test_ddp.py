"""Two real processes train with one teacher, and score an odd number of clips as one process does."""

import json

import pytest
import torch

from tests.helpers import forkserver
from tests.helpers.commands import command
from tests.helpers.sed_layout import NETWORK, SHORT, write_dcase2018

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


def in_two_processes(*words):
    done = forkserver.run("tasks.sed", *words, *TWO)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_two_processes_train_and_score_as_one(tmp_path):
    root, runs = write_dcase2018(tmp_path / "set"), tmp_path / "runs"
    row = ("--config", "configs/sed/spectral.yaml", "--data.root", root, "--runs", runs, *NETWORK, *SHORT)
    trained = in_two_processes("fit", *row, "--test_after_fit", "false")
    run = runs / "sed" / "spectral"
    assert [path.name for path in run.parent.iterdir()] == ["spectral"]
    assert "4 items = 2 x 2 processes" in trained.stderr + trained.stdout
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    assert checkpoint["callbacks"]["MeanTeacher"]["steps"] == 6

    words = ("test", "--ckpt_path", run, "--runs", runs, "--report.pictures", "0", "--name")
    done = in_two_processes(*words, "two")
    assert done.stdout.count("test split, 5 clips") == 1  # said once, not by each process
    alone = command("sed", *words, "one")
    assert alone.code == 0, alone.err
    one, two = (json.loads((run.parent / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["metrics"]["n_clips"] == 5
    assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-6, nan_ok=True)
    assert (run.parent / "one" / "per_class.csv").read_text() == (run.parent / "two" / "per_class.csv").read_text()


def test_a_share_that_does_not_divide_is_named(tmp_path):
    root = write_dcase2018(tmp_path / "set")
    row = ("--config", "configs/sed/spectral.yaml", "--data.root", root, "--runs", tmp_path / "runs", *NETWORK, *SHORT)
    done = forkserver.run("tasks.sed", "fit", *row, "--data.streams={weak: 3, unlabeled: 1}", *TWO)
    assert done.returncode == 2
    assert "The global batch of 3 does not divide over 2 processes" in done.stderr and "Traceback" not in done.stderr
