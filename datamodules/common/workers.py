"""Loader processes: retries, seed mixing, parallel map, and signal handling."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from datamodules.common.errors import DataError

Item = TypeVar("Item")
RETRIES = 20


def first_readable(read: Callable[[int], Item | None], noun: str) -> Item:
    """First of `read(0)`, `read(1)`, ... that is not None. Raises DataError after RETRIES; `noun` (plural) for the message."""
    for attempt in range(RETRIES):
        if (item := read(attempt)) is not None:
            return item
    raise DataError(f"{RETRIES} training {noun} in a row cannot be read: check the data set with `prepare`.")


def read_or_replace(read: Callable[[int], Item | None], first: int, clips: int, seed: int) -> Item:
    """Result of `read(first)` or, if that is None, of other clips drawn by the seed."""
    return first_readable(lambda attempt: read(mix(seed, attempt) % clips if attempt else first), "clips")


_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """Hash integers, in order, to a seed in [0, 2**63): SplitMix64 (Steele, Lea and Flood 2014), equal on every machine."""
    state = 0
    for value in values:
        state = ((state ^ (value & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(function: Callable, calls: Sequence[tuple], processes: int | None = None) -> Iterator[Any]:
    """Parallel map: results of `function(*call)` in order, from `processes` (default: one per core); re-raises errors."""
    processes = min(processes or cores(), len(calls))
    return iter(DataLoader(calls, batch_size=None, num_workers=processes, collate_fn=partial(_call, function)))


def _call(function: Callable, arguments: tuple) -> Any:
    return function(*arguments)


def ignore_run_signals(_worker: int) -> None:
    """Ignore signals that a cluster sends to the whole process group, so that the main process can stop in order."""
    if hasattr(signal, "sigwaitinfo"):  # Linux
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker on SIGTERM of its own main process only."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
