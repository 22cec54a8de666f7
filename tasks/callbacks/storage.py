"""Storage of checkpoint files: atomic, flushed writes, retries after a full disk, and the newest readable checkpoint."""

import errno
import io
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.apply_func import apply_to_collection
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

from tasks.cli.checkpoints import load_mapped, with_current_parts

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


def flush_folder(folder: Path) -> None:
    """Flush renames in a folder to disk, if the file system supports it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(handle)


class Unwritten(NamedTuple):
    """Checkpoint that could not be written: bytes of the file, and reason."""

    content: bytes
    reason: str


class DurableIO(TorchCheckpointIO):
    """Write checkpoint files under a temporary name, flush and rename them; an old `last.ckpt` is kept as `previous.ckpt`.

    A full disk must not end a training, nor leave other ranks waiting: a checkpoint that cannot be written is kept in memory,
    in `unwritten`, until `retry` or a newer one of its name succeeds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unwritten: dict[str, Unwritten] = {}
        self._is_mapped = False

    def read_mapped(self, on: bool) -> None:
        """Turn memory-mapping of checkpoints on or off.

        It keeps weights in memory once, and the optimizer's state not at all. Not for training, which keeps the optimizer's
        tensors and replaces the file.
        """
        self._is_mapped = on

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        if not self._is_mapped or not Path(path).is_file():
            return with_current_parts(super().load_checkpoint(path, map_location or "cpu", weights_only))
        content = with_current_parts(load_mapped(path, weights_only))
        # Callbacks keep their tensors, and a single mapped tensor would keep the whole file open.
        content["callbacks"] = apply_to_collection(content.get("callbacks", {}), torch.Tensor, torch.Tensor.clone)
        return content

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        self.unwritten.pop(str(path), None)
        try:
            _write(Path(path), lambda file: torch.save(checkpoint, file))
        except (OSError, RuntimeError) as error:
            content = io.BytesIO()
            torch.save(checkpoint, content)
            self.unwritten[str(path)] = Unwritten(content.getvalue(), reason_of(error))

    def retry(self, path: str | Path) -> None:
        """Write a checkpoint of `unwritten` again."""
        if (pending := self.unwritten.get(str(path))) is None:
            return
        try:
            _write(Path(path), lambda file: file.write(pending.content))
        except OSError as error:
            self.unwritten[str(path)] = pending._replace(reason=reason_of(error))
        else:
            del self.unwritten[str(path)]

    def reason(self, path: str | Path) -> str | None:
        """Reason for an unwritten checkpoint; None if it is on disk."""
        pending = self.unwritten.get(str(path))
        return pending and pending.reason


def reason_of(error: Exception) -> str:
    """Reason of the operating system for a failed write."""
    text = getattr(error, "strerror", None) or str(error).split("\n")[0]
    return f"disk full ({text})" if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) else text


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        _rename(temporary, path)
        flush_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path) -> None:
    """Rename a file; an old `last.ckpt` becomes `previous.ckpt`, and is restored if the rename fails."""
    if path.name != LAST or not path.exists():
        temporary.replace(path)
        return
    previous = path.with_name(PREVIOUS)
    path.replace(previous)
    try:
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            previous.replace(path)
        raise


def newest_loadable(folder: str | Path) -> str | None:
    """Checkpoint of a folder to resume from: `last.ckpt`, else the newest other complete file, else None.

    Warns of skipped files. Only plain types and tensors are read (`weights_only=True`).
    """
    paths = sorted(Path(folder).glob("*.ckpt"), key=lambda path: (path.name == LAST, path.stat().st_mtime), reverse=True)
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:  # torch itself does not verify check sums
                if damaged := archive.testzip():
                    raise ValueError(f"check sum of {damaged} is wrong")
            content = load_mapped(path)
            if "loops" not in content or "optimizer_states" not in content:
                raise ValueError("it holds weights only")
        except Exception as error:  # any error: try the next file
            reason = (str(error).strip() or type(error).__name__).split("\n")[0][:120]
            rank_zero_warn(f"{path} cannot be resumed from ({reason}): trying the next older checkpoint.")
            continue
        if path.name != LAST:
            rank_zero_info(f"Resuming from {path}, the newest checkpoint that loads.")
        return str(path)
    return None
