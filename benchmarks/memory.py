"""Resident memory of this process in MB (Linux)."""

from pathlib import Path


def memory_mb(field: str = "VmHWM") -> float:
    """`VmRSS`: current; `VmHWM`: peak. getrusage would include the peak of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
