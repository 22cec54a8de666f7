"""Processes that read or make data: how many, work shared among them, and their life under signals meant for the run."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from datamodules.common.errors import DataError

Item = TypeVar("Item")


RETRIES = 20


def until_read(read: Callable[[int], Item | None], what: str) -> Item:
    """The first of `read(0)`, `read(1)`, ... that is not None. Raises DataError where RETRIES of `what` in a row are."""
    for attempt in range(RETRIES):
        if (item := read(attempt)) is not None:
            return item
    raise DataError(f"{RETRIES} training {what} in a row cannot be read: check the data set with the `prepare` verb.")


def or_another(read: Callable[[int], Item | None], first: int, clips: int, seed: int) -> Item:
    """What `read(first)` gives, or where that is None of another of so many clips, drawn by the seed."""
    return until_read(lambda attempt: read(mix(seed, attempt) % clips if attempt else first), "clips")


_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """One well-spread integer in [0, 2**63) from any integers, order mattering; equal on every machine.

    SplitMix64's finaliser (Steele, Lea, Flood 2014) after each value: neighbouring epochs or ranks share nothing.
    """
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


class _Calls(Dataset):
    def __init__(self, function: Callable, calls: Sequence[tuple]) -> None:
        self.function, self.calls = function, calls

    def __len__(self) -> int:
        return len(self.calls)

    def __getitem__(self, index: int) -> Any:
        return self.function(*self.calls[index])


def in_processes(function: Callable, calls: Sequence[tuple], processes: int | None = None) -> Iterator[Any]:
    """What `function(*call)` returns for every call, in their order, from so many processes (default: one a core).

    Raises what a call raised.
    """
    processes = min(processes or cores(), len(calls))
    return iter(DataLoader(_Calls(function, calls), batch_size=None, num_workers=processes, collate_fn=_same))


def _same(result: Any) -> Any:
    return result


def outlive_signals(_worker: int) -> None:
    """A cluster signals whole process groups: a worker that died at once would crash the run that is to stop in order."""
    if hasattr(signal, "sigwaitinfo"):  # Linux
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker when its own main process says so, and only then."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
