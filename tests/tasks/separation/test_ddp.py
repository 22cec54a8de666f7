"""Two real processes train, with one optimizer and with one per source, and score an odd number of tracks as one does."""

import csv
import json

import pytest
import torch

from tests.helpers import forkserver
from tests.helpers.commands import separation
from tests.helpers.stems import write_musdb_hq
from tests.tasks.separation.test_cli import ROW

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
APART = ["--model.one_optimizer", "false", "--model.patience", "9", "--model.net.bridge", "false"]
APART += ["--model.loss.combination", "false", "--model.loss.multi_domain", "false"]


@pytest.fixture(scope="module")
def hq(tmp_path_factory):
    """An odd number of tracks to test on."""
    root = tmp_path_factory.mktemp("ddp") / "hq"
    return write_musdb_hq(root, test=("A - One", "B - Two", "C - Three"), seconds=3.2, rate=8000)


def in_two_processes(*words):
    done = forkserver.run("tasks.separation", *words, *TWO)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.parametrize("options", [[], APART], ids=["one optimizer", "one per source"])
def test_two_processes_train_and_score_as_one(hq, tmp_path, options):
    words = [*ROW, *options, "--data.root", hq, "--runs", tmp_path, "--test_after_fit", "false", "--trainer.max_epochs", "1"]
    # As many pieces as tracks: an evaluation set is shared only among as many processes as it has items.
    trained = in_two_processes("fit", *words, "--data.validation_seconds", "1.1", "--data.num_workers", "1")
    assert "2 items = 1 x 2 processes" in trained.stdout + trained.stderr
    run = tmp_path / "separation" / "p"
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for name, value in weights.items() if value.is_floating_point())
    bss = "sdr" if options else "full"  # the filters of the other measures take most of the time
    score = ("test", "--ckpt_path", run, "--runs", tmp_path, "--trainer.accelerator", "cpu", "--report.baselines", "true")
    score += ("--report.bss", bss)
    told = in_two_processes(*score, "--name", "two").stdout
    assert told.count("test split, 3 tracks") == 1  # said once, not by each process
    alone = separation(*score, "--name", "one")
    assert alone.code == 0, alone.err
    first, second = (json.loads((run.parent / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert second["metrics"] == pytest.approx(first["metrics"], abs=1e-4)  # the scores are kept with five decimals
    for name, values in first["baselines"].items():
        assert second["baselines"][name] == pytest.approx(values, abs=1e-6), name
    tables = [list(csv.DictReader((run.parent / name / "tracks.csv").open())) for name in ("one", "two")]
    assert [row["track"] for row in tables[0]] == [row["track"] for row in tables[1]]
    assert len({row["track"] for row in tables[0]}) == 3
