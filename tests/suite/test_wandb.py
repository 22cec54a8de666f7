"""W&B without a network: what the offline file holds, one run over a resume, and a server that is not there."""

import json

import pytest
import pytorch_lightning as pl

from tasks.callbacks import WandbRun, log_media, wandb_options
from tests.helpers.toy import Toy, ToyData
from tests.helpers.wandb_file import import_wandb, offline_run, records


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_RUN_ID"):
        monkeypatch.setenv(name, "")  # so that what a run sets is undone too
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb = import_wandb()
    yield
    wandb.teardown()


def fit(folder, logger, module=Toy, epochs=1):
    trainer = pl.Trainer(
        default_root_dir=str(folder),
        logger=logger,
        max_epochs=epochs,
        accelerator="cpu",
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module(), datamodule=ToyData())
    logger.experiment.finish()
    return trainer


def runs(folder):
    import_wandb().teardown()  # the service writes its last block when it ends
    return [offline_run(path) for path in sorted(folder.rglob("run-*.wandb"))]


class Showing(Toy):
    """Logs one picture, sound and table in validation."""

    def on_validation_epoch_end(self):
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([1, 2])
        table = ["a", "b"], [[1, "x"], [2, "y"]]
        log_media(self.trainer, "val/example", figure, ([0.0] * 800, 8000), table, caption="one.wav")
        super().on_validation_epoch_end()


def test_offline_run_holds_group_config_and_history_by_global_step(tmp_path):
    folder = tmp_path / "run"
    fit(folder, WandbRun(offline=True, **wandb_options(folder, "paper_row", "seed 3", False)), Showing)
    (run,) = runs(folder)
    assert (run["group"], run["job_type"]) == ("paper_row", "seed 3")
    assert run["id"] == (folder / "wandb_id.txt").read_text().strip()
    assert run["config"]["lr"] == 0.05
    losses = {row["trainer/global_step"]: row["train/loss"] for row in run["history"] if "train/loss" in row}
    assert list(losses) == [0, 1, 2, 3, 4]
    axes = [r.metric for path in folder.rglob("run-*.wandb") for r in records(path) if r.WhichOneof("record_type") == "metric"]
    assert {axis.step_metric for axis in axes if axis.glob_name == "*"} == {"trainer/global_step"}
    logged = {key.split(".")[0] for row in run["history"] for key in row}
    assert {"val/example", "val/example_audio", "val/example_table"} <= logged
    assert [path.suffix for path in sorted((folder).rglob("media/*/val/*"))] == [".wav", ".png", ".json"]


def test_a_resumed_run_goes_on_under_its_id(tmp_path):
    folder = tmp_path / "run"
    for resume in (False, True):
        fit(folder, WandbRun(offline=True, **wandb_options(folder, "row", "seed 0", resume)))
    first, second = runs(folder)
    assert first["id"] == second["id"]
    assert wandb_options(folder, "row", "seed 0", resume=False)["id"] != first["id"]


def test_a_fixed_id_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "job42")
    options = wandb_options(tmp_path, "row", "seed 0", resume=True)
    assert options["id"] == "job42"
    assert options["resume"] == "allow"
    assert (tmp_path / "wandb_id.txt").read_text() == "job42\n"


def test_an_unreachable_server_does_not_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    folder = tmp_path / "run"
    with pytest.warns(UserWarning, match="W&B cannot be reached.*logging offline"):
        trainer = fit(folder, WandbRun(timeout_s=1, **wandb_options(folder, "row", "seed 0", False)))
    assert trainer.global_step == 5
    assert [len(run["history"]) for run in runs(folder) if run["history"]] == [6]


def test_a_service_that_dies_does_not_stop_the_run(tmp_path):
    class Dying(Toy):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 2:

                def broken(*_, **__):
                    raise BrokenPipeError("gone")

                self.logger.experiment.log = broken

    logger = WandbRun(offline=True, **wandb_options(tmp_path, "row", "seed 0", False))
    with pytest.warns(UserWarning, match="W&B failed .gone.*the run continues"):
        assert fit(tmp_path, logger, Dying).global_step == 5


def test_the_best_checkpoint_is_offered_as_an_artifact(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    for wanted in (False, True):
        logger = WandbRun(log_model=wanted, **wandb_options(tmp_path / str(wanted), "row", "seed 0", False))
        logger.log_best(str(tmp_path / "best.ckpt"), 0.9)
        logger.experiment.finish()
    runs(tmp_path)
    assert not artifacts(tmp_path / "False")
    (artifact,) = artifacts(tmp_path / "True")
    assert artifact.name == f"model-{logger.version}"
    assert sorted(artifact.aliases) == ["best", "latest"]
    assert json.loads(artifact.metadata) == {"score": 0.9}


def artifacts(folder):
    found = [record for path in folder.rglob("run-*.wandb") for record in records(path)]
    return [record.artifact for record in found if record.WhichOneof("record_type") == "artifact"]


def test_records_longer_than_a_block_are_read(tmp_path):
    logger = WandbRun(offline=True, **wandb_options(tmp_path, "row", "seed 0", False))
    logger.log_hyperparams({"long": "x" * 100_000})
    for step in range(300):
        logger.log_metrics({"value": step / 3}, step)
    logger.experiment.finish()
    (run,) = runs(tmp_path)
    assert len(run["config"]["long"]) == 100_000
    assert [row["value"] for row in run["history"]] == [step / 3 for step in range(300)]
