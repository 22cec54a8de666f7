"""Two real processes train, and score an odd number of clips as one process does."""

import csv
import json
from pathlib import Path

import pytest
import torch

from tests.helpers import forkserver
from tests.helpers.commands import tagging, write_tiny

TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Tiny data with five clips to test on; every tag is on two of them or more, and never on all."""
    folder = tmp_path_factory.mktemp("ddp")
    words = write_tiny(folder)
    path = folder / "mtat" / "annotations_final.csv"
    with path.open(newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    tested = [row for row in rows if row[-1][0] in "def"]
    for i, row in enumerate(tested):
        row[1:-1] = [str(int((i + tag) % 2)) for tag in range(len(row) - 2)]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([header, *(row for row in rows if row not in tested[5:])])
    return words


def in_two_processes(*words):
    done = forkserver.run("tasks.tagging", *words, *TWO)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def result(folder):
    with (folder / "per_tag.csv").open(newline="") as file:
        table = {row["tag"]: {name: _number(cell) for name, cell in row.items()} for row in csv.DictReader(file)}
    return json.loads((folder / "metrics.json").read_text()), table


def _number(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


def test_two_processes_train_and_score_as_one(options):
    runs = Path(options[options.index("--runs") + 1])
    trained = in_two_processes("fit", *options, "--test_after_fit", "false", "--data.num_workers", "1")
    run = runs / "tagging" / "tiny"
    assert [path.name for path in run.parent.iterdir()] == ["tiny"]
    assert "8 items = 4 x 2 processes" in trained.stderr + trained.stdout
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4  # 18 clips in two epochs of two global batches of 8

    words = ("test", "--ckpt_path", run, "--runs", runs, "--report.gallery", "false", "--name")
    done = in_two_processes(*words, "two")
    assert done.stdout.count("test split, 5 clips") == 1  # said once, not by each process
    alone = tagging(*words, "one")
    assert alone.code == 0, alone.err
    (first, first_tags), (second, second_tags) = result(run.parent / "one"), result(run.parent / "two")
    assert first["metrics"]["n_clips"] == 5
    assert first["metrics"]["n_tags_scored"] == 5
    assert second["metrics"] == pytest.approx(first["metrics"], abs=1e-6)
    assert second["per_tag"] == pytest.approx(first["per_tag"], abs=1e-6)
    assert second_tags.keys() == first_tags.keys()
    for tag, row in first_tags.items():
        assert second_tags[tag] == pytest.approx(row, abs=1e-6), tag
