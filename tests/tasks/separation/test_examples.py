"""A few fixed validation pieces in W&B: the same ones each time, to be heard and looked at."""

import pytest
import torch

from tests.helpers.commands import separation
from tests.helpers.stems import STEMS, write_musdb_hq
from tests.helpers.wandb_file import import_wandb
from tests.tasks.separation.test_cli import ROW


@pytest.fixture(autouse=True)
def closed_run():
    """In a process of its own the run would end with it; here the next test must not log into it."""
    wandb = import_wandb()
    yield
    wandb.finish()


def test_wandb_gets_sound_and_picture_of_the_same_pieces_each_time(tmp_path):
    torch.set_num_threads(1)
    root = write_musdb_hq(tmp_path / "hq", seconds=2.0, rate=8000)
    logger = "--trainer.logger=tasks.callbacks.WandbRun"
    more = ["--test_after_fit", "false", "--report.examples", "1", logger, "--data.root", root, "--runs", tmp_path / "runs"]
    done = separation("fit", *ROW, *more)
    assert done.code == 0, done.err
    (media,) = tmp_path.rglob("media")
    assert len(list(media.joinpath("images").rglob("*.png"))) == 2  # one piece, two validations
    heard = list(media.joinpath("audio").rglob("*.wav"))
    assert len(heard) == 2 * len(STEMS)
    assert not list(media.rglob("*example_1*"))
