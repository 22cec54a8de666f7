"""A few fixed validation clips in W&B: the same ones each time, to be heard and looked at."""

import pytest

from tests.helpers.commands import command
from tests.helpers.sed_layout import NETWORK, SHORT, write_dcase2018
from tests.helpers.wandb_file import import_wandb


@pytest.fixture(autouse=True)
def closed_run():
    """In a process of its own the run would end with it; here the next test must not log into it."""
    wandb = import_wandb()
    yield
    wandb.finish()


def test_wandb_gets_sound_and_timeline_of_the_same_clips_each_time(tmp_path):
    root = write_dcase2018(tmp_path / "set")
    row = ["--config", "configs/sed/spectral.yaml", "--data.root", root, "--runs", tmp_path / "runs", *NETWORK, *SHORT]
    logger = "--trainer.logger=tasks.callbacks.WandbRun"
    done = command("sed", "fit", *row, "--test_after_fit", "false", "--report.examples", "2", logger)
    assert done.code == 0, done.err
    (media,) = tmp_path.rglob("media")
    assert len(list(media.joinpath("images").rglob("*.png"))) == 4  # two clips, two validations
    assert len(list(media.joinpath("audio").rglob("*.wav"))) == 4
