"""W&B logger: run id stored in the run folder, offline mode without a server, training continues after errors."""

import os
import secrets
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only, rank_zero_warn

from tasks.cli.lightning_internals import has_wandb_run, wandb_arguments
from tasks.writers.output_files import write_text

ID_FILE = "wandb_id.txt"


def wandb_options(folder: str | Path, group: str, job_type: str, resume: bool) -> dict[str, Any]:
    """Arguments of a W&B logger that the command line fills in: id, resume, save_dir, name, group, job_type.

    Args:
        folder: run folder
        group: group in W&B
        job_type: job type in W&B
        resume: continue the run whose id is stored in the folder, if any; otherwise a new id is drawn and stored.
            WANDB_RUN_ID overrides the id
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ID_FILE
    known = file.read_text().strip() if resume and file.exists() else ""
    identity = os.environ.get("WANDB_RUN_ID") or known or secrets.token_hex(4)
    if identity != known and int(os.environ.get("LOCAL_RANK", "0")) == 0:
        write_text(file, identity + "\n")
    options = {"id": identity, "resume": "allow", "save_dir": str(folder), "name": folder.name}
    return options | {"group": group, "job_type": job_type}


class WandbRun(WandbLogger):
    """Lightning's W&B logger with the training step as x axis, offline if the server cannot be reached.

    Offline runs are in `<save_dir>/wandb`, for `wandb sync`. If W&B fails during the run, its values are dropped with one
    warning; other loggers and training continue.

    Args:
        log_model: upload the best checkpoint as an artifact `model-<id>` (aliases best, latest) at the end of training
        timeout_s: timeout for the server at the start, and for the last uploads at the end, s

    Other arguments are those of WandbLogger; the command line fills in missing ones.
    """

    def __init__(
        self,
        project: str = "quintet",
        name: str | None = None,
        save_dir: str = ".",
        id: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        resume: str = "allow",
        offline: bool = False,
        log_model: bool = False,
        entity: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        timeout_s: float = 30.0,
    ):
        options = {"group": group, "job_type": job_type, "resume": resume, "entity": entity, "tags": tags, "notes": notes}
        super().__init__(name, save_dir, None, offline, None, id, None, project, False, **options)
        self.log_model, self._timeout_s = log_model, timeout_s
        self._failed = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; offline if it could not be opened online."""
        if not has_wandb_run(self):
            import wandb

            patience = {"init_timeout": self._timeout_s, "login_timeout": int(self._timeout_s)}
            wandb_arguments(self)["settings"] = wandb.Settings(**patience, finish_timeout=self._timeout_s)
            try:
                return WandbLogger.experiment.fget(self)
            except Exception as error:  # such as no account, no network, or a proxy's page
                reason = str(error).strip().split("\n")[0][:150]
                rank_zero_warn(f"W&B cannot be reached ({reason}): logging offline, upload later with `wandb sync`.")
                wandb.teardown(exit_code=1)  # the half-opened run would hold its id
                wandb_arguments(self)["mode"] = "offline"
        return WandbLogger.experiment.fget(self)

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if self._failed:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            self._failed = True
            rank_zero_warn(f"W&B failed ({str(error)[:150]}): nothing more is logged there, the run continues.")

    @rank_zero_only
    def log_best(self, path: str, score: float | None) -> None:
        """Upload a checkpoint as this run's model, if `log_model` is on."""
        if not self.log_model or self._failed or not Path(path).is_file():
            return
        import wandb

        artifact = wandb.Artifact(f"model-{self.version}", type="model", metadata={"score": score})
        artifact.add_file(path, name="model.ckpt")
        self.experiment.log_artifact(artifact, aliases=["best", "latest"])
