"""Train, validation and test: what folders and columns call them, and how they are drawn where nothing says so."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

SPLITS = ("train", "validation", "test")
Split = Literal["train", "validation", "test"]

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "valid", "val", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
    "": -1,
}
"""What they are called elsewhere, as positions in SPLITS; an empty cell: in none of them."""

HELD_OUT = 0.1
SHARES = {"train": 0.6, "test": 0.25, "validation": 0.15}  # as `deal` aims at them


def split_folders(root: Path) -> dict[str, str]:
    """The split of each folder in `root` that is called after one."""
    return {name: SPLITS[place] for name, place in SPLIT_NAMES.items() if place >= 0 and (root / name).is_dir()}


def draw(groups: Sequence[str], parts: Sequence[int] = (1, 2)) -> np.ndarray:
    """Split by groups in an order that only their names decide: a tenth for each of `parts`, the rest 0; (items,) int8.

    The items of a group stay together. Wants at least one group more than parts.
    """
    names, sizes = np.unique(groups, return_counts=True)
    order = _shuffled(names)
    left, filled, chosen = list(parts), 0, {}
    for rank, i in enumerate(order):
        chosen[str(names[i])] = left[0] if left else 0
        filled += sizes[i]
        # Each part takes one group at least and the last is left for training, whatever the sizes.
        if left and (filled >= HELD_OUT * len(groups) or rank == len(order) - 1 - len(left)):
            left.pop(0)
            filled = 0
    return np.array([chosen[group] for group in groups], np.int8)


def deal(names: Sequence[str], sizes: Sequence[float]) -> list[str]:
    """The split of each group: the largest trains, the next two test and validate, the rest go where most is missing.

    In an order that only their names decide. A single group trains, of two one tests.
    """
    order = sorted(_shuffled(names), key=lambda i: sizes[i] < max(sizes))
    splits, filled = {}, dict.fromkeys(SHARES, 0.0)
    for place, index in enumerate(order):
        missing = max(SHARES, key=lambda split: SHARES[split] * sum(sizes) - filled[split])
        split = list(SHARES)[place] if place < len(SHARES) else missing
        splits[index] = split
        filled[split] += sizes[index]
    return [splits[index] for index in range(len(names))]


def _shuffled(names: Sequence[str]) -> list[int]:
    """Positions in an order that the names alone decide."""
    return sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
