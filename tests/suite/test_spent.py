"""Wall and CPU time of a command: what its processes used, whether they have ended or not."""

import multiprocessing
import sys
import time

import pytest

from tasks.cli.launch import Stopwatch, cpu_seconds


def busy(seconds: float, hold=None) -> None:
    """Use so much CPU time; then wait for `hold`."""
    start = time.process_time()
    while time.process_time() - start < seconds:
        sum(range(1000))
    if hold is not None:
        hold.wait(30)


def test_ended_and_running_children_count():
    before = cpu_seconds()
    context = multiprocessing.get_context("spawn")
    ended = context.Process(target=busy, args=(0.3,))
    ended.start()
    ended.join()
    after = cpu_seconds()
    if sys.platform != "win32":
        assert after - before >= 0.3
    if sys.platform == "linux":
        hold, start = context.Event(), after
        running = context.Process(target=busy, args=(0.3, hold))
        running.start()
        deadline = time.monotonic() + 60
        while cpu_seconds() - start < 0.3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert cpu_seconds() - start >= 0.3
        hold.set()
        running.join()


@pytest.mark.parametrize(("seconds", "words"), [(0.0, "0:00 (0 CPU s"), (59.6, "1:00"), (3661.0, "61:01")])
def test_minutes_and_seconds(seconds, words):
    stopwatch = Stopwatch()
    stopwatch.start -= seconds
    assert str(stopwatch).startswith(words) and str(stopwatch).endswith("CPU s over all processes)")
