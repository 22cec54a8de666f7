"""Every write fails once: a command saves everything or ends with an error, and never leaves half a file under its name."""

import errno
import shutil
from pathlib import Path

import pytest

from datamodules.audio import pack
from datamodules.common.errors import DataError
from tasks.callbacks import CSVLog
from tests.helpers.commands import tagging, write_tiny
from tests.helpers.faults import Call, Faults, assert_whole, chosen, files, injected
from tests.helpers.layouts import tone, write_audio
from tests.helpers.toy import train

CODES = (errno.ENOSPC, errno.EIO)
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names the files behind descriptors"),
    pytest.mark.filterwarnings("ignore"),
]


class Scenario:
    """A command, run again and again in copies of one folder.

    Args:
        start: folder before the command
        work: runs it in a folder; returns what it said of an error, "" where it succeeded
    """

    def __init__(self, start, work):
        self.start, self.work = start, work
        self.folder = start.with_name(f"{start.name}-now")
        said, faults = self.run()
        assert said == "", said
        self.calls, self.files = faults.calls, files(self.folder)

    def run(self, failing=None, code=0):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.start, self.folder)
        with injected(Faults(self.folder, failing, code)) as faults:
            return self.work(self.folder), faults

    def check(self, failing, code):
        said, faults = self.run(failing, code)
        assert faults.fired, f"{failing} was not reached"
        assert_whole(self.folder)
        assert "Traceback" not in said
        if not said:
            # A training goes on after a checkpoint that could not be written: the next one then has no predecessor to keep.
            lacking = {name for name in self.files - files(self.folder) if Path(name).name != "previous.ckpt"}
            assert not lacking, f"{failing}: ended with 0 but lacks {lacking}"


def toy(folder):
    try:
        train(folder, max_epochs=2, logger=CSVLog(folder, "logs", flush_logs_every_n_steps=2))
    except (OSError, DataError) as error:
        return str(error) or type(error).__name__
    return ""


def command(*words):
    def work(folder):
        filled = [str(word).replace("HERE", str(folder)) for word in words]
        done = tagging(*filled)
        return "" if done.code == 0 else done.err or f"code {done.code}"

    return work


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Options of a small tagging task, and a trained run."""
    folder = tmp_path_factory.mktemp("faults")
    options = write_tiny(folder, seconds=0.5)[:-2]
    quick = ["--trainer.max_epochs", "1", "--trainer.enable_model_summary", "false"]
    done = tagging("fit", *options, *quick, "--runs", folder / "runs", "--report.gallery", "false")
    assert done.code == 0, done.err
    write_audio(folder / "song.wav", tone(1.0, 1))
    return folder, [*options, *quick]


@pytest.fixture(scope="module")
def scenarios(data, tmp_path_factory):
    """The scenario of a name, whose calls are counted when it is first asked for."""
    root, options = data
    made = {}

    def get(name, monkeypatch):
        # What loader processes write would not be counted here.
        monkeypatch.setattr(pack, "in_processes", lambda function, calls, _=None: (function(*call) for call in calls))
        if name not in made:
            start = tmp_path_factory.mktemp(name)
            if name in ("predict", "export"):
                shutil.copytree(root / "runs" / "tagging" / "tiny", start / "runs" / "tagging" / "tiny")
            run = "HERE/runs/tagging/tiny"
            song = ("--data.inputs", root / "song.wav", "--output.timeline", "true")
            work = {
                "toy": toy,
                "fit": command("fit", *options, "--runs", "HERE/runs"),
                "prepare": command("prepare", *options, "--data.pack", "auto", "--data.cache_dir", "HERE/cache"),
                "predict": command("predict", "--ckpt_path", run, *song),
                "export": command("export", "--ckpt_path", run),
            }
            made[name] = Scenario(start, work[name])
        return made[name]

    return get


@pytest.mark.parametrize("name", ["toy", "prepare", "predict"])
def test_a_sample_of_writes_that_fail(name, scenarios, monkeypatch):
    """Spread over the calls; the full loop is slow."""
    scenario = scenarios(name, monkeypatch)
    calls = chosen(scenario.calls)
    share = {"toy": 10, "prepare": 4, "predict": 4}[name]
    for number, call in enumerate(calls[:: max(1, len(calls) // share)]):
        scenario.check(call, CODES[number % 2])


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("code", CODES, ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("name", ["toy", "fit", "prepare", "predict", "export"])
def test_every_write_that_fails(name, code, scenarios, monkeypatch):
    scenario = scenarios(name, monkeypatch)
    faults = []
    for call in chosen(scenario.calls):
        try:
            scenario.check(call, code)
        except AssertionError as error:
            faults.append(f"{call}: {error}")
        except Exception as error:
            faults.append(f"{call}: raised {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)


def test_half_a_file_is_noticed(tmp_path):
    """The injector and its checks do what the tests above rely on."""

    def careless(folder):
        try:
            (folder / "scores.json").write_text('{"a": 1}')
        except OSError as error:
            return str(error)
        return ""

    (tmp_path / "start").mkdir()
    scenario = Scenario(tmp_path / "start", careless)
    assert [call.kind for call in scenario.calls] == ["open", "write"]
    with pytest.raises(AssertionError, match=r"scores.json is not whole"):
        scenario.check(Call("write", "scores.json", 0), errno.ENOSPC)
    scenario.check(Call("open", "scores.json", 0), errno.EIO)
