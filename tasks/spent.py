"""Wall time and CPU time of a command, its child processes included."""

import multiprocessing
import os
import time
from pathlib import Path


class Meter:
    """Time from its making on; `str` of it is as `3:40 (302 CPU s over all processes)`."""

    def __init__(self) -> None:
        self.began, self.used = time.monotonic(), cpu_seconds()

    def __str__(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.began), 60)
        return f"{minutes}:{seconds:02} ({cpu_seconds() - self.used:.0f} CPU s over all processes)"


def cpu_seconds() -> float:
    """User and system time of this process and of its children, s.

    Children that have ended count on Linux and macOS, those that still run on Linux alone.
    """
    times = os.times()
    ended = times.user + times.system + times.children_user + times.children_system
    return ended + sum(_running(child.pid) for child in multiprocessing.active_children())


def _running(pid: int | None) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own, and that of children it waited for
    except (OSError, ValueError, AttributeError):
        return 0.0
