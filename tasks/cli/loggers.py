"""Loggers of a run: CSV always, others beside it, all in the run folder."""

from pathlib import Path
from typing import Any

from pytorch_lightning.cli import Namespace

from tasks.callbacks import wandb_options

WITH_LOGS = ("fit", "validate", "test")
LOGS = "logs"
"""Folder of a run that holds the CSV logs of its sessions."""


def run_loggers(options: Namespace, folder: Path, row: str, verb: str) -> list[Any] | bool:
    """Configs of a run's loggers, with what the options leave open: where they save, and which run W&B continues.

    CSV logs go to `logs/version_<k>`, one per session, so that a resumed run deletes nothing; they are written beside
    those of other loggers too, since `compare` reads them.

    Args:
        options: of the command line
        folder: of the run
        row: name of the config, the group in W&B
        verb: subcommand

    Returns:
        Value for `trainer.logger`: False where nothing is logged, as with `--trainer.logger false`.
    """
    given = options.trainer.logger
    if verb not in WITH_LOGS or given is False:
        return False
    loggers: list[Any] = [] if given in (None, True) else given if isinstance(given, list) else [given]
    # The config of another run, which a checkpoint is resumed with, names that one's folder.
    loggers = [logger for logger in loggers if not (_writes_csv(logger) and logger.init_args.get("name") == LOGS)]
    loggers = [_completed(logger, options, folder, row) for logger in loggers]
    return loggers if any(map(_writes_csv, loggers)) else [*loggers, _csv(folder)]


def _completed(logger: Any, options: Namespace, folder: Path, row: str) -> Any:
    """Config of a logger with what it leaves open."""
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
