"""Alternating timing of two implementations, robust to changes of machine speed."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Paired(NamedTuple):
    """CPU time of both implementations (s), and their ratios pair by pair."""

    peer_s: float  # median
    ours_s: float  # median
    ratios: tuple[float, ...]  # peer / ours

    def row(self, name: str) -> str:
        """Line of a table."""
        low, high = min(self.ratios), max(self.ratios)
        middle = statistics.median(self.ratios)
        return f"{name:44} {self.peer_s:9.3f} {self.ours_s:9.3f} {middle:8.2f}x  ({low:.2f} - {high:.2f})"


HEADER = f"{'':44} {'peer s':>9} {'ours s':>9} {'peer / ours':>9}  (min - max)"


def paired(peer: Callable[[], object], ours: Callable[[], object], pairs: int = 5) -> Paired:
    """CPU time of both, alternating, after one warm-up of each."""
    peer(), ours()
    times = [(_cpu(peer), _cpu(ours)) for _ in range(pairs)]
    return Paired(statistics.median(a for a, _ in times), statistics.median(b for _, b in times), tuple(a / b for a, b in times))


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
