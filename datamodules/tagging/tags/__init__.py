"""Tag lists: published top-50 lists, and tags of a data set by frequency."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def published(data_set: str) -> list[str]:
    """Top 50 tags of `mtat`, `msd` or `jamendo` in the order of the published weights and label files."""
    return (Path(__file__).parent / f"{data_set}_top50.txt").read_text(encoding="utf-8").splitlines()


def by_count(names: Sequence[str], labels: np.ndarray) -> list[str]:
    """Names that occur in labels (clips, names), by falling frequency, ties by name."""
    counts = labels.sum(0, dtype=np.int64).tolist()
    return [name for count, name in sorted(zip([-c for c in counts], names, strict=True)) if count]
