"""Run folders `<runs>/<task>/<name>`: options -> folder, locked by one training at a time and equal on every rank."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.common.errors import DataError
from datamodules.common.locks import Lock
from tasks.cli import rendezvous

# Set by the process that chooses the folder, so that its child ranks use the same.
CHOSEN = "QUINTET_RUN_FOLDER"

LOCK = ".lock"
REPLACED = "replaced"
"""Subfolder with the results of earlier weights."""
RESULTS = ("metrics*.json", "fit.json", "*.csv", "*.tsv", "figures", "pieces*", "tracks")
"""Files in which `fit`, `validate` and `test` report on the weights of a run folder."""
STRAYS = ("*.tmp", ".*.tmp")
"""Temporary checkpoint files of a killed training."""


class RunRequest(NamedTuple):
    """Options that determine a run's folder."""

    root: Path  # folder of all runs of a task
    subcommand: str
    name: str | None
    config: str  # name of the config
    ckpt_path: str | None
    overwrite: bool


class Run:
    """Folder of a run; a training holds its lock until `close`.

    Args:
        folder: run folder
        lock: lock held by this process; None if another rank holds it, or for subcommands other than `fit`
        created: whether this process created the folder
    """

    def __init__(self, folder: Path, lock: Lock | None = None, created: bool = False) -> None:
        self.folder, self.lock, self.created = folder, lock, created

    def close(self) -> None:
        """Release the lock."""
        if self.lock is not None:
            self.lock.release()

    def discard(self) -> None:
        """Remove the folder of a failed run without checkpoints, so that its name stays free."""
        if self.created and not (self.folder / "checkpoints").exists():
            shutil.rmtree(self.folder, ignore_errors=True)


def open_run(request: RunRequest, launch: rendezvous.Launch | None = None) -> Run:
    """Open the folder of this run under `<runs>/<task>/`.

    `fit` opens a new folder (a second run of the same config gets `-2`) unless it continues one with
    `--ckpt_path last`; other subcommands use the folder of their checkpoint. Rank 0 chooses for all ranks of torchrun or srun.

    Args:
        request: options
        launch: ranks started by torchrun or srun; None for one process and its own child ranks

    Raises:
        DataError: the name is taken or is no plain folder name, or another process trains in the folder.
    """
    if CHOSEN in os.environ:
        return Run(Path(os.environ[CHOSEN]))
    name = request.name
    if name is not None and (Path(name).name != name or name in ("", ".", "..")):
        raise DataError(f"--name must be a plain folder name, got {name}: the folder is created under {request.root}")
    if request.subcommand != "fit":
        folder = request.root / name if name else _folder_of(request.ckpt_path, request.root / request.config)
        run = Run(folder, created=not folder.exists())
    elif launch is None:
        run = _claim(request)
    elif launch.rank == 0:
        run = _claim_for_all(request, launch)
    else:
        run = Run(_choice_of_rank_0(request, launch))
    os.environ[CHOSEN] = str(run.folder)
    return run


def set_aside_results(folder: Path, logs: Sequence[Path] = ()) -> None:
    """Move the results of a run folder to `replaced/`, replacing what is there.

    Args:
        folder: run folder
        logs: log folders of the same weights
    """
    results = [*(path for pattern in RESULTS for path in folder.glob(pattern)), *logs]
    if not results:
        return
    aside = folder / REPLACED
    shutil.rmtree(aside, ignore_errors=True)
    for path in results:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _claim_for_all(request: RunRequest, launch: rendezvous.Launch) -> Run:
    run, content = None, {}
    try:
        run = _claim(request)
        content = {"folder": str(run.folder.resolve())}
    finally:
        # Without an answer after an error the other ranks would wait.
        rendezvous.answer(launch.folder(request.root), launch.world, content)
    return run


def _choice_of_rank_0(request: RunRequest, launch: rendezvous.Launch) -> Path:
    content = rendezvous.ask(launch.folder(request.root), launch.rank)
    if "folder" not in content:
        sys.exit(2)  # rank 0 prints the reason
    return Path(content["folder"])


def _claim(request: RunRequest) -> Run:
    """Create and lock the folder of a training."""
    root, name, ckpt_path = request.root, request.name, request.ckpt_path
    if ckpt_path == "last":
        return _claim_named(root / name if name else _newest(root, request.config))
    if ckpt_path and Path(ckpt_path).parent.name == "checkpoints" and not name:
        return _claim_named(_folder_of(ckpt_path, root / request.config))
    if name:
        run = _claim_named(root / name)
        if (run.folder / "checkpoints").is_dir() and not request.overwrite:
            run.close()
            raise DataError(
                f"{run.folder} already holds a run: continue it with --ckpt_path last, replace it with --overwrite true, "
                "or choose another --name"
            )
        return run
    return next(run for run in map(_claim_unused, _numbered(root, request.config)) if run is not None)


def _claim_named(folder: Path) -> Run:
    run = _lock(folder)
    if run is None:
        owner = Lock(folder / LOCK).owner() or "another process"
        raise DataError(f"{folder} is in use: {owner} trains there; wait until it has ended, or choose another --name")
    return run


def _claim_unused(folder: Path) -> Run | None:
    """Claim a folder that no run has used; None if one has."""
    if not _is_unused(folder):
        return None
    run = _lock(folder)
    if run is not None and not _is_unused(folder):  # another process used it in between
        run.close()
        return None
    return run


def _is_unused(folder: Path) -> bool:
    """True for a folder that does not exist, or holds nothing but lock files."""
    try:
        return all(path.name.startswith(LOCK) for path in folder.iterdir())
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


def _lock(folder: Path) -> Run | None:
    """Create and lock a folder, and remove temporary files of killed trainings; None if another process holds the lock."""
    while True:
        try:
            folder.mkdir(parents=True)
            created = True
        except FileExistsError:
            created = False
        lock = Lock(folder / LOCK, temporary=True)
        try:
            if not lock.acquire():
                return None
        except FileNotFoundError:  # a failed run has just removed the folder
            continue
        for pattern in STRAYS:
            for stray in (folder / "checkpoints").glob(pattern):
                stray.unlink(missing_ok=True)
        return Run(folder, lock, created)


def _folder_of(ckpt_path: str | None, default: Path) -> Path:
    if ckpt_path is None:
        return default
    path = Path(ckpt_path)
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def _numbered(root: Path, stem: str) -> Iterator[Path]:
    yield root / stem
    yield from (root / f"{stem}-{number}" for number in range(2, sys.maxsize))


def _newest(root: Path, stem: str) -> Path:
    newest = root / stem
    for path in _numbered(root, stem):
        if not path.exists():
            return newest
        newest = path
    return newest
