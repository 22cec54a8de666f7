"""Checkpoints on a disk that is full, dies or cannot be flushed: kept until it takes them, and said."""

import errno
import os
import stat
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from datamodules.common.errors import DataError
from tasks.callbacks import newest_loadable, storage
from tests.helpers.toy import Scored, Stop, differing, epoch_of, train, weights


def test_a_write_that_dies_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    writer = storage.DurableIO()
    writer.save_checkpoint({"a": 1}, path)
    order = []

    def dying_fsync(handle):
        order.append("fsync")
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", dying_fsync)
    with pytest.raises(KeyboardInterrupt):
        writer.save_checkpoint({"a": 2}, path)
    assert order
    assert torch.load(path) == {"a": 1}
    assert not (tmp_path / "previous.ckpt").exists()


def test_bytes_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("flush"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(str(b)), replace(a, b)))
    storage.DurableIO().save_checkpoint({}, tmp_path / "last.ckpt")
    assert events == ["flush", str(tmp_path / "last.ckpt"), "flush"]


class FullDisk(pl.Callback):
    """Lets every flush of a file fail in some epochs, or in their validations alone; `name`: of these files."""

    def __init__(self, monkeypatch, epochs, name="ckpt", training=True):
        self.epochs, self.name, self.training, self.trainer = epochs, name, training, None
        real = os.fsync

        def flush(handle):
            if self.trainer and self.full() and self.name in str(Path(f"/proc/self/fd/{handle}").readlink()):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", flush)

    def full(self):
        return self.trainer.current_epoch in self.epochs and (self.training or self.trainer.validating)

    def on_train_start(self, trainer, pl_module):
        self.trainer = trainer


def best_score_in(path):
    states = torch.load(path, weights_only=True)["callbacks"]
    return next(state["best_score"] for name, state in states.items() if name.startswith("Checkpoint"))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names the files that are flushed")


@needs_proc
def test_a_full_disk_does_not_end_training(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="disk full .No space left on device.*training continues"):
        trainer = train(tmp_path, callbacks=(FullDisk(monkeypatch, {1}),))
    assert trainer.current_epoch == 3
    assert epoch_of(tmp_path / "checkpoints" / "last.ckpt") == 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


@needs_proc
@pytest.mark.parametrize(
    ("scores", "epochs", "training", "written_at"),
    [([0.5, 0.1, 0.4], {1}, True, "the next validation"), ([0.5, 0.4, 0.1], {2}, False, "the end")],
)
def test_best_weights_are_kept_until_the_disk_takes_them(scores, epochs, training, written_at, tmp_path, monkeypatch, recwarn):
    """The score and the weights of best.ckpt are of one epoch, whatever failed in between."""
    full = FullDisk(monkeypatch, epochs, training=training)
    checkpoint = train(tmp_path, partial(Scored, scores), callbacks=(full,)).checkpoint_callback
    folder, (best,) = tmp_path / "checkpoints", epochs
    assert any("best.ckpt could not be written" in str(warning.message) for warning in recwarn), written_at
    assert epoch_of(folder / "best.ckpt") == best
    assert checkpoint.best_score == best_score_in(folder / "best.ckpt") == best_score_in(folder / "last.ckpt")
    assert checkpoint.best_score == pytest.approx(0.1)
    assert epoch_of(folder / "last.ckpt") == 2


@needs_proc
@pytest.mark.parametrize("better", [0.05, 0.2])
def test_newer_weights_replace_unwritten_ones_only_if_they_are_better(better, tmp_path, monkeypatch):
    full = FullDisk(monkeypatch, {1})
    train(tmp_path, partial(Scored, [0.5, 0.1, better]), callbacks=(full,))
    assert epoch_of(tmp_path / "checkpoints" / "best.ckpt") == (2 if better < 0.1 else 1)


@needs_proc
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ckpt", "nothing was saved since step 5: disk full .No space left on device.; make room for .*last.ckpt"),
        ("best.ckpt", "the best weights were not saved: disk full .No space left on device.; make room for .*best.ckpt"),
    ],
)
def test_a_training_that_could_not_be_saved_says_so_and_fails(name, sentence, tmp_path, monkeypatch):
    whole, full = train(tmp_path / "whole", partial(Scored, [0.5, 0.4, 0.3])), FullDisk(monkeypatch, {1, 2, 3}, name)
    with pytest.raises(DataError, match=sentence):
        train(tmp_path / "cut", partial(Scored, [0.5, 0.4, 0.3]), callbacks=(full,))
    full.trainer = None
    folder = tmp_path / "cut" / "checkpoints"
    assert epoch_of(folder / "best.ckpt") == 0
    assert best_score_in(folder / "best.ckpt") == pytest.approx(0.5)
    trainer = train(tmp_path / "cut", partial(Scored, [0.5, 0.4, 0.3]), ckpt_path=newest_loadable(folder))
    assert differing(weights(whole), weights(trainer)) == []


@needs_proc
def test_a_run_that_is_stopped_tries_once_more_and_says_what_is_lost(tmp_path, monkeypatch):
    full = FullDisk(monkeypatch, {1})
    with pytest.warns(UserWarning, match="nothing was saved since step 5: disk full"), pytest.raises(SystemExit) as left:
        train(tmp_path, callbacks=(full, Stop("on_train_batch_end", 8, "SIGTERM")))
    assert left.value.code == 143


def test_a_rename_that_fails_leaves_the_old_file_in_its_place(tmp_path, monkeypatch):
    path, writer, replace = tmp_path / "last.ckpt", storage.DurableIO(), os.replace
    writer.save_checkpoint({"a": 1}, path)

    def failing(source, target):
        if str(source).endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    writer.save_checkpoint({"a": 2}, path)
    assert writer.reason(path) == "Input/output error"
    assert torch.load(path) == {"a": 1}
    monkeypatch.setattr(os, "replace", replace)
    writer.retry(path)
    assert writer.reason(path) is None
    assert (torch.load(path), torch.load(tmp_path / "previous.ckpt")) == ({"a": 2}, {"a": 1})
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_flushed_is_no_failed_write(tmp_path, monkeypatch):
    """Some network file systems refuse it."""
    real = os.fsync

    def flush(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", flush)
    writer = storage.DurableIO()
    writer.save_checkpoint({"a": 1}, tmp_path / "last.ckpt")
    assert writer.reason(tmp_path / "last.ckpt") is None
