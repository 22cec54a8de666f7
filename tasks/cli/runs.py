"""Run folders: where a command leaves its results, claimed by one training at a time and the same on every rank."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.common.errors import DataError
from datamodules.common.locks import Lock
from tasks.cli import rendezvous

# Set by the process that chose the folder, so that the ranks it starts do not choose again.
CHOSEN = "QUINTET_RUN_FOLDER"

LOCK = ".lock"
REPLACED = "replaced"
"""Folder of a run that keeps the results of the weights before."""
RESULTS = ("metrics*.json", "fit.json", "*.csv", "*.tsv", "figures", "pieces*", "tracks")
"""What `fit`, `validate` and `test` of all tasks leave in a run folder about its weights."""
STRAYS = ("*.tmp", ".*.tmp")
"""Temporary files of checkpoints, which a killed training leaves behind."""


class Request(NamedTuple):
    """Options that decide on a run's folder."""

    root: Path  # folder of all runs of a task
    verb: str
    name: str | None
    config: str  # name of the config
    ckpt_path: str | None
    overwrite: bool


class Run:
    """Folder of a run; a training also holds its lock until `close`.

    Args:
        folder: of the run
        lock: held by this process; None where another rank holds it, or nothing is trained
        created: whether this process made the folder
    """

    def __init__(self, folder: Path, lock: Lock | None = None, created: bool = False) -> None:
        self.folder, self.lock, self.created = folder, lock, created

    def close(self) -> None:
        """Give the folder back."""
        if self.lock is not None:
            self.lock.release()

    def discard(self) -> None:
        """Remove a folder that this process made and that holds no checkpoint: it is worth no number."""
        if self.created and not (self.folder / "checkpoints").exists():
            shutil.rmtree(self.folder, ignore_errors=True)


def open_run(request: Request, launch: rendezvous.Launch | None = None) -> Run:
    """Folder of this run under `<runs>/<task>/`.

    `fit` opens a new folder (a second run of the same config gets `-2`) unless it continues one with
    `--ckpt_path last`; every other verb works in the folder of its checkpoint. Where torchrun or srun started the
    ranks, rank 0 chooses for all.

    Args:
        request: options
        launch: ranks that were started from outside, None for one process and the ranks that it starts itself

    Raises:
        DataError: the name is taken, would lead out of the folder of runs, or another process trains there.
    """
    if CHOSEN in os.environ:
        return Run(Path(os.environ[CHOSEN]))
    name = request.name
    if name is not None and (Path(name).name != name or name in ("", ".", "..")):
        raise DataError(f"--name {name} must be one plain folder name: it is created under {request.root}")
    if request.verb != "fit":
        folder = request.root / name if name else _folder_of(request.ckpt_path, request.root / request.config)
        run = Run(folder, created=not folder.exists())
    elif launch is None:
        run = _claim(request)
    elif launch.rank == 0:
        run = _claim_for_all(request, launch)
    else:
        run = Run(_chosen_by_rank_0(request, launch))
    os.environ[CHOSEN] = str(run.folder)
    return run


def set_aside_results(folder: Path, logs: Sequence[Path] = ()) -> None:
    """Move the results of a run folder to `replaced/`, where those of one set of weights are kept.

    Args:
        folder: of the run
        logs: folders in it that belong to the same weights
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


def _claim_for_all(request: Request, launch: rendezvous.Launch) -> Run:
    run, content = None, {}
    try:
        run = _claim(request)
        content = {"folder": str(run.folder.resolve())}
    finally:
        # A refusal is said to the others as well: they would wait for the answer.
        rendezvous.answer(launch.folder(request.root), launch.world, content)
    return run


def _chosen_by_rank_0(request: Request, launch: rendezvous.Launch) -> Path:
    content = rendezvous.ask(launch.folder(request.root), launch.rank)
    if "folder" not in content:
        sys.exit(2)  # rank 0 says why
    return Path(content["folder"])


def _claim(request: Request) -> Run:
    """Run of a training, its folder made and locked."""
    root, name, ckpt_path = request.root, request.name, request.ckpt_path
    if ckpt_path == "last":
        return _take(root / name if name else _newest(root, request.config))
    if ckpt_path and Path(ckpt_path).parent.name == "checkpoints" and not name:
        return _take(_folder_of(ckpt_path, root / request.config))
    if name:
        run = _take(root / name)
        if (run.folder / "checkpoints").is_dir() and not request.overwrite:
            run.close()
            raise DataError(
                f"{run.folder} already holds a run: continue it with --ckpt_path last, replace it with --overwrite true, "
                "or choose another --name"
            )
        return run
    return next(run for run in map(_try, _numbered(root, request.config)) if run is not None)


def _take(folder: Path) -> Run:
    """Claim a folder by its name."""
    run = _lock(folder)
    if run is None:
        owner = Lock(folder / LOCK).owner() or "another process"
        raise DataError(f"{folder} is in use: {owner} trains there; wait until it has ended, or choose another --name")
    return run


def _try(folder: Path) -> Run | None:
    """Claim a folder that no run has used; None where one has."""
    if not _is_unused(folder):
        return None
    run = _lock(folder)
    if run is not None and not _is_unused(folder):  # another process was here since
        run.close()
        return None
    return run


def _is_unused(folder: Path) -> bool:
    """Whether a folder is missing, or holds nothing but what a lock leaves."""
    try:
        return all(path.name.startswith(LOCK) for path in folder.iterdir())
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


def _lock(folder: Path) -> Run | None:
    """Make a folder and take its lock, after which temporary files of killed trainings are removed; None where it is held."""
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
        except FileNotFoundError:  # a run that failed has just removed its folder
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
