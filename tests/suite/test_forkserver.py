"""Processes of the tests' fork server do what `python -m` does, and start without traces of one another."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import forkserver


def describe(path):
    """Write what a process knows of itself."""
    threads = len(list(Path("/proc/self/task").iterdir())) if sys.platform == "linux" else threading.active_count()
    group = os.getpgrp() if os.name == "posix" else None
    numbers = {"threads": threads, "group": group, "random": random.random(), "torch": torch.rand(1).item()}
    numbers["numpy"] = np.random.random()
    path.write_text(json.dumps(numbers | {"pid": os.getpid(), "argv": sys.argv[1:], "word": os.environ.get("WORD")}))


def leave(how):
    """End in one of the ways in which a process ends."""
    print("to stdout")
    print("to stderr", file=sys.stderr)
    if how == "error":
        raise ValueError("a message")
    if how == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(how)


ENDS = [(0, 0), (3, 3), (None, 0), ("a sentence", 1), ("error", 1), ("signal", -signal.SIGTERM)]


@pytest.mark.parametrize(("how", "code"), ENDS)
def test_exit_status_and_output_are_those_of_an_interpreter(how, code):
    command = forkserver.call(leave, how)
    out, err = command.communicate(60)
    assert (command.returncode, command.poll()) == (code, code)
    assert how == "signal" or (out == "to stdout\n" and "to stderr\n" in err)
    assert ("ValueError: a message" in err) == (how == "error") and ("a sentence" in err) == (how == "a sentence")


def test_forks_have_one_thread_a_group_and_random_numbers_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("WORD", "x")
    commands = [forkserver.call(describe, tmp_path / str(k)) for k in range(2)]
    assert [command.wait(60) for command in commands] == [0, 0]
    first, second = (json.loads((tmp_path / str(k)).read_text()) for k in range(2))
    for command, content in zip(commands, (first, second), strict=True):
        assert (content["pid"], content["word"]) == (command.pid, "x")
        assert content["group"] in (None, command.pid)
        assert content["threads"] == 1
    assert first["random"] != second["random"]
    assert first["torch"] != second["torch"] and first["numpy"] != second["numpy"]


def test_a_module_runs_as_main_and_one_that_does_not_end_is_killed():
    assert forkserver.run("tasks", "nothing").returncode == forkserver.run("tasks.tagging", "x").returncode == 2
    assert "usage: python -m tasks.tagging" in forkserver.run("tasks.tagging", "--help").stdout
    with pytest.raises(subprocess.TimeoutExpired):
        forkserver.run("tests.helpers.toy", "--folder", os.devnull + "/x", "--pause", 60, timeout=0.01)
