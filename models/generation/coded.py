"""What systems have in common that write a window of music from a code: autoencoders, variational or not."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.generation.cells import Cells, ended, given
from models.generation.family import Family, kept
from models.generation.form import Ask, Form
from models.generation.strategies.interpolate import linear, slerp
from models.generation.strategies.manipulation import descend, differentiable
from models.generation.windows import cut, joined

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


class Coded(Family):
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
        self, form: Form, window: int, interpolation: int, way: Literal["linear", "slerp"], search: Search | None
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
        """As `Family.generate`; asked to interpolate, pieces (interpolation, frames, columns) from the first to the last.

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
