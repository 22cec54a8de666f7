"""Train, validation and test splits: names in folders and tables, and deterministic splitting of groups."""

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
"""Names of splits in data sets -> position in SPLITS; an empty cell: none."""

HELD_OUT = 0.1
SHARES = {"train": 0.6, "test": 0.25, "validation": 0.15}  # of `assign_splits`


def split_folders(root: Path) -> dict[str, str]:
    """Folders in `root` that are named after a split -> split."""
    return {name: SPLITS[split] for name, split in SPLIT_NAMES.items() if split >= 0 and (root / name).is_dir()}


def draw_splits(groups: Sequence[str], parts: Sequence[int] = (1, 2)) -> np.ndarray:
    """Split by the hash of group names: a tenth for each of `parts`, the rest for training.

    Args:
        groups: (items,) names; items of one name share a split
        parts: splits to draw; there must be more groups than parts

    Returns:
        (items,) int8, 0 for training
    """
    names, sizes = np.unique(groups, return_counts=True)
    order = _shuffled(names)
    left, filled, chosen = list(parts), 0, {}
    for rank, i in enumerate(order):
        chosen[str(names[i])] = left[0] if left else 0
        filled += sizes[i]
        # Each part gets at least one group, and the last group is for training, whatever the sizes.
        if left and (filled >= HELD_OUT * len(groups) or rank == len(order) - 1 - len(left)):
            left.pop(0)
            filled = 0
    return np.array([chosen[group] for group in groups], np.int8)


def assign_splits(names: Sequence[str], sizes: Sequence[float]) -> list[str]:
    """Split of each group: the largest for training, the next two for test and validation, others by the shares.

    The order depends on the names alone. A single group is for training, of two groups one is for test.
    """
    order = sorted(_shuffled(names), key=lambda i: sizes[i] < max(sizes))
    splits, filled = {}, dict.fromkeys(SHARES, 0.0)
    for rank, index in enumerate(order):
        missing = max(SHARES, key=lambda split: SHARES[split] * sum(sizes) - filled[split])
        split = list(SHARES)[rank] if rank < len(SHARES) else missing
        splits[index] = split
        filled[split] += sizes[index]
    return [splits[index] for index in range(len(names))]


def _shuffled(names: Sequence[str]) -> list[int]:
    """Positions in the order of the names' hashes."""
    return sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())


STRATIFIED_SHARES = (0.8, 0.1, 0.1)
"""Of the items: train, validation, test."""


def stratify(
    labels: np.ndarray, groups: Sequence[str], shares: Sequence[float] = STRATIFIED_SHARES, least: int = 1, seed: int = 0
) -> np.ndarray:
    """Iterative stratification of multi-label data (Sechidis, Tsoumakas and Vlahavas 2011), groups kept together.

    The rarest label is distributed first, each of its groups to the split that lacks most of that label; ties go to the
    split that lacks most items, then to the first. The order of equal groups depends on their names and the seed alone.
    Groups are then moved to splits with fewer than `least` positives of a label, if no other label falls below.

    Args:
        labels: (items, labels) of 0 and 1
        groups: (items,) names; items of one name share a split
        shares: share of the items for each split, adding up to 1
        least: positives of each label per split, if the label has enough
        seed: of the order of equal groups

    Returns:
        Position in `shares` of each item, (items,) int8.
    """
    names, inverse, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    counts = np.zeros((len(names), labels.shape[1]), np.int64)
    np.add.at(counts, inverse, np.asarray(labels, np.int64))
    order = sorted(
        range(len(names)), key=lambda i: hashlib.sha256(f"{seed}:{names[i]}".encode(errors="surrogateescape")).digest()
    )
    counts, ordered_sizes = counts[order], sizes[order]
    targets = _targets(counts, np.asarray(shares, float), least)
    split = _assign(counts, ordered_sizes, targets, np.asarray(shares, float) * len(groups))
    _repair(counts, split, len(shares), least)
    result = np.empty(len(names), np.int8)
    result[order] = split
    return result[inverse]


def _targets(counts: np.ndarray, shares: np.ndarray, least: int) -> np.ndarray:
    """Target number of positives (labels, splits): the share of each split, at least `least` of frequent labels."""
    totals = counts.sum(0)
    targets = totals[:, None] * shares
    enough = totals >= least * len(shares)
    held_out = np.where(enough[:, None], np.maximum(targets[:, 1:], least), targets[:, 1:])
    return np.column_stack([totals - held_out.sum(1), held_out])


def _assign(counts: np.ndarray, sizes: np.ndarray, targets: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Split of each group (groups,), rarest label first; counts (groups, labels), targets (labels, splits), room (splits,)."""
    split, left = np.full(len(counts), -1, np.int64), counts.sum(0)
    targets, room = targets.copy(), room.copy()

    def assign(group: int, target: int) -> None:
        split[group] = target
        targets[:, target] -= counts[group]
        room[target] -= sizes[group]
        left[:] -= counts[group]

    while left.any():
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        holders = np.flatnonzero((split < 0) & (counts[:, label] > 0))
        for group in holders[np.argsort(-counts[holders, label], kind="stable")]:
            lacking = np.flatnonzero(targets[label] >= targets[label].max() - 1e-9)
            assign(group, int(lacking[np.argmax(room[lacking])]))
    for group in np.flatnonzero(split < 0):
        assign(group, int(np.argmax(room)))
    return split


def _repair(counts: np.ndarray, split: np.ndarray, splits: int, least: int) -> None:
    """Move groups into splits with fewer than `least` positives of a label, unless another label would fall below."""
    held = np.stack([counts[split == target].sum(0) for target in range(splits)])
    reachable = counts.sum(0) >= least * splits
    for label in np.argsort(counts.sum(0), kind="stable"):
        for target in range(splits):
            while reachable[label] and held[target, label] < least:
                group = _movable(counts, split, held, label, target, least)
                if group is None:
                    break
                held[split[group]] -= counts[group]
                held[target] += counts[group]
                split[group] = target


def _movable(counts: np.ndarray, split: np.ndarray, held: np.ndarray, label: int, target: int, least: int) -> int | None:
    """Group with the fewest labels that has `label` and can leave its split without a loss below `least`; None: none."""
    holders = np.flatnonzero((split != target) & (counts[:, label] > 0))
    after = held[split[holders]] - counts[holders]
    harmless = ((after >= least) | (counts[holders] == 0) | (held[split[holders]] < least)).all(1)
    spare = holders[harmless]
    return int(spare[np.argmin(counts[spare].sum(1))]) if len(spare) else None
