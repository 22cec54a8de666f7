"""Frame by frame: each is drawn given those before it, its fixed cells as they are."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.generation.form import Ask

if TYPE_CHECKING:
    from models.generation.next_step import NextStep


class Writing:
    """Pieces as they are written, several rows for each one that is asked for if `expand` says so.

    out: (rows, frames, columns)
    prefix: frames from the beginning that are given as a whole
    later: whether any cell behind them is fixed
    """

    def __init__(self, net: "NextStep", ask: Ask) -> None:
        self.net, self.ask = net, ask
        self.batch, self.frames, self.columns = ask.values.shape
        self.values = torch.where(ask.fixed, ask.values, 0)
        self.fixed = ask.fixed
        whole = ask.fixed.all(-1).all(0)
        self.prefix = int(whole.int().cumprod(0).sum())
        self.some = ask.fixed.any(-1).any(0).tolist()
        self.later = any(self.some[self.prefix :])
        self.known = net.known(ask.conditions)
        self.state = net.core.start(self.batch)
        self.before = net.embed.first.expand(self.batch, -1)
        self.previous = torch.zeros_like(self.values[:, 0]) if self.frames else None
        self.out = self.values.clone()
        self.ends = net.form.end >= 0 and net.form.kind == "categories"
        if self.ends:
            self._look_for_ends(net.form.end)

    def _look_for_ends(self, end: int) -> None:
        """What stands at and behind an end, which rows have ended, and before which frame of each none may stand."""
        device = self.out.device
        self.ending = torch.tensor([end, *[0] * (self.columns - 1)], device=device)
        self.done = torch.zeros(self.batch, dtype=torch.bool, device=device)
        music = self.fixed[..., 0] & (self.values[..., 0] != end)
        self.music = (music * torch.arange(1, self.frames + 1, device=device)).amax(-1) if self.frames else music.sum(-1)
        self.final = int(self.music.max()) if self.batch else 0

    def expand(self, times: int) -> None:
        """Write each piece so many times from here on."""
        index = torch.arange(len(self.out), device=self.out.device).repeat_interleave(times)
        self.known, self.values, self.fixed = self.known[index], self.values[index], self.fixed[index]
        if self.ends:
            self.music = self.music[index]
        self.select(index)

    def select(self, index: Tensor) -> None:
        """Go on from other rows, of the same piece each: `index` says which row each one continues."""
        self.state = self.net.core.select(self.state, index)
        self.before, self.previous, self.out = self.before[index], self.previous[index], self.out[index]
        if self.ends:
            self.done = self.done[index]

    def heard(self, frame: int) -> Tensor:
        """What the core makes of everything before a frame: (rows, width)."""
        x = self.before
        if self.known.shape[-1]:
            x = torch.cat([x, self.known[:, frame].to(x.dtype)], -1)
        h, self.state = self.net.core.step(x, self.state)
        return h

    def allowed(self, frame: int) -> Tensor | None:
        """What may be drawn in column 0 of a frame, (categories,) or (rows, categories): no end before what is fixed."""
        allowed = None if self.ask.allowed is None else self.ask.allowed[frame]
        if self.ends and frame < self.final:
            others = torch.arange(self.net.form.sizes[0], device=self.out.device) != self.net.form.end
            others = others | (self.music <= frame)[:, None]
            allowed = others if allowed is None else others & allowed
        return allowed

    def draw(self, frame: int) -> Tensor:
        """Write one frame; the log-weights (rows,) of its fixed cells."""
        h = self.heard(frame)
        if frame < self.prefix:
            self.write(frame, self.values[:, frame])
            return h.new_zeros(len(h))
        drawn, weight = self.net.head.sample(
            h,
            self.values[:, frame],
            self.fixed[:, frame] if self.some[frame] else None,
            self.ask.sampling,
            self.ask.generator,
            self.allowed(frame),
            **({"previous": self.previous} if self.net.head.previous else {}),
        )
        if self.ends:
            over = self.done[:, None] & ~self.fixed[:, frame]
            drawn, weight = torch.where(over, self.ending, drawn), weight * ~self.done
        self.write(frame, drawn)
        return weight

    def write(self, frame: int, drawn: Tensor) -> None:
        """Put down a frame (rows, columns)."""
        self.out[:, frame] = drawn
        self.previous, self.before = drawn, self.net.embed(drawn)
        if self.ends:
            self.done = self.done | (drawn[:, 0] == self.net.form.end)

    def over(self, frame: int) -> bool:
        """Whether nothing but ends can come from this frame on; if so they are written."""
        if not self.ends or frame < self.final or not bool(self.done.all()):
            return False
        self.out[:, frame:] = torch.where(self.fixed[:, frame:], self.values[:, frame:], self.ending)
        return True


def iterate(net: "NextStep", ask: Ask) -> Tensor:
    """Frames (batch, frames, columns) drawn one after the other; what is fixed later is not looked ahead to."""
    return finished(Writing(net, ask))


def finished(writing: Writing) -> Tensor:
    """All frames of a writing that nothing has been written of yet."""
    for frame in range(writing.frames):
        if writing.over(frame):
            break
        writing.draw(frame)
    return writing.out
