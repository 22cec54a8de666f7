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


# Iterative stratification of multi-label data (Sechidis, Tsoumakas, Vlahavas 2011): labels and groups -> splits.
#
# Groups stay together. Each split aims at its share of every label, and at `least` positives of every label that has enough.

STRATIFIED_SHARES = (0.8, 0.1, 0.1)
"""Of the items: train, validation, test."""


def stratify(
    labels: np.ndarray, groups: Sequence[str], shares: Sequence[float] = STRATIFIED_SHARES, least: int = 1, seed: int = 0
) -> np.ndarray:
    """Split of each item, as a position in `shares`.

    The rarest label is dealt out first, each of its groups to the split that lacks most of that label; ties go to the split
    that lacks most items, then to the first. The order of equal groups depends on their names and the seed alone. Where a
    label still has fewer than `least` positives in a split, groups move there if no other label suffers.

    Args:
        labels: (items, labels) of 0 and 1
        groups: (items,) names; items of one name share a split
        shares: of the items for each split, adding up to 1
        least: positives of each label that each split wants
        seed: of the order in which equal groups are dealt out

    Returns:
        (items,) int8
    """
    names, place, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    counts = np.zeros((len(names), labels.shape[1]), np.int64)
    np.add.at(counts, place, np.asarray(labels, np.int64))
    order = sorted(
        range(len(names)), key=lambda i: hashlib.sha256(f"{seed}:{names[i]}".encode(errors="surrogateescape")).digest()
    )
    counts, ordered_sizes = counts[order], sizes[order]
    wanted = _wanted(counts, np.asarray(shares, float), least)
    split = _deal(counts, ordered_sizes, wanted, np.asarray(shares, float) * len(groups))
    _repair(counts, split, len(shares), least)
    result = np.empty(len(names), np.int8)
    result[order] = split
    return result[place]


def _wanted(counts: np.ndarray, shares: np.ndarray, least: int) -> np.ndarray:
    """Positives that each split wants of each label, (labels, splits): its share, but `least` where there are enough."""
    totals = counts.sum(0)
    wanted = totals[:, None] * shares
    enough = totals >= least * len(shares)
    held_out = np.where(enough[:, None], np.maximum(wanted[:, 1:], least), wanted[:, 1:])
    return np.column_stack([totals - held_out.sum(1), held_out])


def _deal(counts: np.ndarray, sizes: np.ndarray, wanted: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Split of each group (groups,), rarest label first; groups (groups, labels), wanted (labels, splits), room (splits,)."""
    split, left = np.full(len(counts), -1, np.int64), counts.sum(0)
    wanted, room = wanted.copy(), room.copy()

    def assign(group: int, target: int) -> None:
        split[group] = target
        wanted[:, target] -= counts[group]
        room[target] -= sizes[group]
        left[:] -= counts[group]

    while left.any():
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        holders = np.flatnonzero((split < 0) & (counts[:, label] > 0))
        for group in holders[np.argsort(-counts[holders, label], kind="stable")]:
            lacking = np.flatnonzero(wanted[label] >= wanted[label].max() - 1e-9)
            assign(group, int(lacking[np.argmax(room[lacking])]))
    for group in np.flatnonzero(split < 0):
        assign(group, int(np.argmax(room)))
    return split


def _repair(counts: np.ndarray, split: np.ndarray, splits: int, least: int) -> None:
    """Move groups into splits that lack a label which has enough positives, as long as no other label comes to lack one."""
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
    """The group with the fewest labels that holds `label`, and whose split can spare all that it holds."""
    holders = np.flatnonzero((split != target) & (counts[:, label] > 0))
    after = held[split[holders]] - counts[holders]
    harmless = ((after >= least) | (counts[holders] == 0) | (held[split[holders]] < least)).all(1)
    spare = holders[harmless]
    return int(spare[np.argmin(counts[spare].sum(1))]) if len(spare) else None
