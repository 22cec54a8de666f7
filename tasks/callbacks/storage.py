"""Checkpoint files that are whole or absent, and the newest of them that can be read."""

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

from tasks.cli.checkpoints import load_mapped, with_names_of_today

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


def flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system can."""
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
    """Checkpoint that the disk did not take: the bytes of its file, and why."""

    content: bytes
    reason: str


class DurableIO(TorchCheckpointIO):
    """Checkpoint files that are flushed to disk under a temporary name, then renamed; an old `last.ckpt` is kept as
    `previous.ckpt`.

    A full disk must not end days of training, nor leave the other ranks waiting for this one: a checkpoint that cannot
    be written is kept in memory, in `unwritten`, until `retry` or a newer one of its name succeeds.

    """

    def __init__(self) -> None:
        super().__init__()
        self.unwritten: dict[str, Unwritten] = {}
        self._is_mapped = False

    def read_mapped(self, on: bool) -> None:
        """Let a checkpoint's tensors stay on disk until they are copied, or not.

        What is only used is then in memory once, and the optimizer's state not at all. Not for training, which keeps the
        optimizer's tensors and replaces the file.
        """
        self._is_mapped = on

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        if not self._is_mapped or not Path(path).is_file():
            return with_names_of_today(super().load_checkpoint(path, map_location or "cpu", weights_only))
        content = with_names_of_today(load_mapped(path, weights_only))
        # Callbacks keep their tensors, and a single one keeps the whole file.
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
        """Write what could not be written before."""
        if (left := self.unwritten.get(str(path))) is None:
            return
        try:
            _write(Path(path), lambda file: file.write(left.content))
        except OSError as error:
            self.unwritten[str(path)] = left._replace(reason=reason_of(error))
        else:
            del self.unwritten[str(path)]

    def reason(self, path: str | Path) -> str | None:
        """Why the newest checkpoint of a name is not on disk; None where it is."""
        left = self.unwritten.get(str(path))
        return left and left.reason


def reason_of(error: Exception) -> str:
    """Reason that the operating system gives for a failed write."""
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
    """Put a file in its place; an old `last.ckpt` makes room, and comes back if the new one cannot take it."""
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
    """Checkpoint to resume from in a folder: `last.ckpt`, else the newest other file that loads whole; None if none.

    Says which files it had to pass over. Plain types and tensors only are read (`weights_only=True`).
    """
    found = sorted(Path(folder).glob("*.ckpt"), key=lambda path: (path.name == LAST, path.stat().st_mtime), reverse=True)
    for path in found:
        try:
            with zipfile.ZipFile(path) as archive:  # torch itself does not compare check sums
                if damaged := archive.testzip():
                    raise ValueError(f"check sum of {damaged} is wrong")
            content = load_mapped(path)
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
