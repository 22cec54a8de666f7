"""Rows of alignment as the command line runs them: with nothing to train, and with weights whose file goes away."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.alignment.salience import DeepSalience
from tests.helpers.commands import command
from tests.helpers.short_sets import write_short_maps

CONFIGS = Path(__file__).parents[3] / "configs" / "alignment"
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    onsets = np.cumsum(np.random.default_rng(0).uniform(0.15, 0.3, 12))
    return write_short_maps(tmp_path_factory.mktemp("maps"), 3, onsets)


def test_a_row_without_parameters_ends_with_its_scores(maps, tmp_path):
    words = ["--config", CONFIGS / "tiny.yaml", "--data.root", maps, "--runs", tmp_path, "--trainer.max_epochs", "1", *QUIET]
    net = ["--model.net", "models.alignment.Handcrafted", "--model.net.front", "models.alignment.front.CQT"]
    done = command("alignment", "fit", *words, *net, "--report.baselines", "true")
    assert done.code == 0, done.err
    run = tmp_path / "alignment" / "tiny"
    written = json.loads((run / "metrics.json").read_text())
    metrics = written["metrics"]
    assert (metrics["n_recordings"], metrics["n_events"]) == (1, 12) and written["parameters"] == 0
    assert metrics["distance_within_200"] == 1 and not any(name.startswith("binary") for name in metrics)
    assert written["validation"]["distance_within_200"] == 1
    names = ["this network, distance matrix", *(row["name"] for row in written["baselines"])]
    assert "DTW_chroma" in names and len(names) >= 4
    for row in written["baselines"]:
        assert {"within_25", "within_25_interval", "median_ms", "lost"} <= row.keys()
    assert set(written["intervals"]) == {f"distance_within_{ms}" for ms in (25, 50, 100, 200)}
    with (run / "events.csv").open() as file:
        events = list(csv.DictReader(file))
    assert len(events) == 12 and set(events[0]) == {"recording", "score_s", *(f"error_ms {name}" for name in names)}
    errors = np.array([float(row["error_ms this network, distance matrix"]) for row in events])
    assert metrics["distance_median_ms"] == pytest.approx(np.median(np.abs(errors)), abs=1e-2)
    with (run / "per_recording.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == names and float(rows[0]["within_200"]) == 1
    assert (run / "figures/errors.png").is_file() and "this network, distance matrix" in done.out and "DTW_chroma" in done.out


def test_a_checkpoint_with_salience_outlives_the_file_of_its_weights(tmp_path):
    root, weights = write_short_maps(tmp_path / "maps"), tmp_path / "weights.pt"
    torch.manual_seed(0)
    torch.save(DeepSalience().state_dict(), weights)
    words = ["--config", CONFIGS / "scnn_sal.yaml", "--data.root", root, "--runs", tmp_path, "--trainer.max_epochs", "1", *QUIET]
    small = ["--model.net.init_args.channels", "[2,2,2,2]", "--model.net.init_args.embedding", "4", "--report.examples", "0"]
    few = ["--data.items", "4", "--data.batch_size", "2", "--data.num_workers", "0", "--trainer.log_every_n_steps", "1"]
    few += ["--test_after_fit", "false"]  # these recordings have no test split
    done = command("alignment", "fit", *words, *small, *few, "--model.net.init_args.front.init_args.weights", weights)
    run = tmp_path / "alignment" / "scnn_sal"
    assert (run / "checkpoints" / "best.ckpt").is_file(), done.err
    weights.unlink()
    done = command("alignment", "validate", "--ckpt_path", run, *QUIET)
    assert done.code == 0, done.err
    assert json.loads((run / "metrics_validation.json").read_text())["metrics"]["n_recordings"] == 1
