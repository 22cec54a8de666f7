"""The fuzz campaign: good files are read, mutations depend on the seed alone, readers survive a sample, deaths are counted."""

import sys
import time

import pytest

from benchmarks.__main__ import main
from benchmarks.fuzz import FAILURES, Worker, campaign, table
from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.readers import READERS
from benchmarks.fuzzing.seeds import seeds
from datamodules.common.errors import DataError

OF_ONE_KIND = sorted(set(READERS) - {"table", "npz", "checkpoint"})
"""Formats all of whose readers read the same files; the others have readers of different files."""
SAMPLE = {"mei": 3, "kern": 12, "musicxml": 15, "mxl": 10, "wav": 20}
"""Inputs of slower formats."""


@pytest.mark.parametrize("kind", OF_ONE_KIND)
def test_the_good_files_are_good(kind, tmp_path):
    for number, (ending, content) in enumerate(seeds()[kind]):
        path = tmp_path / f"{number}.{ending}"
        path.write_bytes(content)
        if kind != "wav" or number < 2:  # the third has samples of 24 bits, which are not read in place
            READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_mutations_depend_on_the_seed_alone(kind):
    first = [mutated(kind, 3, number) for number in range(12)]
    seeds.cache_clear()
    assert [mutated(kind, 3, number) for number in range(12)] == first
    assert [mutated(kind, 4, number) for number in range(12)] != first
    assert len({content for _, content in first}) > 6


def refusal(kind, path):
    try:
        READERS[kind](path)
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", READERS)
def test_readers_survive_a_fixed_sample(kind, tmp_path):
    for number in range(SAMPLE.get(kind, 40)):
        ending, content = mutated(kind, 14, number)
        path = tmp_path / f"fuzz-{number}.{ending}"
        path.write_bytes(content)
        before = time.process_time()
        said = refusal(kind, path)
        assert said is None or "fuzz-" in said or str(tmp_path) in said  # it names the file
        assert time.process_time() - before < 20
        path.unlink()


WORKER = """
import json, os, signal, sys, time
print("ready", flush=True)
for line in sys.stdin:
    turn = open(line.rstrip().split("\\t")[1], "rb").read()[:1]
    if turn == b"P": os.kill(os.getpid(), signal.SIGPROF)
    if turn == b"A": os.abort()
    if turn == b"S": time.sleep(60)
    kind = {b"T": "traceback", b"D": "refused"}.get(turn, "read")
    print(json.dumps({"kind": kind, "said": "ValueError at x.py:1: y", "mb": 900 if turn == b"M" else 0, "s": 0.1}), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
def test_deaths_hangs_and_memory_are_counted(tmp_path, monkeypatch):
    turns = "RPASTDMR"
    monkeypatch.setattr("benchmarks.fuzz.mutated", lambda kind, seed, number: ("x", turns[number].encode()))
    worker = Worker([sys.executable, "-c", WORKER], patience_s=3.0)
    tally = campaign(["abc"], 60, 0, len(turns), tmp_path / "out", worker)["abc"]
    assert {name: tally.counts[name] for name in ("read", "refused", *FAILURES)} == {
        **{"read": 2, "refused": 1, "traceback": 1, "hang": 2, "memory": 1, "crash": 1, "vague": 0}
    }
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 2 * 5
    assert "ValueError at x.py:1: y" in (tmp_path / "out" / next(n for n in names if n.endswith("traceback.x.txt"))).read_text()
    assert table({"abc": tally}).splitlines()[-1].split()[:3] == ["all", "8", "2"]


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    words = ["fuzz", "--inputs", "3", "--seed", "1", "--seconds", "200", "--formats", "abc", "yaml", "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["all", "6"]
