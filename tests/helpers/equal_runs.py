"""What a resumed run must share with the one that was never stopped, and where they first part if they do not."""

from pathlib import Path

import pytorch_lightning as pl
from torch import Tensor

from tests.helpers.toy import differing, logged, weights

State = dict[str, Tensor]
Log = dict[tuple[int, str], str]


def assert_same_run(trainer: pl.Trainer, folder: str | Path, state: State, log: Log) -> None:
    """Every weight, statistic, optimizer state and logged value, bit for bit; state, log: of the run never stopped."""
    told = [first_difference(logged(folder), log)]
    if wrong := differing(weights(trainer), state):
        told.append(f"{len(wrong)} of {len(state)} tensors end differently: {', '.join(wrong[:3])} ...")
    told = [sentence for sentence in told if sentence]
    assert not told, "The resumed run is not the one that was never stopped. " + " ".join(told)


def first_difference(log: Log, expected: Log) -> str:
    """Where two logs first part, as a sentence; empty where they do not."""
    for key in sorted(log.keys() | expected.keys()):
        if log.get(key) != expected.get(key):
            ours, theirs = (float.fromhex(one[key]) if key in one else "nothing" for one in (log, expected))
            return f"First at step {key[0]} it logs {ours} as {key[1]}, not {theirs}."
    return ""
