"""What a run folder and its tracker know about a run: configuration, code, packages, outcome; pictures and stacks."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
import yaml
from matplotlib.figure import Figure
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.trainer.states import TrainerFn

from tasks.callbacks import Checkpoint, RunRecord, Watchdog, log_media, newest_loadable
from tasks.callbacks.media import MAX_PIXELS
from tasks.callbacks.record import describe_environment
from tests.helpers.toy import Toy, ToyData


def fit(folder, callbacks=(), logger=False, ckpt_path=None, module=Toy, **options):
    trainer = pl.Trainer(
        default_root_dir=str(folder),
        logger=logger,
        max_epochs=1,
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module(), datamodule=ToyData(), ckpt_path=ckpt_path)
    return trainer


def record():
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(Toy, "model")
    parser.add_argument("--seed_everything", default=3)
    return RunRecord(parser, parser.parse_args(["--model.lr", "0.02"]), overwrite=True)


class Extra(Toy):
    @property
    def result_extra(self):
        return {"parameters": 65}


def test_run_folder_holds_config_environment_and_outcome(tmp_path):
    fit(tmp_path, [record(), Checkpoint(monitor="val/loss", mode="min")], module=Extra)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["model"]["lr"] == 0.02
    assert config["model"]["norm"] is True
    assert config["seed_everything"] == 3
    outcome = json.loads((tmp_path / "fit.json").read_text())
    assert (outcome["epochs"], outcome["steps"], outcome["best"], outcome["parameters"]) == (1, 5, "best.ckpt", 65)
    assert outcome["metrics"]["val/loss"] == pytest.approx(outcome["best_score"])
    about = json.loads((tmp_path / "environment.json").read_text())
    assert about["packages"]["torch"] == torch.__version__.split("+")[0]
    assert about["python"] == sys.version.split()[0]


def test_a_finished_run_that_is_resumed_keeps_its_metrics(tmp_path):
    fit(tmp_path, [record(), Checkpoint(monitor="val/loss", mode="min")])
    first = json.loads((tmp_path / "fit.json").read_text())["metrics"]
    path = newest_loadable(tmp_path / "checkpoints")
    fit(tmp_path, [record(), Checkpoint(monitor="val/loss", mode="min")], ckpt_path=path, num_sanity_val_steps=0)
    assert json.loads((tmp_path / "fit.json").read_text())["metrics"] == first


def test_a_test_leaves_the_config_of_the_training_alone(tmp_path):
    fit(tmp_path, [record()])
    before = (tmp_path / "config.yaml").read_text()
    trainer = pl.Trainer(
        default_root_dir=str(tmp_path), logger=False, callbacks=[record()], accelerator="cpu", enable_progress_bar=False
    )
    trainer.test(Toy(), datamodule=ToyData(), verbose=False)
    assert (tmp_path / "config.yaml").read_text() == before
    assert (tmp_path / "config_test.yaml").exists()


def test_wandb_gets_the_whole_config_and_the_commit(tmp_path, monkeypatch):
    from pytorch_lightning.loggers import WandbLogger

    seen = {}
    monkeypatch.setattr(WandbLogger, "log_hyperparams", lambda self, values: seen.update(values))
    state = SimpleNamespace(fn=TrainerFn.FITTING)
    trainer = SimpleNamespace(
        default_root_dir=str(tmp_path), state=state, loggers=[WandbLogger(offline=True, save_dir=str(tmp_path))]
    )
    record().save_config(trainer, None, "fit")
    assert seen["config"]["seed_everything"] == 3
    assert seen["config"]["model"]["lr"] == 0.02
    assert "git_commit" in seen
    assert seen["packages"]["wandb"]


def test_environment_names_the_commit():
    root = Path(__file__).parents[2]
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    assert describe_environment()["git_commit"] == (done.stdout.strip() if done.returncode == 0 else None)


def test_media_go_to_the_folder_without_a_tracker(tmp_path):
    class Showing(Toy):
        def on_validation_epoch_end(self):
            figure = Figure(figsize=(40, 2), dpi=100)
            figure.subplots().plot([1, 2])
            sound = torch.full((40 * 1000, 2), 1.5)
            log_media(self.trainer, "val/one", figure, (sound, 1000), (["a"], [[k] for k in range(500)]))
            super().on_validation_epoch_end()

    fit(tmp_path, module=Showing)
    folder = tmp_path / "figures"
    assert sorted(path.name for path in folder.iterdir()) == ["val_one.csv", "val_one.png", "val_one.wav"]
    samples, rate = soundfile.read(folder / "val_one.wav")
    assert samples.shape == (30_000, 2)
    assert rate == 1000
    assert np.abs(samples).max() <= 1
    assert len((folder / "val_one.csv").read_text().splitlines()) == 201
    width = int.from_bytes((folder / "val_one.png").read_bytes()[16:20], "big")
    assert width <= MAX_PIXELS


def test_media_go_to_tensorboard(tmp_path):
    from pytorch_lightning.loggers import TensorBoardLogger

    added = []

    class Experiment:
        def __getattr__(self, name):
            return lambda *args, **options: added.append((name, args))

    logger = TensorBoardLogger.__new__(TensorBoardLogger)
    logger._experiment = Experiment()
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=7))
    trainer = SimpleNamespace(
        is_global_zero=True,
        sanity_checking=False,
        fast_dev_run=False,
        loggers=[logger],
        fit_loop=loop,
        default_root_dir=str(tmp_path),
    )
    log_media(trainer, "val/one", Figure(), (np.zeros((10, 2)), 8), (["a", "b"], [[1, 2]]))
    assert [name for name, _ in added] == ["add_figure", "add_audio", "add_text"]
    assert added[1][1][1].shape == (1, 10)
    assert all(args[2] == 7 for _, args in added)
    assert not (tmp_path / "figures").exists()
    trainer.is_global_zero = False
    log_media(trainer, "val/one", Figure())
    assert len(added) == 3


def test_a_stall_leaves_the_stacks_of_the_rank(tmp_path):
    class Stalling(Toy):
        def training_step(self, batch, batch_idx):
            if batch_idx == 1:
                time.sleep(0.6)
            return super().training_step(batch, batch_idx)

    fit(tmp_path, [Watchdog(minutes=0.25 / 60)], module=Stalling, num_sanity_val_steps=0)
    text = (tmp_path / "stacks" / "rank0.txt").read_text()
    assert "Timeout" in text
    assert "training_step" in text


def test_without_a_stall_nothing_is_left(tmp_path):
    fit(tmp_path, [Watchdog(tmp_path / "elsewhere", minutes=1)])
    assert not (tmp_path / "elsewhere" / "stacks").exists()
    with pytest.raises(ValueError, match="minutes"):
        Watchdog(minutes=0)


def test_another_rank_may_take_the_empty_folder_away(tmp_path, monkeypatch):
    """As when one has left `fit` and the other already sets up `test`."""
    made = Path.mkdir

    def gone_once(path, *args, **kwargs):
        made(path, *args, **kwargs)
        if path.name == "stacks":
            monkeypatch.setattr(Path, "mkdir", made)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", gone_once)
    fit(tmp_path, [Watchdog(tmp_path, minutes=1)])
    assert not (tmp_path / "stacks").exists()


def test_batches_rearm_the_watchdog(tmp_path):
    class Slow(Toy):
        def training_step(self, batch, batch_idx):
            time.sleep(0.15)
            return super().training_step(batch, batch_idx)

    fit(tmp_path, [Watchdog(minutes=0.6 / 60)], module=Slow, num_sanity_val_steps=0)  # 5 x 0.15 s > 0.6 s
    assert not (tmp_path / "stacks").exists()
