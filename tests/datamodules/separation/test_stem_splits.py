"""Splits that are drawn: by name alone, groups whole, no part empty."""

import numpy as np
import pytest

from datamodules.common.splits import draw_splits


@pytest.mark.parametrize("parts", [(1, 2), (1,)])
@pytest.mark.parametrize("seed", range(8))
def test_every_part_gets_a_group_whatever_the_sizes(parts, seed):
    random = np.random.default_rng(seed)
    groups = [f"group {seed} {i}" for i in range(len(parts) + 1) for _ in range(1 if i else 200)]
    random.shuffle(groups)
    drawn = draw_splits(groups, parts)
    assert set(drawn.tolist()) == {0, *parts}
    assert len({(group, part) for group, part in zip(groups, drawn.tolist(), strict=True)}) == len(parts) + 1


def test_a_tenth_for_each_part_and_the_same_in_any_order():
    names = [f"Song {i}" for i in range(200)]
    drawn = dict(zip(names, draw_splits(names), strict=True))
    assert [list(drawn.values()).count(part) for part in range(3)] == [160, 20, 20]
    assert dict(zip(names[::-1], draw_splits(names[::-1]), strict=True)) == drawn
