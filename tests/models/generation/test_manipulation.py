"""Gradient descent with line search, interpolation of codes, and constraints."""

import math

import pytest
import torch

from models.generation.coded import descend, linear, slerp
from models.generation.constraints import Density, FixedCells, Metre, SelfSimilarity, Tonality, self_similarity, total

FIRST_BEAT = [1.0, 0, 0, 0]
C_MAJOR = [1.0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1]


def soft_roll(seed=0, rows=2):
    return torch.rand(rows, 8, 12, generator=torch.Generator().manual_seed(seed))


def constraints():
    template = (soft_roll(1, 1)[0] > 0.8).float()
    fixed = torch.zeros(2, 8, 12, dtype=torch.bool)
    fixed[:, :4] = True
    return {
        "given": FixedCells((soft_roll(2) > 0.5).float(), fixed),
        "tonality": Tonality(C_MAJOR, low=60),
        "similarity": SelfSimilarity(template),
        "density": Density(3),
        "metre": Metre(FIRST_BEAT),
    }


def rosenbrock(point):
    x, y = point.unbind(-1)
    return (1 - x).square() + 100 * (y - x.square()).square()


@pytest.mark.parametrize("rate", [1e-4, 1.0, 1e4])
def test_no_cost_ever_rises_whatever_the_rate(rate):
    costs = []
    start = torch.tensor([[-1.2, 1.0], [2.0, -1.0], [1.0, 1.0]])
    found = descend(rosenbrock, start, 400, rate, costs=costs)
    costs = torch.stack(costs)
    assert len(costs) == 401 and (costs.diff(dim=0) <= 0).all()
    assert torch.equal(costs[0], rosenbrock(start)) and torch.equal(costs[-1], rosenbrock(found))
    assert costs[-1].max() < 0.1 and costs[-1, 2] == 0
    assert torch.equal(found[2], start[2])


def test_a_row_does_not_depend_on_the_others():
    start = torch.tensor([[-1.2, 1.0], [2.0, -1.0]])
    together = descend(rosenbrock, start, 30)
    assert torch.equal(together, torch.cat([descend(rosenbrock, row, 30) for row in start.split(1)]))


def test_a_slope_that_promises_what_the_objective_does_not_keep_is_not_followed():
    found = descend(lambda point: torch.where(point[:, 0] > 0.5, point[:, 0], torch.nan), torch.ones(1, 1), 5)
    assert 0.5 < found.item() < 1


def test_it_works_where_gradients_are_off():
    point = torch.ones(2, 3)
    with torch.inference_mode():
        found = descend(lambda x: x.square().sum(1), point, 3)
        assert descend(lambda x: x.square().sum(1), torch.ones(2, 3), 3).square().sum() < 1
    assert found.square().sum() < 1 and not found.requires_grad and point.grad is None


@pytest.mark.parametrize("name", constraints())
def test_the_cost_of_an_input_falls(name):
    constraint, costs = constraints()[name], []
    found = descend(constraint, soft_roll(), 60, project=lambda roll: roll.clamp(0, 1), costs=costs)
    costs = torch.stack(costs)
    assert (costs.diff(dim=0) <= 0).all() and (costs[-1] < 0.5 * costs[0]).all()
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("name", constraints())
def test_gradients_are_those_of_the_cost(name):
    roll = soft_roll(3).double().requires_grad_()
    assert torch.autograd.gradcheck(constraints()[name].double().cost, roll)


def test_music_that_is_as_wanted_costs_nothing():
    scale = torch.zeros(1, 8, 12)
    scale[0, :7, :] = torch.eye(12)[[0, 2, 4, 5, 7, 9, 11]]
    assert Tonality(C_MAJOR, low=60)(scale).item() == pytest.approx(0, abs=1e-6)
    assert Tonality(C_MAJOR, low=61)(scale).item() > 0.05
    assert SelfSimilarity(scale[0])(scale.flip(2)).item() == 0
    assert Density([1.0] * 7 + [0.0])(scale).item() == 0
    beats = torch.zeros(1, 8, 12)
    beats[0, [0, 1, 4], 5] = 1  # held over the first two frames: one onset
    assert Metre(FIRST_BEAT)(beats).item() == pytest.approx(0, abs=1e-6)
    assert Metre(FIRST_BEAT)(beats.roll(1, 1)).item() > 1


def test_weights_multiply_and_costs_add_up():
    roll = soft_roll()
    parts = Density(2)(roll) * 3 + Tonality(C_MAJOR)(roll)
    assert torch.allclose(total([Density(2, weight=3), Tonality(C_MAJOR)], roll), parts)
    assert not total([], roll).any()


def test_self_similarity_is_the_cosine():
    roll = soft_roll()
    wanted = torch.nn.functional.cosine_similarity(roll[:, :, None], roll[:, None], dim=-1)
    assert torch.allclose(self_similarity(roll), wanted, atol=1e-5)
    assert torch.isfinite(self_similarity(torch.zeros(1, 2, 3))).all()


def test_profiles_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="12 pitch classes"):
        Tonality([1.0] * 11)
    with pytest.raises(ValueError, match="each of its frames"):
        Metre([0.0] * 16)


@pytest.mark.parametrize("way", [linear, slerp])
def test_ways_begin_and_end_at_the_codes(way):
    generator = torch.Generator().manual_seed(0)
    first, last = torch.randn(2, 3, 5, generator=generator)
    path = way(first, last, 4)
    assert path.shape == (4, 3, 5)
    assert torch.allclose(path[0], first, atol=1e-5) and torch.allclose(path[-1], last, atol=1e-5)
    with pytest.raises(ValueError, match="at least 2 steps"):
        way(first, last, 1)


def test_an_arc_is_even_in_angle_and_length():
    path = slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0]), 4)
    assert path.norm(dim=-1).tolist() == pytest.approx([2, 8 / 3, 10 / 3, 4])
    angles = torch.atan2(path[:, 1], path[:, 0])
    assert angles.tolist() == pytest.approx([0, math.pi / 6, math.pi / 3, math.pi / 2], abs=1e-6)
    opposite = slerp(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0]), 3)
    assert opposite.tolist() == [[1, 0], [0, 0], [-1, 0]]
