"""Two real processes train systems whose steps are no plain ones, and score as one process does."""

import json

import pytest

from tests.helpers import forkserver
from tests.helpers.commands import command
from tests.tasks.generation.test_systems import CONFIGS, FEW, LIGHT, QUIET, settings

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
STEPS = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.check_val_every_n_epoch", "1")
PIECES = ("--data.corpus.pieces", "40", "--data.items", "16", "--data.batch_size", "4", "--data.eval_batch_size", "2")


OTHERS = ("markov", "rbm", "rnn_rbm", "minibach", "deephear_m", "vrae", "deepbach", "hexahedria")


@pytest.mark.parametrize("row", ["tiny_gan", *(pytest.param(row, marks=pytest.mark.slow) for row in OTHERS)])
def test_two_processes_train_and_score_as_one(row, tmp_path):
    light = () if row == "tiny_gan" else (*LIGHT.get(settings(row)["net"], ()), *LIGHT.get(row, ()))
    words = ["fit", "--config", CONFIGS / f"{row}.yaml", "--runs", tmp_path, "--name", "run", *QUIET, *STEPS, *FEW, *PIECES, *TWO]
    words += light
    done = forkserver.run("tasks.generation", *words)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "generation" / "run"
    two = json.loads((run / "metrics.json").read_text())["metrics"]
    alone = command("generation", "test", "--ckpt_path", run, *QUIET, *FEW)
    assert alone.code == 0, alone.err[-3000:]
    one = json.loads((run / "metrics.json").read_text())["metrics"]
    assert two == pytest.approx(one, rel=1e-6)
