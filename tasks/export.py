"""Freeze a checkpoint: weights as safetensors, settings as YAML, and one torch.export program from waveform to scores."""

from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import LightningModule
from torch import Tensor

from datamodules.errors import DataError
from tasks.checkpoints import hyper_parameters, locate, read
from tasks.writers.whole import whole, write_text

TOLERANCE = 1e-4


def export(module: LightningModule, task: str, ckpt_path: str, folder: Path, overwrite: bool) -> dict[str, float]:
    """Write model.safetensors, config.yaml and model.pt2; return the largest difference at each tried length (s).

    The module gives its own program: `export_program()` -> (nn.Module, example inputs, dynamic shapes, other inputs).

    Raises:
        DataError: the folder is taken, or the exported program differs from the module by more than 1e-4.
    """
    from safetensors.torch import save_file

    if (folder / "model.safetensors").exists() and not overwrite:
        raise DataError(f"{folder} already holds an export: add --overwrite true")
    path = locate(ckpt_path)
    module.load_state_dict(read(path, task)["state_dict"])
    module.eval()
    program, example, dynamic, others = module.export_program()
    exported = torch.export.export(program.eval(), example, dynamic_shapes=dynamic)
    with whole(folder / "model.pt2") as temporary:
        torch.export.save(exported, str(temporary))
        loaded = torch.export.load(str(temporary)).module()
    differences = _compare(program, loaded, [example, *others])
    with whole(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in module.state_dict().items()}, str(temporary))
    model, _ = hyper_parameters(path, task)
    write_text(folder / "config.yaml", yaml.safe_dump({"task": task, "model": model}, sort_keys=False, allow_unicode=True))
    return differences


@torch.no_grad()
def _compare(program: torch.nn.Module, loaded: Any, inputs: list[tuple[Tensor, ...]]) -> dict[str, float]:
    differences = {}
    for given in inputs:
        wanted, got = (found if isinstance(found, tuple) else (found,) for found in (program(*given), loaded(*given)))
        worst = max(float((a - b).abs().max()) for a, b in zip(wanted, got, strict=True))
        differences[" x ".join(map(str, given[0].shape))] = worst
        if not worst <= TOLERANCE:
            raise DataError(f"the exported program differs from the network by {worst:.2g} on input {tuple(given[0].shape)}")
    return differences
