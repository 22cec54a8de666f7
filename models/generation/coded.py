"""What systems have in common that write a window of music from a code: autoencoders, variational or not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.blocks.precision import full_precision
from models.generation.cells import Cells, cut, ended, given, joined
from models.generation.frame_spec import Ask, FrameSpec
from models.generation.generative_model import GenerativeModel, kept

# Ways from one code to another.


def linear(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """(steps, ..., code): evenly from `first` to `last` (..., code), both included."""
    share = _shares(first, steps)
    return (1 - share) * first + share * last


def slerp(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """(steps, ..., code): evenly in angle from `first` to `last` (..., code), both included (Shoemake 1985).

    Lengths change evenly too: codes of a normal distribution in many dimensions lie near a sphere, which a straight line
    would leave. Codes in one or opposite directions have no arc between them and are joined by a straight line.
    """
    share = _shares(first, steps)
    lengths = first.norm(dim=-1, keepdim=True), last.norm(dim=-1, keepdim=True)
    ways = [code / length.clamp(min=1e-12) for code, length in zip((first, last), lengths, strict=True)]
    angle = (ways[0] * ways[1]).sum(-1, keepdim=True).clamp(-1, 1).acos()
    arc = ((1 - share) * angle).sin() * ways[0] + (share * angle).sin() * ways[1]
    arc = arc / angle.sin().clamp(min=1e-12) * ((1 - share) * lengths[0] + share * lengths[1])
    return torch.where(angle.sin() < 1e-4, linear(first, last, steps), arc)


def _shares(like: Tensor, steps: int) -> Tensor:
    if steps < 2:
        raise ValueError(f"{steps} steps from one piece to another: expected at least 2, the pieces themselves")
    return torch.linspace(0, 1, steps, device=like.device).reshape(-1, *[1] * like.dim())


# Input manipulation: gradient descent on what goes into a trained network, until what comes out is as wanted.


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


WAYS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"linear": linear, "slerp": slerp}


class Search(NamedTuple):
    """How a code is sought whose music has the cells that are given.

    steps: of gradient descent with line search
    rate: the first step, in gradients
    starts: random codes from which each search begins; the cheapest end is kept
    """

    steps: int = 100
    rate: float = 1.0
    starts: int = 4


class Coded(GenerativeModel):
    """Base of systems with a decoder from a code to a window of music; longer music is windows beside one another.

    free: every window from a random code, by itself. continue, harmonise, inpaint: for each window the code is sought whose
    music is nearest to the given cells, which then stand as given (DeepHear_C, Sun 2015); a window in which nothing is given
    is free, so that a continuation knows of what came before only within the window in which it begins. interpolate: between
    the codes of two pieces, window by window.

    Args:
        form: of the frames
        window: frames that are read and written at once
        interpolation: pieces on the way from one to another, both included
        way: of codes from one to the other
        search: for the code of given cells
    """

    supports = frozenset({"free", "continue", "harmonise", "inpaint", "interpolate"})

    def __init__(
        self, form: FrameSpec, window: int, interpolation: int, way: Literal["linear", "slerp"], search: Search | None
    ) -> None:
        super().__init__(form)
        if window < 1 or interpolation < 2:
            raise ValueError(f"window {window}, interpolation {interpolation}: expected at least 1 frame and 2 pieces")
        self.window, self.interpolation, self.way, self.search = window, interpolation, way, search or Search()
        self.cells = Cells(form)

    def code(self, cells: Tensor, valid: Tensor) -> Tensor:
        """Code (rows, code) of windows of cells (rows, window, width), of which `valid` (rows, window) frames are there."""
        raise NotImplementedError

    def decoded(self, code: Tensor) -> Tensor:
        """Logits (rows, window, width) of codes (rows, code)."""
        raise NotImplementedError

    def random_code(self, rows: int, generator: torch.Generator) -> Tensor:
        """Codes (rows, code) of music that might be."""
        raise NotImplementedError

    def misfit(self, code: Tensor, values: Tensor, fixed: Tensor) -> Tensor:
        """Cost (rows,) of codes whose music should have `values` where `fixed`, both (rows, window, columns)."""
        raise NotImplementedError

    def generate(self, ask: Ask) -> Tensor:
        """As `GenerativeModel.generate`; for interpolation, pieces (interpolation, frames, columns) from first to last.

        Raises ValueError where another use is asked for, or anything but two pieces to interpolate between.
        """
        if ask.use not in self.supports:
            raise ValueError(f"an autoencoder cannot be asked to {ask.use}: expected one of {', '.join(sorted(self.supports))}")
        between = ask.use == "interpolate"
        with torch.no_grad():
            code = self._between(ask) if between else self._sought(ask)
            logits = joined(self.decoded(code), ask.values.shape[1])
        frames = self.cells.draw(logits, ask.sampling, ask.generator, ask.allowed).to(ask.values.dtype)
        if between:
            return ended(frames, self.form.end)
        return kept(ask, ended(kept(ask, frames), self.form.end))

    def _between(self, ask: Ask) -> Tensor:
        """Codes (interpolation * windows, code) on the way from one piece to the other."""
        if len(ask.values) != 2:
            raise ValueError(f"{len(ask.values)} pieces to interpolate between: expected 2")
        cells = cut(self.cells.read(ask.values), self.window)
        valid = cut(torch.ones(ask.values.shape[:2], dtype=torch.bool, device=cells.device), self.window)
        first, last = self.code(cells, valid).chunk(2)
        return WAYS[self.way](first, last, self.interpolation).flatten(0, 1)

    def _sought(self, ask: Ask) -> Tensor:
        """Codes (batch * windows, code), each the best of its starts, or random where there is nothing to seek."""
        rows, starts = len(ask.values) * -(-ask.values.shape[1] // self.window), self.search.starts
        start = self.random_code(rows * starts, ask.generator)
        wanted = cut(ask.fixed, self.window).flatten(1).any(1) | self.seeks
        if not wanted.any():
            return start[::starts]
        with differentiable():
            # Clones, since nothing that was made where gradients are impossible can be part of one.
            values, fixed = (cut(x.clone(), self.window).repeat_interleave(starts, 0) for x in (given(ask), ask.fixed))

            def misfit(code: Tensor) -> Tensor:
                return self.misfit(code, values, fixed)

            found = descend(misfit, start.clone(), self.search.steps, self.search.rate)
        best = misfit(found).unflatten(0, (rows, starts)).argmin(1)
        found = found.unflatten(0, (rows, starts))[torch.arange(rows, device=found.device), best]
        return torch.where(wanted[:, None], found, start[::starts])

    @property
    def seeks(self) -> bool:
        """Whether codes are sought even where no cell is given."""
        return False
