"""Record of a run: configuration, code and package versions, result of training; check of splits; results set aside."""

import re
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from platform import platform, python_version
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import WandbLogger

from datamodules.common.errors import DataError
from tasks.callbacks.wandb_run import WandbRun
from tasks.cli.import_path import ROOT
from tasks.cli.registry import suite_version
from tasks.cli.run_info import run_info
from tasks.cli.runs import set_aside_results
from tasks.writers.output_files import write_json, write_text


class RunRecord(SaveConfigCallback):
    """Write `config.yaml` and `environment.json` into the run folder, and `fit.json` at the end of training.

    W&B gets the whole configuration (Lightning sends only the hyper-parameters of model and data), git commit and package
    versions too. A later `test` in the folder of a `fit` writes `config_test.yaml`. `fit.json` holds the last metrics and the
    module's `result_extra`.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options | {"save_to_log_dir": False})
        self._started = time.monotonic()

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir)
        config, environment = self.parser.dump(self.config, skip_none=False, skip_validation=True), describe_environment()
        subcommand = trainer.state.fn.value
        name = "config.yaml" if subcommand == "fit" or not (folder / "config.yaml").exists() else f"config_{subcommand}.yaml"
        write_text(folder / name, config)
        write_json(folder / "environment.json", environment)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams({"config": yaml.safe_load(config), **environment})

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        checkpoint = trainer.checkpoint_callback
        metrics = trainer.callback_metrics or getattr(checkpoint, "metrics", {})
        result = {
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds_this_session": round(time.monotonic() - self._started, 1),
            "best": Path(getattr(checkpoint, "best_model_path", "")).name,
            "best_score": getattr(checkpoint, "best_score", None),
            "departures": dict(run_info(trainer).departures),
            "metrics": {name: float(value) for name, value in metrics.items()},
            "left_out": left_out.as_json() if (left_out := getattr(trainer.datamodule, "left_out", None)) is not None else [],
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.log_best(getattr(checkpoint, "best_model_path", ""), result["best_score"])
        write_json(Path(trainer.default_root_dir) / "fit.json", result | getattr(pl_module, "result_extra", {}))


def describe_environment() -> dict[str, Any]:
    """Versions of suite, Python, platform and all packages, git commit and whether the tree has changes."""
    commit = _git("rev-parse", "HEAD")
    return {
        "quintet": suite_version(),
        "git_commit": commit,
        "git_changed": None if commit is None else bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": python_version(),
        "platform": platform(),
        "packages": dict(sorted(filter(None, map(_package, distributions())))),
    }


def _package(distribution: Distribution) -> tuple[str, str] | None:
    """Lower-case name and version of an installed package, from the head of its metadata: reading all takes 0.2 s."""
    metadata = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    fields = dict(re.findall(r"^(Name|Version):[ \t]*(\S+)", metadata.partition("\n\n")[0], re.MULTILINE))
    return (fields["Name"].lower(), fields["Version"]) if fields.keys() == {"Name", "Version"} else None


def _git(*arguments: str) -> str | None:
    """Output of a git command in the suite's own clone; None without git or outside a clone."""
    if not (ROOT / ".git").exists():  # an install may lie inside a user's own repository
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


class RequireSplits(Callback):
    """Build the validation and test sets before training, so that a missing or empty split stops the run at once.

    Args:
        test: whether the run ends with the test split
    """

    def __init__(self, test: bool = True) -> None:
        self.test = test

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Build both sets.

        Raises:
            DataError: a split is missing or empty.
        """
        if trainer.fast_dev_run:
            return
        if trainer.enable_validation:
            trainer.datamodule.require("validation")
        if self.test and trainer.limit_test_batches != 0:
            try:
                trainer.datamodule.require("test")
            except DataError as error:
                raise DataError(f"{error} The run would end with this split: --test_after_fit false skips it.") from error


class SetAsideResults(Callback):
    """Move scores, tables and figures of a run folder to `replaced/` before its weights change.

    A new run moves them at the start, with the logs of earlier sessions; a resumed run at its first batch, so that a finished
    run keeps them.
    """

    def __init__(self) -> None:
        self._done = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None:
            current = {logger.log_dir for logger in trainer.loggers}
            logs = [path for path in Path(trainer.default_root_dir).glob("logs/*") if str(path) not in current]
            self._set_aside(trainer, logs)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self._set_aside(trainer)

    def _set_aside(self, trainer: pl.Trainer, logs: Sequence[Path] = ()) -> None:
        if not self._done and trainer.is_global_zero and not trainer.fast_dev_run:
            set_aside_results(Path(trainer.default_root_dir), logs)
        self._done = True
