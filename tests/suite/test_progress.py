"""Progress: bars in a terminal, whole lines in a log, tables after them, and no advice that nobody can act on."""

import io
import logging
import re
import sys
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl

from datamodules.common import progress as module
from datamodules.common.progress import Lines, progress
from tasks.callbacks.progress import LogLines, ProgressBars, progress_callback
from tasks.cli.parsing import quiet
from tests.helpers.commands import tagging, write_tiny
from tests.helpers.toy import Toy, ToyData


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_has_one_line_for_each_piece_of_work(monkeypatch, capsys):
    clock = iter([0, 10, 70, 80, 131, 140, 141])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert list(progress(["a", "b", "c", "d"], "packing audio", unit="clip")) == ["a", "b", "c", "d"]
    assert capsys.readouterr().err.splitlines() == [
        "packing audio: 2 of 4 clips in 80 s",  # one a minute
        "packing audio: 4 clips in 141 s",
    ]


def test_arrays_are_counted_as_lists_are():
    assert list(Lines(np.arange(3), disable=True)) == [0, 1, 2]
    assert list(Lines(np.zeros(0), disable=True)) == []


def test_work_that_was_done_before_says_nothing(capsys):
    with progress(total=5, initial=5, desc="packing audio"):
        pass
    list(progress([1, 2], "quiet", disable=True))
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress([1, 2], "packing audio", unit="clip")) == [1, 2]
    assert "packing audio: 100%" in terminal.getvalue() and "2/2" in terminal.getvalue()
    assert isinstance(progress_callback(), ProgressBars)


class Table(pl.Callback):
    """Prints a table where reports do."""

    def __init__(self, terminal):
        self.terminal = terminal

    def _print(self, *_):
        self.terminal.write("\nTABLE\n")

    on_test_end = on_validation_end = on_predict_end = _print


def run(verb, callback, *others):
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        callbacks=[*others, callback],
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(trainer, verb)(Toy(), datamodule=ToyData(), **{} if verb == "fit" else {"verbose": False})


@pytest.mark.parametrize("verb", ["test", "validate"])
def test_no_bar_is_printed_again_after_the_table(verb, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(verb, ProgressBars(), Table(terminal))
    before, _, after = terminal.getvalue().partition("\nTABLE\n")
    assert "3/3" in before
    assert after.strip() == ""


def test_a_training_without_terminal_has_one_line_an_epoch(capsys):
    run("fit", LogLines())
    run("test", LogLines())
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if "batch" in line]
    assert [re.sub(r" in \d+ s.*", "", line) for line in lines] == [
        "epoch 1 of 2: 5 batches",
        "epoch 2 of 2: 5 batches",
        "test split: 3 batches",
    ]
    assert "\r" not in said.err + said.out


def test_fit_and_its_test_leave_a_log_of_few_lines(tmp_path):
    options = write_tiny(tmp_path, seconds=0.5)
    done = tagging("fit", *options, "--trainer.enable_progress_bar", "true", "--trainer.enable_model_summary", "false")
    assert done.code == 0, done.err
    told = [line for line in done.err.splitlines() if line.startswith(("epoch", "test split", "drawing"))]
    assert told[0].startswith("epoch 1 of 2: 2 batches") and "val/auroc_macro" in told[0]
    assert [line.split(":")[0] for line in told[1:]] == [
        "epoch 2 of 2",
        "test split",
        "drawing attention",
        "drawing contributions",
    ]
    assert "\r" not in done.err + done.out and "it/s" not in done.err + done.out


ADVICE = [
    "You're resuming from a checkpoint that ended before the epoch ended and your dataloader is not resumable. This can",
    "It is recommended to use `self.log('val/x', ..., sync_dist=True)` when logging on epoch level in distributed setting",
    "The `srun` command is available on your system but is not used. HINT: If your intention is to run Lightning on SLURM",
    "Attribute 'net' is an instance of `nn.Module` and is already saved during checkpointing. It is recommended to ignore",
]


@pytest.mark.parametrize("text", ADVICE)
def test_advice_that_nobody_can_act_on_is_not_shown(text):
    with warnings.catch_warnings(record=True) as shown:
        quiet()
        warnings.warn(text, UserWarning, stacklevel=1)
    assert not shown


def test_the_seed_is_not_announced_before_every_command(caplog):
    quiet()
    with caplog.at_level(logging.INFO):
        pl.seed_everything(0)
    assert "Seed set to" not in caplog.text


def test_lines_count_in_words(capsys):
    for number in (1, 2):
        list(Lines(range(number), "reading", unit="batch"))
    assert capsys.readouterr().err.splitlines() == ["reading: 1 batch in 0 s", "reading: 2 batches in 0 s"]
    lines = Lines(desc="separated", total=36.2, unit="second of audio", every_s=0)
    lines.update(35.99937)
    assert capsys.readouterr().err == "separated: 36 of 36.2 seconds of audio in 0 s\n"
