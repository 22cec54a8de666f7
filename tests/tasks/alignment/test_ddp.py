"""Two real processes train an alignment network, and score recordings as one process does."""

import json
from pathlib import Path

import numpy as np
import pytest

import tasks
from datamodules import MAPS
from tasks.alignment.calibration import calibrated
from tests.helpers import forkserver
from tests.helpers.commands import command
from tests.helpers.short_sets import write_short_maps

TINY = Path(__file__).parents[3] / "configs" / "alignment" / "tiny.yaml"
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")
FEW = ("--trainer.max_epochs", "1", "--data.items", "16")
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


def test_two_processes_train_and_score_as_one(tmp_path):
    root = write_short_maps(tmp_path / "maps", 12, np.cumsum(np.random.default_rng(0).uniform(0.15, 0.3, 6)))
    words = ("fit", "--config", TINY, "--data.root", root, "--runs", tmp_path, *QUIET, *FEW, *TWO)
    done = forkserver.run("tasks.alignment", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "alignment" / "tiny"
    assert done.stdout.count(str(run / "metrics.json")) == 1  # said once, not by each process
    alone = command("alignment", "test", "--ckpt_path", run, "--name", "alone", "--runs", tmp_path, *QUIET)
    assert alone.code == 0, alone.err
    two, one = (json.loads((run.parent / name / "metrics.json").read_text())["metrics"] for name in ("tiny", "alone"))
    assert one["n_recordings"] == 2
    assert two == pytest.approx(one, abs=1e-4)
    aligner, data = tasks.load(run), MAPS(str(root))
    data.connect(aligner.input_spec())
    assert aligner.calibration.tolist() == pytest.approx(calibrated(aligner.net, data), abs=1e-3)
