"""Run folders: one training at a time, one choice for all ranks, no results beside weights that they are not of."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from datamodules.common.errors import DataError
from datamodules.common.locks import Lock
from tasks.callbacks import SetAsideResults
from tasks.cli import rendezvous, runs
from tasks.cli.rendezvous import Launch
from tasks.cli.runs import CHOSEN, RunRequest, open_run
from tasks.reporting import comparison
from tests.helpers import forkserver
from tests.helpers.commands import tagging, write_tiny
from tests.helpers.toy import train

ROOT = Path(__file__).parents[2]
OWNER = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def choose(tmp_path, monkeypatch):
    """Open a run as another process would."""

    def call(verb="fit", name=None, ckpt_path=None, overwrite=False, launch=None):
        monkeypatch.delenv(CHOSEN, raising=False)
        return open_run(RunRequest(tmp_path, verb, name, "row", ckpt_path, overwrite), launch)

    return call


def train_in(run):
    (run.folder / "checkpoints").mkdir(exist_ok=True)
    (run.folder / "checkpoints" / "last.ckpt").write_bytes(b"weights")


def test_two_trainings_at_once_get_two_folders(choose, tmp_path):
    first, second = choose(), choose()
    assert (first.folder, second.folder) == (tmp_path / "row", tmp_path / "row-2")
    assert second.folder.is_dir()
    second.discard()
    second.close()
    assert choose().folder == tmp_path / "row-2"


def test_many_processes_never_share_a_folder(tmp_path):
    def claim(_):
        run = runs._claim(RunRequest(tmp_path, "fit", None, "row", None, False))
        train_in(run)
        return run.folder.name

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(claim, range(16)))
    assert len(set(names)) == 16


@pytest.mark.parametrize("options", [{"overwrite": True}, {"ckpt_path": "last"}, {}])
def test_a_live_run_is_refused_by_host_and_process(options, choose):
    run = choose(name="mine")
    with pytest.raises(DataError, match=f"mine is in use: {OWNER} trains there"):
        choose(name="mine", **options)
    train_in(run)
    run.close()
    if options:
        assert choose(name="mine", **options).folder == run.folder
    else:
        with pytest.raises(DataError, match="already holds a run"):
            choose(name="mine")


def test_other_subcommands_read_a_live_run(choose):
    run = choose(name="mine")
    assert choose("test", name="mine").folder == run.folder


def test_last_is_the_newest_of_the_row_and_a_checkpoint_is_of_its_folder(choose, tmp_path):
    assert choose(ckpt_path="last").folder == tmp_path / "row"
    (tmp_path / "row-2").mkdir()
    assert choose(ckpt_path="last").folder == tmp_path / "row-2"
    path = tmp_path / "elsewhere" / "checkpoints" / "last.ckpt"
    assert choose(ckpt_path=str(path)).folder == tmp_path / "elsewhere"


def test_what_a_kill_leaves_is_used_again_and_cleaned(choose, tmp_path):
    (tmp_path / "row" / "checkpoints").mkdir(parents=True)
    (tmp_path / "row" / ".lock").touch()
    (tmp_path / "row" / "checkpoints" / ".12.last.ckpt.tmp").touch()
    assert choose(ckpt_path="last").folder == tmp_path / "row"
    assert not list((tmp_path / "row" / "checkpoints").iterdir())
    (tmp_path / "row-2").mkdir()
    (tmp_path / "row-2" / ".lock.owner").touch()
    assert choose().folder == tmp_path / "row-2"


def test_nothing_is_left_of_the_claim(choose):
    run = choose()
    run.close()
    assert not list(run.folder.iterdir())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/tmp/x"])
def test_a_name_that_leads_elsewhere_is_refused(name, choose):
    with pytest.raises(DataError, match="a plain folder name"):
        choose(name=name)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "4"}
SRUN = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NAME": "quintet"}


@pytest.mark.parametrize(
    ("environment", "nodes", "devices", "expected"),
    [
        ({}, 1, "auto", None),
        (TORCHRUN | {"RANK": "3", "LOCAL_WORLD_SIZE": "2"}, 2, 2, ("torchrun-none--10.0.0.1-29500", 3, 4)),
        (TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}, 1, 1, None),
        (SRUN | {"SLURM_PROCID": "5"}, 2, 4, ("srun-77-0-", 5, 8)),
        ({k: v for k, v in SRUN.items() if k != "SLURM_STEP_ID"} | {"SLURM_PROCID": "0"}, 1, 1, None),  # the batch script
        (SRUN | {"SLURM_PROCID": "0", "SLURM_JOB_NAME": "interactive"}, 1, 1, None),
        ({"NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, 2, 4, ("ranks-a-1", 1, 2)),
        ({"NODE_RANK": "1", "LOCAL_RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, 2, 4, ("ranks-a-1", 6, 8)),
    ],
)
def test_launches_are_told_by_their_variables(environment, nodes, devices, expected):
    assert Launch.detect(nodes, devices, environment) == (expected and Launch(*expected))


def test_two_launches_on_two_hosts_with_one_address_differ(monkeypatch):
    environment = TORCHRUN | {"RANK": "0", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1"}
    first = Launch.detect(1, 4, environment)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert first.name != Launch.detect(1, 4, environment).name


def together(tmp_path, name=None, overwrite=False):
    """What three ranks that torchrun started get: a Run, or what they raised."""
    request, results = RunRequest(tmp_path, "fit", name, "row", None, overwrite), {}

    def start(rank):
        launch = Launch("job", rank, 3)
        try:
            folder = runs._claim_for_all(request, launch).folder if rank == 0 else runs._choice_of_rank_0(request, launch)
            results[rank] = folder
        except (DataError, SystemExit) as error:
            results[rank] = error

    threads = [threading.Thread(target=start, args=(rank,)) for rank in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [results[rank] for rank in range(3)]


def test_rank_0_chooses_for_all_whatever_an_earlier_launch_left(tmp_path):
    (tmp_path / ".launch-job").mkdir()
    (tmp_path / ".launch-job" / "1-00.ask").touch()
    (tmp_path / ".launch-job" / "2-00.answer").write_text(json.dumps({"folder": "/of/another/launch"}))
    assert together(tmp_path) == [tmp_path / "row"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["row"]


def test_a_finished_run_is_refused_on_all_ranks_and_said_by_one(tmp_path):
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    first, *others = together(tmp_path, "mine")
    assert isinstance(first, DataError) and "already holds a run" in str(first)
    assert [(type(error), error.code) for error in others] == [(SystemExit, 2)] * 2
    assert together(tmp_path, "mine", overwrite=True) == [tmp_path / "mine"] * 3


def test_a_missing_rank_is_named(tmp_path):
    with pytest.raises(DataError, match=r"ranks \[1, 2\] of 3 did not start within 0 s"):
        rendezvous.answer(tmp_path / "meeting", 3, {}, wait_s=0)
    with pytest.raises(DataError, match=r"rank 0 did not answer rank 2 .* disk shared by all nodes"):
        rendezvous.ask(tmp_path / "meeting", 2, wait_s=0)


def test_results_of_other_weights_are_set_aside(tmp_path):
    run = tmp_path / "run"
    names = ["metrics.json", "metrics_validation.json", "fit.json", "per_tag.csv", "events.tsv", "figures/a.png", "pieces/1.mid"]
    names += ["logs/version_0/metrics.csv"]
    kept = ["config.yaml", "predictions/tags.csv", "export/model.pt2"]
    for name in names + kept:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("old")
    train(run, max_epochs=1, callbacks=(SetAsideResults(),))
    assert [name for name in names if (run / name).exists()] == []
    assert [name for name in names if not (run / "replaced" / name).exists()] == []
    assert [name for name in kept if not (run / name).exists()] == []
    assert comparison._inside(tmp_path) == [tmp_path]
    assert comparison._inside(run) == [run]  # not replaced/


def test_a_finished_run_that_has_nothing_left_to_train_keeps_its_results(tmp_path):
    train(tmp_path, max_epochs=1)
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "logs" / "version_0").mkdir(parents=True)
    last = str(tmp_path / "checkpoints" / "last.ckpt")
    train(tmp_path, max_epochs=1, callbacks=(SetAsideResults(),), ckpt_path=last)
    assert (tmp_path / "metrics.json").exists()
    train(tmp_path, max_epochs=2, callbacks=(SetAsideResults(),), ckpt_path=last)
    assert not (tmp_path / "metrics.json").exists()
    assert (tmp_path / "logs" / "version_0").exists()  # of the same run


@pytest.mark.parametrize("words", [("--ckpt_path", "last"), ("--overwrite", "true"), ()])
def test_fit_into_the_folder_of_a_live_run_is_one_sentence(words, tmp_path):
    options = write_tiny(tmp_path, seconds=0.5)
    lock = Lock(tmp_path / "runs" / "tagging" / "mine" / ".lock")
    assert lock.acquire()
    done = tagging("fit", *options, "--name", "mine", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert OWNER in done.err
    assert sorted(path.name for path in lock.path.parent.iterdir()) == [".lock", ".lock.owner"]
    lock.release()


def fit(tmp_path, *words, launcher=()):
    environment = {name: value for name, value in os.environ.items() if name != CHOSEN}
    words = ["tasks.tagging", "fit", *map(str, words), "--runs", str(tmp_path / "runs")]
    if not launcher:
        return forkserver.start(*words, env=environment)
    command = [sys.executable, *launcher, "-m", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_fits_at_once_into_one_folder(tmp_path):
    options = write_tiny(tmp_path, seconds=0.5)
    pair = [fit(tmp_path, *options, "--name", "mine", "--ckpt_path", "last") for _ in range(2)]
    said = [process.communicate(timeout=200)[1] for process in pair]
    codes = [process.returncode for process in pair]
    # Either the second began after the first had ended, and found nothing left to train, or it was refused.
    assert codes in ([0, 0], [0, 2], [2, 0]), said
    assert all("is in use: process" in text for text, code in zip(said, codes, strict=True) if code == 2)
    assert (tmp_path / "runs" / "tagging" / "mine" / "metrics.json").exists()


@pytest.mark.slow
def test_ranks_of_torchrun_share_a_folder_and_refuse_together(tmp_path):
    options = write_tiny(tmp_path, seconds=0.5)
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "1")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    for folder in ("tiny", "tiny-2"):
        done = fit(tmp_path, *options, *two, launcher=launcher)
        assert done.wait(200) == 0, done.stderr.read()
        assert (tmp_path / "runs" / "tagging" / folder / "metrics.json").exists()
    refused = fit(tmp_path, *options, *two, "--name", "tiny", launcher=launcher)
    said = refused.communicate(timeout=200)[1]
    assert refused.returncode and said.count("already holds a run") == 1, said
    assert sorted(path.name for path in (tmp_path / "runs" / "tagging").iterdir()) == ["tiny", "tiny-2"]
