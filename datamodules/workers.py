"""Processes that read data: how many, and how they live under signals meant for the run."""

import os
import signal
import threading


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
