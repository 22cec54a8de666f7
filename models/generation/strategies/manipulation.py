"""Input manipulation: gradient descent on what goes into a trained network, until what comes out is as wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.precision import full_precision


@contextmanager
def differentiable() -> Iterator[None]:
    """Gradients inside, even where a whole program runs without; tensors made outside must be cloned inside first."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def descend(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    rate: float = 1.0,
    tries: int = 20,
    project: Callable[[Tensor], Tensor] | None = None,
    costs: list[Tensor] | None = None,
) -> Tensor:
    """Gradient descent with Armijo's backtracking line search: the cost of no row ever rises, whatever the rate.

    The way of DeepHear_C (Sun 2015) on a code, and of C-RBM (Lattner, Grachten and Widmer 2016) on a soft roll. A row has a
    rate of its own, halved until its cost falls enough and doubled after it did, so that no row depends on the others.

    Args:
        objective: from points (rows, ...) to the cost (rows,) of each row by itself
        start: (rows, ...) where to begin
        steps: of the descent
        rate: first step, in gradients
        tries: halvings within a step before a row stays where it is
        project: puts points back among those that are allowed, such as between 0 and 1; `start` must be among them
        costs: a list to which the cost (rows,) at the start and after every step is appended

    Returns:
        (rows, ...) the last points, without a gradient.
    """
    with differentiable(), full_precision(start):
        point = start.detach().clone().float()
        rates = torch.full_like(point.flatten(1)[:, 0], rate)
        for step in range(steps):
            point, rates, before, cost = _stepped(objective, point, rates, tries, project)
            if costs is not None:
                costs += [before, cost] if step == 0 else [cost]
    return point.to(start.dtype)


def _stepped(
    objective: Callable[[Tensor], Tensor], point: Tensor, rates: Tensor, tries: int, project: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step: points, the rows' next rates, costs before and after."""
    point = point.detach().requires_grad_()
    cost = objective(point)
    (gradient,) = torch.autograd.grad(cost.sum(), point)
    cost, best, after = cost.detach(), point.detach(), cost.detach()
    moved = torch.zeros_like(cost, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(tries):
            trial = point - over(rates, point) * gradient
            if project is not None:
                trial = project(trial)
            reached = objective(trial)
            promised = ((point - trial) * gradient).flatten(1).sum(1)
            falls = ~moved & (reached <= cost - 1e-4 * promised) & (reached <= cost)
            best, after = torch.where(over(falls, best), trial, best), torch.where(falls, reached, after)
            moved |= falls
            if moved.all():
                break
            rates = torch.where(moved, rates, rates / 2)
    # A row at the bottom would double its rate for ever.
    return best, torch.where(moved, rates * 2, rates).clamp(max=1e6), cost, after


def over(rows: Tensor, like: Tensor) -> Tensor:
    """Numbers of rows (rows,) in the shape (rows, 1, ...) that goes with `like`."""
    return rows.reshape(-1, *[1] * (like.dim() - 1))
