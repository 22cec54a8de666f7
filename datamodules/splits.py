"""Train, validation and test: what folders and columns call them, and how they are drawn where nothing says so."""

import hashlib
from collections.abc import Sequence

import numpy as np

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "valid", "val", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
    "": -1,
}
HELD_OUT = 0.1


def draw(groups: Sequence[str], parts: Sequence[int] = (1, 2)) -> np.ndarray:
    """Split by groups in an order that only their names decide: a tenth for each of `parts`, the rest 0; (items,) int8.

    The items of a group stay together. Wants at least one group more than parts.
    """
    names, sizes = np.unique(groups, return_counts=True)
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    left, filled, chosen = list(parts), 0, {}
    for rank, i in enumerate(order):
        chosen[str(names[i])] = left[0] if left else 0
        filled += sizes[i]
        # Each part takes one group at least and the last is left for training, whatever the sizes.
        if left and (filled >= HELD_OUT * len(groups) or rank == len(order) - 1 - len(left)):
            left.pop(0)
            filled = 0
    return np.array([chosen[group] for group in groups], np.int8)
