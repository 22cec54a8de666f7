"""Base class of autoencoders (variational or not): code <-> window of music, with search and interpolation of codes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.blocks.precision import full_precision
from models.generation.cells import Cells, cut, ended, fixed_values, joined
from models.generation.frame_spec import FrameSpec, SamplingRequest
from models.generation.generative_model import GenerativeModel, kept


def linear(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Linear interpolation (steps, ..., code) from `first` to `last` (..., code), both included."""
    share = _shares(first, steps)
    return (1 - share) * first + share * last


def slerp(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Spherical interpolation (steps, ..., code) from `first` to `last` (..., code), both included (Shoemake 1985).

    Norms are interpolated too: normally distributed codes of many dimensions lie near a sphere, which a straight line would
    leave. Codes in equal or opposite directions are interpolated linearly.
    """
    share = _shares(first, steps)
    lengths = first.norm(dim=-1, keepdim=True), last.norm(dim=-1, keepdim=True)
    directions = [code / length.clamp(min=1e-12) for code, length in zip((first, last), lengths, strict=True)]
    angle = (directions[0] * directions[1]).sum(-1, keepdim=True).clamp(-1, 1).acos()
    arc = ((1 - share) * angle).sin() * directions[0] + (share * angle).sin() * directions[1]
    arc = arc / angle.sin().clamp(min=1e-12) * ((1 - share) * lengths[0] + share * lengths[1])
    return torch.where(angle.sin() < 1e-4, linear(first, last, steps), arc)


def _shares(like: Tensor, steps: int) -> Tensor:
    if steps < 2:
        raise ValueError(f"interpolation needs at least 2 steps (both pieces), got {steps}")
    return torch.linspace(0, 1, steps, device=like.device).reshape(-1, *[1] * like.dim())


# Input manipulation: gradient descent on the input of a trained network


@contextmanager
def differentiable() -> Iterator[None]:
    """Context with gradients, also within inference mode; tensors made outside must be cloned inside."""
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
    """Gradient descent with Armijo's backtracking line search: the cost of a row never increases.

    Used by DeepHear_C (Sun 2015) on a code, and by C-RBM (Lattner, Grachten and Widmer 2016) on a soft roll. Each row has
    its own rate, halved until its cost decreases enough and doubled afterwards, so that rows are independent.

    Args:
        objective: points (rows, ...) -> cost (rows,), each row independent
        start: initial points (rows, ...)
        steps: number of steps
        rate: first step size, relative to the gradient
        tries: halvings within a step before a row is left unchanged
        project: projection to feasible points, such as [0, 1]; `start` must be feasible
        costs: list to which the costs (rows,) at the start and after every step are appended

    Returns:
        Last points (rows, ...), without a gradient.
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
    """One step of descent: points, next rates, costs before and after."""
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
    # A row at a minimum would double its rate without limit.
    return best, torch.where(moved, rates * 2, rates).clamp(max=1e6), cost, after


def over(rows: Tensor, like: Tensor) -> Tensor:
    """Values (rows,) reshaped to (rows, 1, ...) to broadcast with `like`."""
    return rows.reshape(-1, *[1] * (like.dim() - 1))


WAYS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"linear": linear, "slerp": slerp}


class Search(NamedTuple):
    """Options of the search for a code whose music has the fixed cells.

    steps: steps of gradient descent with line search
    rate: first step size, relative to the gradient
    starts: random initial codes; the best result is kept
    """

    steps: int = 100
    rate: float = 1.0
    starts: int = 4


class Coded(GenerativeModel):
    """Base class of models with a decoder from a code to a window of music; longer music is a sequence of windows.

    free: every window is decoded from a random code. continue, harmonise, inpaint: for each window the code is optimised
    whose music is nearest to the fixed cells, which are then copied (DeepHear_C, Sun 2015); windows without fixed cells are
    free, so a continuation depends on previous music only within the window in which it begins. interpolate: between the
    codes of two pieces, window by window.

    Args:
        form: frame specification
        window: frames per window
        interpolation: pieces from the first to the last, both included
        way: interpolation of codes
        search: search for the code of fixed cells
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
        """Code (rows, code) of windows of cells (rows, window, width) with valid frames `valid` (rows, window)."""
        raise NotImplementedError

    def decoded(self, code: Tensor) -> Tensor:
        """Logits (rows, window, width) of codes (rows, code)."""
        raise NotImplementedError

    def random_code(self, rows: int, generator: torch.Generator) -> Tensor:
        """Random codes (rows, code)."""
        raise NotImplementedError

    def misfit(self, code: Tensor, values: Tensor, fixed: Tensor) -> Tensor:
        """Cost (rows,) of codes for `values` in the `fixed` cells, both (rows, window, columns)."""
        raise NotImplementedError

    def generate(self, request: SamplingRequest) -> Tensor:
        """See `GenerativeModel.generate`; for interpolation, pieces (interpolation, frames, columns) from first to last.

        Raises ValueError for an unsupported use, or unless there are two pieces to interpolate.
        """
        if request.use not in self.supports:
            raise ValueError(f"autoencoders do not support {request.use}, expected one of {', '.join(sorted(self.supports))}")
        between = request.use == "interpolate"
        with torch.no_grad():
            code = self._between(request) if between else self._optimized_codes(request)
            logits = joined(self.decoded(code), request.values.shape[1])
        frames = self.cells.draw(logits, request.sampling, request.generator, request.allowed).to(request.values.dtype)
        if between:
            return ended(frames, self.form.end)
        return kept(request, ended(kept(request, frames), self.form.end))

    def _between(self, request: SamplingRequest) -> Tensor:
        """Codes (interpolation * windows, code) between two pieces."""
        if len(request.values) != 2:
            raise ValueError(f"interpolation needs 2 pieces, got {len(request.values)}")
        cells = cut(self.cells.read(request.values), self.window)
        valid = cut(torch.ones(request.values.shape[:2], dtype=torch.bool, device=cells.device), self.window)
        first, last = self.code(cells, valid).chunk(2)
        return WAYS[self.way](first, last, self.interpolation).flatten(0, 1)

    def _optimized_codes(self, request: SamplingRequest) -> Tensor:
        """Codes (batch * windows, code), each the best of its starts, or random for windows without constraints."""
        rows, starts = len(request.values) * -(-request.values.shape[1] // self.window), self.search.starts
        start = self.random_code(rows * starts, request.generator)
        constrained = cut(request.fixed, self.window).flatten(1).any(1) | self.seeks
        if not constrained.any():
            return start[::starts]
        with differentiable():
            # Clones, since tensors made in inference mode cannot take part in gradients.
            values, fixed = (
                cut(x.clone(), self.window).repeat_interleave(starts, 0) for x in (fixed_values(request), request.fixed)
            )

            def misfit(code: Tensor) -> Tensor:
                return self.misfit(code, values, fixed)

            codes = descend(misfit, start.clone(), self.search.steps, self.search.rate)
        best = misfit(codes).unflatten(0, (rows, starts)).argmin(1)
        codes = codes.unflatten(0, (rows, starts))[torch.arange(rows, device=codes.device), best]
        return torch.where(constrained[:, None], codes, start[::starts])

    @property
    def seeks(self) -> bool:
        """True if codes are optimised even without fixed cells."""
        return False
