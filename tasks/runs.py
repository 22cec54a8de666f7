"""Where a command leaves what it makes: one folder a run, the same on every rank."""

import os
from pathlib import Path

from datamodules.errors import DataError

# Set by the process that chose the folder, so that the ranks it starts do not choose again.
CHOSEN = "QUINTET_RUN_FOLDER"


def run_folder(runs: str, task: str, verb: str, name: str | None, config: str, ckpt_path: str | None, overwrite: bool) -> Path:
    """Folder of this run under `<runs>/<task>/`.

    `fit` opens a new folder (a second run of the same config gets `-2`) unless it continues one with
    `--ckpt_path last`; every other verb works in the folder of its checkpoint.

    Raises:
        DataError: `--name` is taken, or would lead out of the folder of runs.
    """
    if CHOSEN in os.environ:
        return Path(os.environ[CHOSEN])
    root = Path(runs) / task
    if name is not None and (Path(name).name != name or name in ("", ".", "..")):
        raise DataError(f"--name {name} must be one plain folder name: it is created under {root}")
    folder = _choose(root, verb, name, config, ckpt_path, overwrite)
    os.environ[CHOSEN] = str(folder)
    return folder


def _choose(root: Path, verb: str, name: str | None, config: str, ckpt_path: str | None, overwrite: bool) -> Path:
    if verb != "fit":
        return root / name if name else _folder_of(ckpt_path, root / config)
    if ckpt_path == "last":
        return root / name if name else _newest(root, config)
    if ckpt_path and Path(ckpt_path).parent.name == "checkpoints" and not name:
        return _folder_of(ckpt_path, root / config)
    if name:
        if (root / name / "checkpoints").is_dir() and not overwrite and not _launched_from_outside():
            raise DataError(
                f"{root / name} already holds a run: continue it with --ckpt_path last, replace it with --overwrite true, "
                "or choose another --name"
            )
        return root / name
    return root / config if _launched_from_outside() else _unused(root, config)


def _launched_from_outside() -> bool:
    """Ranks started by torchrun or srun cannot agree on a number: they all take the plain name."""
    return any(int(os.environ.get(key, "1")) > 1 for key in ("WORLD_SIZE", "SLURM_NTASKS"))


def _folder_of(ckpt_path: str | None, default: Path) -> Path:
    if ckpt_path is None:
        return default
    path = Path(ckpt_path)
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def _numbered(root: Path, stem: str) -> list[Path]:
    names = [root / stem, *(root / f"{stem}-{k}" for k in range(2, 10_000))]
    return names[: next(k for k, path in enumerate(names) if not path.exists()) + 1]


def _unused(root: Path, stem: str) -> Path:
    return _numbered(root, stem)[-1]


def _newest(root: Path, stem: str) -> Path:
    existing = _numbered(root, stem)[:-1]
    return existing[-1] if existing else root / stem
