"""A few fixed validation clips in W&B: the same ones each time, to be heard, read and looked at."""

import pytest
import torch

from tests.helpers.commands import tagging, write_tiny
from tests.helpers.wandb_file import import_wandb


@pytest.fixture(autouse=True)
def closed_run():
    """In a process of its own the run would end with it; here the next test must not log into it."""
    wandb = import_wandb()
    yield
    wandb.finish()


def test_wandb_gets_sound_table_and_picture_of_the_same_clips_each_time(tmp_path):
    torch.set_num_threads(1)
    options = write_tiny(tmp_path)
    logger = "--trainer.logger=tasks.callbacks.WandbRun"
    done = tagging("fit", *options, "--test_after_fit", "false", "--report.examples", "1", logger, "--name", "seen")
    assert done.code == 0, done.err
    (media,) = tmp_path.rglob("media")
    for kind, ending in (("audio", "wav"), ("images", "png"), ("table", "json")):
        files = sorted(media.joinpath(kind).rglob(f"*.{ending}"))
        assert len(files) == 2, kind  # one clip, two validations
    assert len({path.read_bytes() for path in media.joinpath("audio").rglob("*.wav")}) == 1
    assert not list(media.rglob("*example_1*"))
