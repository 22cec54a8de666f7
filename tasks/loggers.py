"""Loggers of a run: CSV always, others beside it, all in the run folder."""

from pathlib import Path
from typing import Any

from pytorch_lightning.cli import Namespace

from tasks.callbacks import wandb_options

WITH_LOGS = ("fit", "validate", "test")
LOGS = "logs"
"""Folder of a run that holds the CSV logs of its sessions."""


def fill_loggers(options: Namespace, folder: Path, task: str, row: str, verb: str) -> None:
    """Fill in what a logger's config leaves open: where it saves, and for W&B which run it continues.

    CSV logs go to `logs/version_<k>`, one per session, so that a resumed run deletes nothing; they are written beside
    those of other loggers too, since `compare` reads them. `--trainer.logger false` logs nothing.
    """
    given = options.trainer.logger
    if verb not in WITH_LOGS or given is False:
        options.trainer.logger = False
        return
    loggers: list[Any] = [] if given in (None, True) else given if isinstance(given, list) else [given]
    # The config of another run, which a checkpoint is resumed with, names that one's folder.
    loggers = [logger for logger in loggers if not (_writes_csv(logger) and logger.init_args.get("name") == LOGS)]
    for logger in loggers:
        args = getattr(logger, "init_args", None)
        if args is None:
            continue
        if logger.class_path.endswith(("WandbLogger", "WandbRun")):
            resume = options.get("ckpt_path") is not None
            _fill(args, wandb_options(folder, group=row, job_type=f"seed{int(options.seed_everything)}", resume=resume))
        elif "save_dir" in args and args.save_dir in (None, "."):
            args.save_dir = str(folder)
    if not any(map(_writes_csv, loggers)):
        loggers = [*loggers, _csv(folder)]
    options.trainer.logger = loggers


def _writes_csv(logger: Any) -> bool:
    return getattr(logger, "class_path", "").endswith(("CSVLogger", "CSVLog")) and "init_args" in logger


def _csv(folder: Path) -> Namespace:
    args = Namespace(save_dir=str(folder), name=LOGS, version=None, prefix="", flush_logs_every_n_steps=20)
    return Namespace(class_path="tasks.callbacks.CSVLog", init_args=args)


def _fill(args: Namespace, known: dict[str, Any]) -> None:
    """Set what the user left open."""
    for key, value in known.items():
        if args.get(key) in (None, "", ".") or key == "resume":
            args[key] = value
