"""Checkpoint files that are whole or absent, and the newest of them that can be read."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


def flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class DurableIO(TorchCheckpointIO):
    """Writes to a temporary name, flushes to disk, then renames; an old `last.ckpt` is kept as `previous.ckpt`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            # A full disk must not end days of training, nor leave the other ranks waiting for this one.
            rank_zero_warn(f"{path} could not be written ({error}): training goes on, the older checkpoint stays.")
            return
        if path.name == LAST and path.exists():
            path.replace(path.with_name(PREVIOUS))
        temporary.replace(path)
        flush_folder(path.parent)


def newest_loadable(folder: str | Path) -> str | None:
    """Checkpoint to resume from in a folder: `last.ckpt`, else the newest other file that loads whole; None if none.

    Says which files it had to pass over. Plain types and tensors only are read (`weights_only=True`).
    """
    found = sorted(Path(folder).glob("*.ckpt"), key=lambda path: (path.name == LAST, path.stat().st_mtime), reverse=True)
    for path in found:
        try:
            with zipfile.ZipFile(path) as archive:  # torch itself does not compare check sums
                if damaged := archive.testzip():
                    raise ValueError(f"check sum of {damaged} is wrong")
            content = torch.load(path, map_location="cpu", weights_only=True)
            if "loops" not in content or "optimizer_states" not in content:
                raise ValueError("it holds weights only")
        except Exception as error:  # whatever is wrong with the file, the next one may be whole
            reason = (str(error).strip() or type(error).__name__).split("\n")[0][:120]
            rank_zero_warn(f"{path} cannot be resumed from ({reason}): trying the next older checkpoint.")
            continue
        if path.name != LAST:
            rank_zero_info(f"Resuming from {path}, the newest checkpoint that loads.")
        return str(path)
    return None
