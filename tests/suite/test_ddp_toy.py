"""Two processes on one machine (gloo): what they draw, how they evaluate, stop and skip together."""

import atexit
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tasks.callbacks import DestroyProcessGroup
from tests.helpers import forkserver
from tests.helpers.toy import ToyData, ToyTrap, differing, logged, train
from tests.helpers.wandb_file import offline_run

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)


def toy(folder, *options, devices=2, check=True):
    """Run the toy in processes of its own."""
    done = forkserver.run("tests.helpers.toy", "--folder", folder, "--devices", devices, *options)
    assert not check or done.returncode == 0, done.stderr
    return done


def ranks(folder):
    return [torch.load(Path(folder) / f"weights{rank}.pt") for rank in (0, 1)]


def own(state):
    """What DDP keeps equal: all but running statistics, which are rank 0's at the next step."""
    return {name: value for name, value in state.items() if "running" not in name and "teacher" not in name}


def test_two_processes_draw_differently_agree_and_evaluate_exactly(tmp_path):
    toy(tmp_path, "--module", "ToyTrap", "--trainer", '{"max_epochs": 2}')
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    for epoch in (slice(0, 10), slice(10, 20)):
        assert len(set(first["seen"][epoch]) | set(second["seen"][epoch])) == 20
    assert first["masks"] != second["masks"]  # Lightning's own seeding would give both the same dropout
    assert differing(*map(own, ranks(tmp_path))) == []
    # Five validation items on two ranks, and the same weights on one.
    log = {name: float.fromhex(value) for (_, name), value in logged(tmp_path).items()}
    path = str(tmp_path / "checkpoints" / "last.ckpt")
    alone = train(tmp_path / "alone", max_epochs=1)
    score = alone.validate(ToyTrap(), datamodule=ToyData(), ckpt_path=path, verbose=False)[0]
    assert log["val/loss"] == pytest.approx(score["val/loss"], abs=1e-6)
    assert abs(log["val/synced"] - score["val/loss"]) > 1e-4  # why floats are never synced


def test_no_score_is_averaged_as_a_float():
    """The test above shows what that does to uneven shards."""
    guilty = [str(path.relative_to(ROOT)) for path in (ROOT / "tasks").rglob("*.py") if "sync_dist=True" in path.read_text()]
    assert not guilty, "log the value of a torchmetrics.Metric instead: it weighs every item alike on any number of ranks"


def test_threads_of_gloo_end_before_the_interpreter(monkeypatch, tmp_path):
    """Else one that still holds a tensor of the last operation ends a run that has succeeded by SIGABRT."""
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    DestroyProcessGroup().setup(SimpleNamespace(world_size=1), None, "fit")
    assert not at_exit
    DestroyProcessGroup().setup(SimpleNamespace(world_size=2), None, "fit")
    (end,) = at_exit
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    torch.distributed.all_reduce(torch.ones(1))
    assert sys.platform != "linux" or "pt_gloo_runloop" in threads()
    end()
    assert not torch.distributed.is_initialized()
    assert sys.platform != "linux" or "pt_gloo_runloop" not in threads()
    end()  # a second time, as after `fit` and `test`


def threads():
    """Names of this process's threads."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "options"),
    [
        (("on_train_batch_end", "3", "SIGTERM"), ()),
        (("on_train_batch_end", "8", "SIGUSR1"), ("--data", '{"num_workers": 2}')),
        (("on_validation_batch_end", "1", "SIGTERM"), ()),
        (
            ("on_train_batch_end", "8", "SIGTERM"),
            ("--module", "ToyGan", "--trainer", '{"strategy": "ddp_find_unused_parameters_true"}'),
        ),
        (("on_train_batch_end", "7", "SIGTERM"), ("--trainer", '{"accumulate_grad_batches": 2}')),
    ],
)
def test_a_signal_to_one_rank_stops_both_at_the_same_step(stop, options, tmp_path):
    toy(tmp_path / "whole", *options)
    stopped = toy(tmp_path / "cut", *options, "--stop", *stop, "--stop_rank", "1", check=False)
    assert stopped.returncode == 128 + getattr(signal, stop[2]), stopped.stderr
    assert "--ckpt_path last" in stopped.stderr
    toy(tmp_path / "cut", *options, "--resume")
    for whole, cut in zip(ranks(tmp_path / "whole"), ranks(tmp_path / "cut"), strict=False):
        assert differing(own(whole), own(cut)) == []
    assert differing(ranks(tmp_path / "whole")[0], ranks(tmp_path / "cut")[0]) == []
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_killed_go_on_exactly(tmp_path):
    toy(tmp_path / "whole")
    options = ("--devices", 2, "--pause", 0.3)
    running = forkserver.start("tests.helpers.toy", "--folder", tmp_path / "cut", *options, own_group=True)
    log = tmp_path / "cut" / "log.jsonl"
    while not log.exists() or log.read_text().count("train/loss") < 8:
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    toy(tmp_path / "cut", "--resume")
    assert differing(ranks(tmp_path / "whole")[0], ranks(tmp_path / "cut")[0]) == []
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


@pytest.mark.slow
def test_a_cluster_that_signals_every_process_at_once(tmp_path):
    """SLURM signals the loader workers too: they must not bring the run down before it has saved."""
    toy(tmp_path / "whole", "--data", '{"num_workers": 2}')
    options = ["--devices", "2", "--data", '{"num_workers": 2}', "--pause", "0.3"]
    running = forkserver.start("tests.helpers.toy", "--folder", tmp_path / "cut", *options, own_group=True)
    log = tmp_path / "cut" / "log.jsonl"
    while not log.exists() or log.read_text().count("train/loss") < 7:
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGTERM)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 143, said
    assert "Traceback" not in said
    toy(tmp_path / "cut", "--resume", "--data", '{"num_workers": 2}')
    assert differing(ranks(tmp_path / "whole")[0], ranks(tmp_path / "cut")[0]) == []
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")


@pytest.mark.slow
def test_a_bad_item_on_one_rank_is_skipped_on_both(tmp_path):
    toy(tmp_path, "--data", '{"bad": [3]}')
    first, second = ranks(tmp_path)
    assert differing(own(first), own(second)) == []
    assert all(bool(value.isfinite().all()) for state in (first, second) for value in state.values())
    assert any(name == "train/skipped_steps" for _, name in logged(tmp_path))


@pytest.mark.slow
def test_a_disk_that_is_full_for_one_rank_ends_both(tmp_path):
    done = toy(tmp_path, "--stop", "on_train_batch_end", "8", "full", "--stop_rank", "0", check=False)
    assert done.returncode != 0
    assert "nothing was saved since step 6: disk full" in done.stderr  # every second step, and each epoch of five
    assert "best.ckpt not found" not in done.stderr
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    toy(tmp_path, "--resume")


@pytest.mark.slow
def test_files_of_every_rank_are_named(tmp_path):
    done = toy(tmp_path, "--data", json.dumps({"bad": list(range(22))}), check=False)
    assert done.returncode != 0
    assert "3 steps in a row" in done.stderr
    sentence = next(line for line in done.stderr.splitlines() if "3 steps in a row" in line)
    assert sentence.count(".wav") == 12  # three global batches of four


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    done = toy(tmp_path, "--data", '{"batch_size": 5}', check=False)
    assert done.returncode != 0
    assert "does not divide over 2 processes" in done.stderr


@pytest.mark.slow
def test_two_processes_are_one_wandb_run(tmp_path):
    toy(tmp_path, "--wandb", "--stop", "on_train_batch_end", "7", "SIGTERM", check=False)
    toy(tmp_path, "--wandb", "--resume")
    first, second = (offline_run(path) for path in sorted(tmp_path.rglob("run-*.wandb")))
    assert first["id"] == second["id"] == (tmp_path / "wandb_id.txt").read_text().strip()
    steps = [row["trainer/global_step"] for run in (first, second) for row in run["history"] if "train/loss" in row]
    assert steps == list(range(15))


@pytest.mark.slow
def test_a_run_of_two_goes_on_with_one(tmp_path):
    """Not bit for bit, but over the same global batches."""
    toy(tmp_path, "--module", "ToyTrap", "--stop", "on_train_batch_end", "3", "SIGTERM", check=False)
    toy(tmp_path, "--module", "ToyTrap", "--resume", "--trainer", '{"max_epochs": 1}', devices=1)
    rest = json.loads((tmp_path / "rank0.json").read_text())["seen"]
    whole = train(tmp_path / "whole", partial(ToyTrap), max_epochs=1).lightning_module.seen
    assert rest == whole[12:]
