"""Run folder of imported weights: module and hyper-parameters -> checkpoint for `test`, `predict` and `export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datamodules.common.errors import DataError


def refuse_existing(folder: Path) -> Path:
    """Path of a run folder's new weights.

    Raises:
        DataError: the folder has weights.
    """
    path = folder / "checkpoints" / "best.ckpt"
    if path.exists():
        raise DataError(f"{path} exists already: remove it first, or choose another --runs")
    return path


def write_imported(path: Path, task: str, module: Any, hyper_parameters: Mapping[str, Any]) -> None:
    """Write a checkpoint like `fit` does.

    Args:
        path: from `refuse_existing`; the name of its run folder becomes the row
        task: name of the task
        module: LightningModule with the weights
        hyper_parameters: arguments of the module as in a config

    Raises:
        DataError: a source or label has a name that `tasks.cli.trusted` refuses.
    """
    import torch
    from pytorch_lightning import __version__

    from tasks.cli import trusted
    from tasks.cli.checkpoints import KEY, new_stamp
    from tasks.cli.lightning_internals import INSTANTIATOR, INSTANTIATORS
    from tasks.writers.output_files import whole

    with trusted.refusing(path):
        trusted.check_names(hyper_parameters)
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": {**hyper_parameters, INSTANTIATOR: INSTANTIATORS[0]},
        "pytorch-lightning_version": __version__,
        "epoch": 0,
        "global_step": 0,
        KEY: new_stamp(task, path.parent.parent.name, departures={}, seed=0),
    }
    with whole(path) as temporary:
        torch.save(content, temporary)
