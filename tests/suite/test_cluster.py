"""The batch script against a cluster that is not there, and what the command line gives every run."""

import functools
import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch

from datamodules.tagging.mtat import MTAT
from tasks import callbacks
from tests.helpers.commands import tagging, write_tiny

ROOT = Path(__file__).parents[2]


def run_script(folder, status, **variables):
    """Run configs/slurm.sh where `srun` notes its words and ends with a status, and `scontrol` notes its own."""
    for program, end in (("srun", status), ("scontrol", 0)):
        path = folder / program
        path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/{program}.txt\nexit {end}\n')
        path.chmod(0o755)
    cluster = {"SLURM_JOB_ID": "77", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "PATH": f"{folder}:{os.environ['PATH']}"}
    words = ["bash", str(ROOT / "configs" / "slurm.sh"), "configs/tagging/mtat_spec_att.yaml", "--data.root", "MTAT"]
    done = subprocess.run(words, env=os.environ | cluster | variables, capture_output=True, text=True)
    said = {path.stem: path.read_text() for path in folder.glob("*.txt")}
    return done.returncode, said.get("srun", ""), said.get("scontrol", "")


def test_the_script_goes_on_from_the_last_checkpoint_with_a_seed_of_its_own(tmp_path):
    status, command, requeued = run_script(tmp_path, 0, SLURM_ARRAY_TASK_ID="2")
    assert (status, requeued) == (0, "")
    assert command.startswith("python -m tasks.tagging fit --config configs/tagging/mtat_spec_att.yaml ")
    wanted = ["--ckpt_path last", "--seed_everything 2", "--name mtat_spec_att-seed2", "--trainer.devices 4", "--data.root MTAT"]
    assert [words for words in [*wanted, "--trainer.num_nodes 2"] if words not in command] == []


@pytest.mark.parametrize(("status", "requeued"), [(143, True), (138, True), (1, False), (2, False)])
def test_the_script_requeues_what_was_preempted_and_nothing_else(tmp_path, status, requeued):
    """143 and 138 are what Preempt leaves with after SIGTERM and SIGUSR1."""
    assert run_script(tmp_path, status)[::2] == (status, "requeue 77\n" * requeued)


class Launched(Exception):
    """A training that was about to begin."""


def launched(*words):
    """What `fit` would have trained: (trainer, module, checkpoint it would go on from), and what it said."""
    found = []

    @functools.wraps(pl.Trainer.fit)  # from whose arguments the command line is made
    def note(trainer, model, **options):
        found.append((trainer, model, options.get("ckpt_path")))

    with mock.patch.object(pl.Trainer, "fit", note):
        done = tagging("fit", *words, "--name", "run", "--test_after_fit", "false")
    assert found, done.err
    return *found[0], done.err


def test_every_run_has_the_callbacks_that_carry_the_guarantees(tmp_path):
    trainer, *_ = launched(*write_tiny(tmp_path, seconds=0.5))
    wanted = ["Checkpoint", "DestroyProcessGroup", "FiniteGuard", "Preempt", "RunRecord", "StepSeed", "Watchdog"]
    missing = [name for name in wanted if not any(type(one) is getattr(callbacks, name) for one in trainer.callbacks)]
    assert not missing, "a run from the command line would go on without these"


def test_first_weights_come_from_the_seed_alone(tmp_path):
    """Not from what rendering or packing the data has drawn before."""
    words = write_tiny(tmp_path, seconds=0.5)
    plain = launched(*words)[1].state_dict()
    read = MTAT.read_index
    with mock.patch.object(MTAT, "read_index", lambda self, root: torch.rand(7) is None or read(self, root)):
        drawn = launched(*words, "--overwrite", "true")[1].state_dict()
    assert [name for name, weights in plain.items() if not torch.equal(weights, drawn[name])] == []


def test_last_means_the_newest_checkpoint_that_loads_and_its_own_optimizer(tmp_path, recwarn):
    words = write_tiny(tmp_path, seconds=0.5)
    folder = tmp_path / "runs" / "tagging" / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"cut off")
    other = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}
    state = {"state_dict": {}, "loops": {}, "optimizer_states": [], "quintet": {"task": "tagging", "row": "tiny", "seed": 0}}
    torch.save(state | {"hyper_parameters": {"optimizer": other}}, folder / "previous.ckpt")
    path, said = launched(*words, "--ckpt_path", "last")[2:]
    assert path == str(folder / "previous.ckpt")
    said += "".join(str(one.message) for one in recwarn)
    assert "last.ckpt cannot be resumed from" in said
    assert "restores its own optimizer" in said
