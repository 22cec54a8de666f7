"""A system whose training has a state of its own goes on from a checkpoint to the same weights, bit for bit."""

from pathlib import Path

import pytest
import torch

from tests.helpers.commands import command
from tests.tasks.generation.test_systems import CONFIGS, LIGHT, SMALL, settings

QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")
FEW = ("--data.items", "8", "--data.batch_size", "4", "--trainer.limit_val_batches", "1", "--test_after_fit", "false")
PRETRAINED = ("--model.net.pretrain_steps", "1")


def fit(row: str, folder: Path, epochs: int, *more: object) -> dict:
    found = settings(row)
    words = ["--config", CONFIGS / f"{row}.yaml", "--runs", folder, "--name", "run", *QUIET, *FEW, "--trainer.max_epochs", epochs]
    words += [*SMALL.get(found["corpus"], ()), *LIGHT.get(found["net"], ()), *LIGHT.get(row, ()), *more]
    done = command("generation", "fit", *words)
    assert done.code == 0, done.err[-2000:]
    return torch.load(folder / "generation" / "run" / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("row", ["deephear_m", "vrae", "rnn_rbm", "tiny_gan"])
def test_training_goes_on_to_the_same_weights(row, tmp_path):
    more = PRETRAINED if row == "deephear_m" else ()
    whole = fit(row, tmp_path / "whole", 3, *more)
    fit(row, tmp_path / "parts", 1, *more)
    resumed = fit(row, tmp_path / "parts", 3, *more, "--ckpt_path", "last")
    turns = 3 if row == "tiny_gan" else 1  # each an optimizer step
    assert whole["global_step"] == resumed["global_step"] == 6 * turns
    for name, weights in whole["state_dict"].items():
        assert torch.equal(weights, resumed["state_dict"][name]), name
    assert str(whole["optimizer_states"]) == str(resumed["optimizer_states"])
