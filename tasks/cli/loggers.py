"""Loggers of a run: options -> logger configs that save into the run folder, a CSV logger always among them."""

from pathlib import Path
from typing import Any

from pytorch_lightning.cli import Namespace

from tasks.callbacks import wandb_options

WITH_LOGS = ("fit", "validate", "test")
LOGS = "logs"
"""Subfolder with the CSV logs of a run's sessions."""


def run_loggers(options: Namespace, folder: Path, row: str, subcommand: str) -> list[Any] | bool:
    """Configs of a run's loggers, completed with their folder and the W&B run to continue.

    CSV logs go to `logs/version_<k>`, one per session, so that a resumed run deletes nothing. They are always written, because
    `compare` reads them.

    Args:
        options: options of the command line
        folder: run folder
        row: name of the config, the group in W&B
        subcommand: subcommand

    Returns:
        Value for `trainer.logger`: False without logging, as with `--trainer.logger false`.
    """
    configured = options.trainer.logger
    if subcommand not in WITH_LOGS or configured is False:
        return False
    loggers: list[Any] = [] if configured in (None, True) else configured if isinstance(configured, list) else [configured]
    # The stored config of a resumed checkpoint has the CSV logger of the other run.
    loggers = [logger for logger in loggers if not (_writes_csv(logger) and logger.init_args.get("name") == LOGS)]
    loggers = [_completed(logger, options, folder, row) for logger in loggers]
    return loggers if any(map(_writes_csv, loggers)) else [*loggers, _csv(folder)]


def _completed(logger: Any, options: Namespace, folder: Path, row: str) -> Any:
    """Config of a logger with missing values filled in."""
    args = getattr(logger, "init_args", None)
    if args is None:
        return logger
    if logger.class_path.endswith(("WandbLogger", "WandbRun")):
        resume = options.get("ckpt_path") is not None
        known = wandb_options(folder, group=row, job_type=f"seed{int(options.seed_everything)}", resume=resume)
    else:
        known = {"save_dir": str(folder)} if "save_dir" in args else {}
    completed = logger.clone()
    for key, value in known.items():
        if args.get(key) in (None, "", ".") or key == "resume":
            completed[f"init_args.{key}"] = value
    return completed


def _writes_csv(logger: Any) -> bool:
    return getattr(logger, "class_path", "").endswith(("CSVLogger", "CSVLog")) and "init_args" in logger


def _csv(folder: Path) -> Namespace:
    args = Namespace(save_dir=str(folder), name=LOGS, version=None, prefix="", flush_logs_every_n_steps=20)
    return Namespace(class_path="tasks.callbacks.CSVLog", init_args=args)
