"""`fit --seeds N`: the same training from N seeds, one after another; what is finished is not done again."""

import subprocess
import sys
from pathlib import Path

from tasks.arguments import row_of, value_of, without
from tasks.launch import Task


def fit_seeds(task: Task, argv: list[str]) -> int:
    """Run `fit` for every seed below N in a process of its own, in RUNS/TASK/NAME-seedK; returns the first exit code not 0.

    A run that was cut short goes on from its last checkpoint.
    Raises ValueError where N is no positive number, or options are given that each seed chooses for itself.
    """
    count = value_of(argv, "--seeds") or ""
    if not count.isdigit() or int(count) < 1:
        raise ValueError(f"--seeds must be a positive number, got {count!r}")
    for option in ("--seed_everything", "--ckpt_path"):
        if value_of(argv, option) is not None:
            raise ValueError(f"{option} cannot be given with --seeds, which chooses it for every run")
    typed = without(argv, "--seeds")
    name = value_of(typed, "--name") or row_of(task, typed)
    root = Path(value_of(typed, "--runs") or "runs") / task.name
    for seed in range(int(count)):
        folder = root / f"{name}-seed{seed}"
        if (folder / "metrics.json").is_file():
            print(f"seed {seed} is finished: {folder}", flush=True)
            continue
        started = ["--ckpt_path", "last"] if (folder / "checkpoints").is_dir() else []
        own = ["--seed_everything", str(seed), "--name", folder.name, *started]
        code = subprocess.call([*_program(task.name), "fit", *without(typed, "--name")[1:], *own])
        if code:
            return code
    print(f"{count} seeds are finished: python -m tasks.{task.name} compare '{root}/{name}-seed*'", flush=True)
    return 0


def _program(task: str) -> list[str]:
    """Words that start a task in another process, `quintet` again where that runs: a working folder may have a `tasks.py`."""
    script = Path(sys.argv[0])
    if script.stem == "quintet" and script.is_file():
        return [sys.executable, str(script), task]
    return [sys.executable, "-m", f"tasks.{task}"]
