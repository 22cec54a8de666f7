"""`fit --seeds N`: a run for each seed, none done twice, one that was cut short goes on."""

import subprocess
import sys

import pytest

from tasks.cli import arguments
from tests.helpers.commands import command


@pytest.fixture
def calls(monkeypatch):
    """Commands that would have been run, each of which ends well and leaves its scores; `stop` makes the next fail."""
    made = []

    def call(words):
        made.append(words[3:])
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    return made


def test_every_seed_gets_a_run_of_its_own(calls, tmp_path, capsys):
    done = command("tagging", "fit", "--config", "configs/tagging/tiny.yaml", "--seeds", "3", "--runs", tmp_path)
    assert done.code == 0 and "3 seeds are finished" in done.out
    for seed, words in enumerate(calls):
        assert words[:3] == ["fit", "--config", "configs/tagging/tiny.yaml"] and "--seeds" not in words
        assert words[-4:] == ["--seed_everything", str(seed), "--name", f"tiny-seed{seed}"]
    assert len(calls) == 3


def test_quintet_starts_itself_for_each_seed(tmp_path, monkeypatch):
    script = tmp_path / "quintet"
    script.touch()
    assert arguments._program("sed") == [sys.executable, "-m", "tasks.sed"]
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert arguments._program("sed") == [sys.executable, str(script), "sed"]


def test_what_is_finished_is_left_and_what_was_begun_goes_on(calls, tmp_path):
    (tmp_path / "sed/mine-seed0").mkdir(parents=True)
    (tmp_path / "sed/mine-seed0/metrics.json").write_text("{}")
    (tmp_path / "sed/mine-seed1/checkpoints").mkdir(parents=True)
    done = command("sed", "fit", "--seeds=3", "--runs", tmp_path, "--name", "mine")
    assert done.code == 0 and "seed 0 is finished" in done.out
    assert [words[-2:] for words in calls] == [["--ckpt_path", "last"], ["--name", "mine-seed2"]]


def test_the_first_failure_ends_it(monkeypatch, tmp_path):
    monkeypatch.setattr(arguments.subprocess, "call", lambda words: 3)
    assert command("sed", "fit", "--seeds", "2", "--runs", tmp_path).code == 3


@pytest.mark.parametrize("words", [("0",), ("many",), ("2", "--seed_everything", "1"), ("2", "--ckpt_path", "last")])
def test_what_means_nothing_is_refused(words):
    done = command("sed", "fit", "--seeds", *words)
    assert done.code == 2 and "--seeds" in done.err and "Traceback" not in done.err
