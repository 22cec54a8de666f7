"""Checkpoint files: whole or absent, plain, found again when broken or moved, the best among them right."""

import shutil
import sys
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import pytest
import pytorch_lightning as pl
import torch

from tasks.callbacks import Checkpoint, newest_loadable, storage
from tasks.callbacks.checkpoint import adopt, set_aside
from tasks.cli.checkpoints import Stamp
from tasks.cli.lightning_internals import rewind, settle
from tests.helpers.equal_runs import assert_same_run
from tests.helpers.toy import Recorder, Scored, Stop, Stopped, Toy, ToyData, ToyGan, epoch_of, logged, train, weights


def test_every_file_holds_plain_data_and_the_hyper_parameters(tmp_path):
    train(tmp_path, partial(Toy, lr=0.01))
    files = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert files == ["best.ckpt", "last.ckpt", "previous.ckpt"]  # no epoch=..., no -v1, no folder named val
    for name in files:
        content = torch.load(tmp_path / "checkpoints" / name, weights_only=True)
        assert content["hyper_parameters"]["lr"] == 0.01
    again = Toy.load_from_checkpoint(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert again.hparams.lr == 0.01


@pytest.mark.parametrize(("mode", "best"), [("min", 3), ("max", 1)])
def test_best_follows_the_monitor(mode, best, tmp_path):
    checkpoint = Checkpoint(str(tmp_path), monitor="val/loss", mode=mode)
    scores = [float("nan"), 0.9, float("nan"), 0.1, 0.9]
    trainer = pl.Trainer(
        max_epochs=5, accelerator="cpu", callbacks=[checkpoint], logger=False, enable_progress_bar=False, num_sanity_val_steps=2
    )
    trainer.fit(Scored(scores), datamodule=ToyData())
    assert checkpoint.best_score == pytest.approx(scores[best])
    assert checkpoint.best_model_path == str(tmp_path / "best.ckpt")
    assert epoch_of(checkpoint.best_model_path) == best
    assert epoch_of(checkpoint.last_model_path) == 4
    assert trainer.checkpoint_callback is checkpoint
    trainer.test(datamodule=ToyData(), ckpt_path="best", verbose=False)


def test_last_is_written_after_every_validation(tmp_path):
    class Steps(pl.Callback):
        """Step of last.ckpt before each batch."""

        steps: ClassVar = []

        def on_train_batch_start(self, trainer, *_):
            path = tmp_path / "checkpoints" / "last.ckpt"
            self.steps.append(torch.load(path, weights_only=True)["global_step"] if path.exists() else 0)

    trainer = train(tmp_path, callbacks=(Steps(),), every=1000, max_epochs=1, val_check_interval=2)
    assert Steps.steps == [step - step % 2 for step in range(trainer.global_step)]


def test_a_metric_that_is_not_logged_is_said(tmp_path):
    with pytest.warns(UserWarning, match="'val/typo' was not logged"):
        trainer = train(tmp_path, max_epochs=1, monitor="val/typo")
    assert trainer.checkpoint_callback.best_model_path == ""
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "weights only", "flipped byte"])
def test_broken_last_falls_back_and_says_so(damage, tmp_path):
    whole = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "cut", callbacks=(Stop("on_train_batch_end", 10),))
    folder = tmp_path / "cut" / "checkpoints"
    last = folder / "last.ckpt"
    content = last.read_bytes()
    if damage == "weights only":
        torch.save({"state_dict": {}}, last)
    else:
        place = content.index(torch.load(last)["state_dict"]["net.0.weight"].numpy().tobytes())
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        last.write_bytes({"truncated": content[:-200], "empty": b"", "garbage": b"x" * 99, "flipped byte": flipped}[damage])
    with pytest.warns(UserWarning, match="last.ckpt cannot be resumed from"):
        path = newest_loadable(folder)
    assert path == str(folder / "previous.ckpt")
    trainer = train(tmp_path / "cut", ckpt_path=path)
    assert_same_run(trainer, tmp_path / "cut", weights(whole), logged(tmp_path / "whole"))
    assert (folder / "last.ckpt.replaced").exists()
    assert newest_loadable(folder) == str(last)


def test_a_kill_between_the_two_renames_leaves_the_previous_one(tmp_path):
    train(tmp_path, max_epochs=1)
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    assert newest_loadable(tmp_path / "checkpoints") == str(tmp_path / "checkpoints" / "previous.ckpt")


def test_nothing_to_resume_from(tmp_path):
    assert newest_loadable(tmp_path / "nowhere") is None
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be resumed from"):
        assert newest_loadable(tmp_path) is None


def test_a_run_survives_being_moved(tmp_path):
    """Lightning's ModelCheckpoint forgets the best score when the folder has another name."""
    scores = [0.1, 0.5, 0.4]
    with pytest.raises(Stopped):
        train(tmp_path / "old", partial(Scored, scores), callbacks=(Stop("on_train_epoch_start", 2),))
    shutil.move(tmp_path / "old", tmp_path / "new")
    trainer = train(tmp_path / "new", partial(Scored, scores), ckpt_path=newest_loadable(tmp_path / "new" / "checkpoints"))
    assert trainer.checkpoint_callback.best_score == pytest.approx(0.1)
    assert epoch_of(tmp_path / "new" / "checkpoints" / "best.ckpt") == 0
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "new" / "checkpoints" / "best.ckpt")


def test_a_lost_best_is_said_and_made_anew(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, partial(Scored, [0.1, 0.5, 0.4]), callbacks=(Stop("on_train_epoch_start", 2),))
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    trainer = train(tmp_path, partial(Scored, [0.1, 0.5, 0.4]), ckpt_path=newest_loadable(tmp_path / "checkpoints"))
    assert trainer.checkpoint_callback.best_score == pytest.approx(0.4)


def test_nothing_is_saved_in_an_open_window(tmp_path):
    """A validation after three of four micro-batches: the gradient so far would be lost."""
    options = {"accumulate_grad_batches": 2, "val_check_interval": 3, "every": 0}
    with pytest.raises(Stopped):
        train(tmp_path, callbacks=(Stop("on_train_batch_start", 4),), **options)
    assert torch.load(newest_loadable(tmp_path / "checkpoints"))["global_step"] == 0


class KilledBetween(pl.Callback):
    """Dies after best.ckpt of an epoch is written and before the last.ckpt that knows of it."""

    def setup(self, trainer, pl_module, stage):
        save = trainer.save_checkpoint

        def dying(path, *args, **options):
            if path.endswith("last.ckpt") and trainer.validating and trainer.current_epoch == 1:
                raise Stopped
            save(path, *args, **options)

        trainer.save_checkpoint = dying


def test_a_kill_between_best_and_last_is_made_good(tmp_path):
    scores = [0.5, 0.3, 0.4]
    with pytest.raises(Stopped):
        train(tmp_path, partial(Scored, scores), callbacks=(KilledBetween(),))
    folder = tmp_path / "checkpoints"
    assert epoch_of(folder / "best.ckpt") == 1
    trainer = train(tmp_path, partial(Scored, scores), ckpt_path=newest_loadable(folder))
    assert trainer.checkpoint_callback.best_score == pytest.approx(0.3)
    assert epoch_of(folder / "best.ckpt") == 1


def test_a_fresh_run_never_goes_on_from_anothers_checkpoint(tmp_path):
    train(tmp_path)
    with pytest.raises(Stopped):
        train(tmp_path, callbacks=(Stop("on_train_batch_end", 1),))
    assert torch.load(newest_loadable(tmp_path / "checkpoints"))["global_step"] == 0
    assert sorted(path.name for path in (tmp_path / "checkpoints" / "replaced").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]


def test_a_run_that_starts_from_a_file_elsewhere_can_be_preempted_at_once(tmp_path):
    train(tmp_path / "first", max_epochs=1)
    source = str(tmp_path / "first" / "checkpoints" / "last.ckpt")
    with pytest.raises(Stopped):
        train(tmp_path / "second", callbacks=(Stop("on_train_batch_start", 1),), ckpt_path=source)
    assert torch.load(newest_loadable(tmp_path / "second" / "checkpoints"))["global_step"] == 5


def test_metrics_of_a_finished_run_come_back(tmp_path):
    first = train(tmp_path)
    again = train(tmp_path, ckpt_path=newest_loadable(tmp_path / "checkpoints"))
    assert again.checkpoint_callback.metrics["val/loss"] == first.callback_metrics["val/loss"]


def test_running_statistics_of_rank_0_are_validated_and_saved_with_manual_optimization(monkeypatch):
    """Lightning's DDP shares them in its forward pass, which manual optimization goes without (test_ddp_toy: ToyGan)."""
    shared = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda buffer, src: shared.append((buffer.data_ptr(), src)))
    for module, expected in ((ToyGan(), True), (Toy(), False)):
        shared.clear()
        Checkpoint().on_validation_start(SimpleNamespace(world_size=2), module)
        assert shared == [(buffer.data_ptr(), 0) for buffer in module.buffers() if expected]


@pytest.mark.parametrize(
    ("data", "options", "processes", "differences"),
    [
        ({"seed": 8}, {}, 1, [("seed 7", "seed 8")]),
        ({"batch_size": 2}, {}, 1, [("a global batch size of 4", "a global batch size of 2")]),
        ({}, {"accumulate_grad_batches": 2}, 1, [("accumulated per step: 1", "accumulated per step: 2")]),
        ({"seed": 8}, {}, 2, [("seed 7, processes: 2", "seed 8, processes: 1")]),
        ({"batch_size": 4, "batch_scope": "rank"}, {}, 1, []),
    ],
)
def test_a_run_that_goes_on_with_other_batches_says_so_in_one_sentence(data, options, processes, differences, tmp_path, recwarn):
    stamp = (Stamp("toy", "row"),)
    train(tmp_path, max_epochs=1, callbacks=stamp)
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["quintet"]["processes"] = processes
    torch.save(content, path)
    train(tmp_path, data=ToyData(**data), callbacks=stamp, ckpt_path=str(path), **options)
    told = [str(warning.message) for warning in recwarn if "was trained with" in str(warning.message)]
    assert len(told) == len(differences)
    for before, now in differences:
        assert f"was trained with {before};" in told[0].replace("batches ", "")
        assert f"continues with {now}, so its weights will differ" in told[0].replace("batches ", "")


def test_a_checkpoint_of_before_names_what_it_knows(tmp_path, recwarn):
    stamp = (Stamp("toy", "row"),)
    train(tmp_path, max_epochs=1, callbacks=stamp)
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["quintet"] = {"task": "toy", "row": "row", "seed": 3}
    torch.save(content, path)
    train(tmp_path, callbacks=stamp, ckpt_path=str(path))
    assert any("trained with seed 3; this run continues with seed 7" in str(warning.message) for warning in recwarn)


def test_fast_dev_run_writes_nothing(tmp_path):
    train(tmp_path, fast_dev_run=True)
    assert not (tmp_path / "checkpoints").exists()


def test_another_storage_is_left_alone(tmp_path):
    from pytorch_lightning.plugins import AsyncCheckpointIO

    plugin = AsyncCheckpointIO()
    trainer = train(tmp_path, plugins=[plugin], max_epochs=1)
    assert trainer.strategy.checkpoint_io is plugin


def test_arguments_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="mode must be min or max"):
        Checkpoint(mode="best")
    with pytest.raises(ValueError, match="every_n_train_steps"):
        Checkpoint(every_n_train_steps=-1)


def test_counters_are_left_alone_after_validation():
    loops = {"epoch_loop.batch_progress": {"total": {}, "current": {}}}
    settle(loops, None)
    assert loops == {"epoch_loop.batch_progress": {"total": {}, "current": {}}}


def test_rewind_to_the_start_of_a_window():
    counts = dict.fromkeys(("ready", "started", "processed", "completed"))
    progress = {"current": counts | {"ready": 7, "processed": 6}, "total": counts | {"processed": 26}, "is_last_batch": False}
    rewind({"epoch_loop.batch_progress": progress}, 4)
    assert set(progress["current"].values()) == {4}
    assert set(progress["total"].values()) == {24}


def test_set_aside_and_adopt_keep_every_byte(tmp_path):
    (tmp_path / "last.ckpt").write_text("old")
    set_aside(tmp_path)
    assert (tmp_path / "replaced" / "last.ckpt").read_text() == "old"
    (tmp_path / "source.ckpt").write_text("new")
    adopt(tmp_path / "source.ckpt", tmp_path / "run")
    adopt(tmp_path / "run" / "last.ckpt", tmp_path / "run")
    assert (tmp_path / "run" / "last.ckpt").read_text() == "new"


def test_lightning_itself_would_lose_the_validation_that_is_due(tmp_path):
    """Why our checkpoints are not written in `on_train_batch_end`; when this fails, Lightning has mended it."""

    class Hasty(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.fit_loop.epoch_loop.batch_progress.total.ready == 2:
                trainer.save_checkpoint(tmp_path / "hasty.ckpt")

    train(tmp_path / "a", callbacks=(Hasty(),), val_check_interval=2)
    train(tmp_path / "b", ckpt_path=str(tmp_path / "hasty.ckpt"), val_check_interval=2)
    missing = logged(tmp_path / "a").keys() - logged(tmp_path / "b").keys()
    assert (1, "val/loss") in missing


def test_recorder_keeps_every_bit(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.log_metrics({"x": 0.1}, 3)
    assert float.fromhex(logged(tmp_path)[3, "x"]) == 0.1


def test_a_checkpoint_is_read_without_a_copy_and_stays_what_it_was(tmp_path):
    """Tensors lie in the file until they are used; writing to one changes neither the file nor a later reading."""
    from tasks.cli.checkpoints import load_mapped

    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.arange(1000.0)}}, path)
    before = path.read_bytes()
    first = load_mapped(path)["state_dict"]["a"]
    first.zero_()
    assert torch.equal(load_mapped(path)["state_dict"]["a"], torch.arange(1000.0)) and path.read_bytes() == before
    old = tmp_path / "old.ckpt"
    torch.save({"state_dict": {"a": torch.ones(3)}}, old, _use_new_zipfile_serialization=False)
    assert torch.equal(load_mapped(old)["state_dict"]["a"], torch.ones(3))


def test_weights_to_be_used_stay_on_disk_until_they_are_copied(tmp_path):
    """Bytes of the file that a mapped load changes show in the weights, not in what callbacks keep; training copies all."""
    writer, path = storage.DurableIO(), tmp_path / "best.ckpt"
    callbacks = {"x": {"best": torch.full((5000,), 5.0)}}
    writer.save_checkpoint({"state_dict": {"a": torch.full((5000,), 3.0)}, "callbacks": callbacks}, path)
    whole = writer.load_checkpoint(path)
    writer.read_mapped(True)
    mapped = writer.load_checkpoint(path, weights_only=True)
    content = path.read_bytes()
    for old, new in ((3.0, 4.0), (5.0, 6.0)):
        content = content.replace(torch.full((5000,), old).numpy().tobytes(), torch.full((5000,), new).numpy().tobytes())
    with path.open("r+b") as file:
        file.write(content)
    copied, on_disk = (float(c["state_dict"]["a"][-1]) for c in (whole, mapped))
    assert copied == 3.0
    assert on_disk == 4.0 or sys.platform != "linux"  # whether a private map sees later writes is left to the system
    assert [float(c["callbacks"]["x"]["best"][-1]) for c in (whole, mapped)] == [5.0, 5.0]
