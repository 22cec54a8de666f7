"""Rendezvous of ranks started by torchrun or srun: decision of rank 0 -> other ranks, through files in a shared folder.

Every rank asks under a fresh name, so that leftovers of an earlier launch are never read as an answer.
"""

import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.common.errors import DataError

WAIT_S = 600.0
"""Timeout for the start of all ranks, s."""
POLL_S = 0.05


class Launch(NamedTuple):
    """Processes started together by torchrun, srun or by hand."""

    name: str  # equal on every rank, different for simultaneous launches
    rank: int
    world: int

    @classmethod
    def detect(cls, nodes: int, devices: Any, environment: Mapping[str, str] = os.environ) -> "Launch | None":
        """Launch of this process from the environment of torchrun, srun, or ranks started by hand.

        Args:
            nodes: `--trainer.num_nodes`
            devices: `--trainer.devices`
            environment: environment variables
        """
        launch = _torchrun(environment) or _srun(environment) or _by_hand(environment, nodes, devices)
        return launch if launch and launch.world > 1 else None

    def folder(self, root: Path) -> Path:
        """Rendezvous folder."""
        return root / f".launch-{re.sub(r'[^A-Za-z0-9.]+', '-', self.name)}"


def answer(folder: Path, world: int, content: dict[str, Any], wait_s: float = WAIT_S) -> None:
    """Send the decision of rank 0 to every other rank, and wait until all have read it.

    Args:
        folder: rendezvous folder
        world: number of ranks
        content: decision, plain types
        wait_s: timeout for the slowest rank, s

    Raises:
        DataError: some ranks did not ask in time.
    """
    waiting, replies = set(range(1, world)), set()
    until = time.monotonic() + wait_s
    folder.mkdir(parents=True, exist_ok=True)
    try:
        while waiting:
            for question in folder.glob("*.ask"):
                reply = question.with_suffix(".answer")
                if reply not in replies:
                    _write(reply, content)
                    replies.add(reply)
            read = {reply for reply in replies if not reply.exists()}
            waiting -= {int(reply.name.split("-")[0]) for reply in read}
            if waiting and time.monotonic() > until:
                raise DataError(f"ranks {sorted(waiting)} of {world} did not start within {wait_s:.0f} s: see their logs")
            time.sleep(POLL_S if waiting else 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ask(folder: Path, rank: int, wait_s: float = WAIT_S) -> dict[str, Any]:
    """Read the decision of rank 0.

    Args:
        folder: rendezvous folder
        rank: rank of this process
        wait_s: timeout for rank 0, s

    Raises:
        DataError: rank 0 did not answer in time.
    """
    question = folder / f"{rank}-{secrets.token_hex(8)}.ask"
    reply = question.with_suffix(".answer")
    until = time.monotonic() + wait_s
    while True:
        with suppress(OSError):  # rank 0 removes the folder of an earlier launch
            folder.mkdir(parents=True, exist_ok=True)
            question.touch()
        with suppress(FileNotFoundError):
            content = json.loads(reply.read_text(encoding="utf-8"))
            break
        if time.monotonic() > until:
            question.unlink(missing_ok=True)
            raise DataError(
                f"rank 0 did not answer rank {rank} within {wait_s:.0f} s: --runs must be on a disk shared by all nodes "
                f"(looked in {folder})"
            )
        time.sleep(POLL_S)
    question.unlink(missing_ok=True)
    reply.unlink(missing_ok=True)
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(path)


def _torchrun(environment: Mapping[str, str]) -> Launch | None:
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")
    parts = [environment.get(name, "") for name in names]
    if environment.get("LOCAL_WORLD_SIZE") == environment["WORLD_SIZE"]:
        parts.append(socket.gethostname())  # MASTER_ADDR may be 127.0.0.1
    return Launch("-".join(["torchrun", *parts]), int(environment["RANK"]), int(environment["WORLD_SIZE"]))


def _srun(environment: Mapping[str, str]) -> Launch | None:
    # The batch script itself has the job's variables too, but no step.
    if "SLURM_STEP_ID" not in environment or environment.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    parts = [environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")]
    return Launch("-".join(["srun", *parts]), int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"]))


def _by_hand(environment: Mapping[str, str], nodes: int, devices: Any) -> Launch | None:
    """One process per node that starts the others itself, or LOCAL_RANK set for every process."""
    node = int(environment.get("NODE_RANK", environment.get("GROUP_RANK", "0")))
    name = "-".join(["ranks", environment.get("MASTER_ADDR", socket.gethostname()), environment.get("MASTER_PORT", "")])
    if "LOCAL_RANK" not in environment:
        return Launch(name, node, nodes)
    if not str(devices).isdigit():
        return None
    return Launch(name, node * int(devices) + int(environment["LOCAL_RANK"]), nodes * int(devices))
