"""Hexahedria's biaxial network (Johnson 2015): LSTMs along time, the same for every note, then along the notes of a frame."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.cores.recurrent import RNNCore
from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.generative_model import GenerativeModel
from models.generation.sampling import Sampling, flip

# What Johnson's biaxial network hears of the frame before, once for every pitch, and where in the bar it is.

REACH = 12
"""Semitones on either side of a note that it hears the frame before in."""
WIDTH = 1 + 12 + 2 * (2 * REACH + 1) + 12 + 4 + 1
"""Features of a note: 80."""


def note_features(before: Tensor, metre: Tensor, low: int, start: int = 0, stop: int | None = None) -> Tensor:
    """Features (batch, frames, notes, 80) of each note of the columns `start` to `stop`.

    In order: its place in the roll (0 to 1); its pitch class (12); what sounded and what was struck within 12 semitones of
    it (2 * 25); how many of each pitch class sounded, counted from its own (12); the bits of the place in the bar, -1 or 1
    (4); whether nothing is known to be before it (the original's 80th is a constant).

    Args:
        before: (batch, frames, 2, pitches) the frames before: sounding, struck
        metre: (batch, frames, 5) of `metre_bits`
        low: pitch of the first column
    """
    stop = before.shape[-1] if stop is None else stop
    pitches = torch.arange(start, stop, device=before.device)
    place = (pitches / max(before.shape[-1] - 1, 1))[:, None]
    classes = (pitches + low) % 12
    own = torch.cat([place, F.one_hot(classes, 12)], -1).to(before)
    near = F.pad(before, (REACH, REACH)).unfold(-1, 2 * REACH + 1, 1)[..., start:stop, :]  # (batch, frames, 2, notes, 25)
    sounding = before[:, :, 0]
    every = F.one_hot((torch.arange(before.shape[-1], device=before.device) + low) % 12, 12).to(before)
    around = (classes[:, None] + torch.arange(12, device=before.device)) % 12
    context = (sounding @ every)[..., around]  # (batch, frames, notes, 12)
    shape = *before.shape[:2], len(pitches)
    return torch.cat(
        [
            own.expand(*shape, -1),
            near.transpose(2, 3).flatten(3),
            context,
            metre[:, :, None].expand(*shape, -1),
        ],
        -1,
    )


def metre_bits(conditions: Tensor, form: FrameSpec) -> Tensor:
    """The place in the bar of each frame (batch, frames, 5): bits of its 16th, lowest first, as -1 or 1; 1 in the first frame.

    The place is read off the conditions' first `form.bar` entries; where there are none, the first frame is a downbeat.
    """
    batch, frames = conditions.shape[:2]
    bar = form.bar or 16
    sixteenths = torch.arange(bar, device=conditions.device) * 16 // bar
    bits = 2.0 * (sixteenths[:, None] >> torch.arange(4, device=conditions.device) & 1) - 1
    if form.bar and form.conditions >= form.bar:
        place = conditions[..., :bar].float() @ bits
    else:
        place = bits[torch.arange(frames, device=conditions.device) % bar].expand(batch, -1, -1)
    first = torch.zeros(batch, frames, 1, device=conditions.device)
    first[:, :1] = 1
    return torch.cat([place, first], -1)


UNUSED = 1e-6
"""Probability that a note outside of the range sounds."""


class BiaxialState(NamedTuple):
    """What frames are written by."""

    given: Tensor  # (batch, 2, pitches) the frame as far as it is fixed, else 0
    fixed: Tensor  # (batch, 2, pitches)
    sounded: Tensor  # (batch, pitches) in the frame before
    exponent: Tensor  # (batch, 1) of the probability that a note sounds
    sampling: Sampling
    generator: torch.Generator | None  # None at temperature 0


class Biaxial(GenerativeModel):
    """Every note of a frame sounds or not, and where it sounds is struck anew or held, given the notes below and all before.

    The likelihood is exact: Bernoulli of `sounds` for each note, and of `struck` where it sounds (the original's mask); a
    frame that strikes a note without sounding it is impossible. The time LSTM is the same for every note and hears intervals
    from it, so that music learned in one key is known in the others. What follows is never heard, so that there is no
    `inpaint`; when harmonising, a given note is heard by those that are written after it: with `downward` by all below it.

    time, note: widths of the LSTMs along time and along the notes
    dropout: after each LSTM layer
    low, high: pitches that it reads and writes, None: all of the view's. Others sound with probability 1e-6
    downward: a frame is written from its highest note down; the original writes upwards
    adaptive: when drawn, notes grow likelier from frame to frame while fewer than two sound (the original's `gen_adaptive`)
    """

    supports = frozenset({"free", "continue", "harmonise"})

    def __init__(
        self,
        form: FrameSpec,
        time: list[int] | None = None,
        note: list[int] | None = None,
        dropout: float = 0.5,
        low: int | None = None,
        high: int | None = None,
        downward: bool = False,
        adaptive: bool = False,
    ) -> None:
        super().__init__(form)
        if form.kind != "binary" or form.planes != 2:
            raise ValueError("Biaxial writes what sounds and what is struck, so it needs a piano roll with articulation")
        self.pitches = form.columns // 2
        self.start = 0 if low is None else low - form.low
        self.stop = self.pitches if high is None else high - form.low + 1
        if not 0 <= self.start < self.stop <= self.pitches:
            raise ValueError(
                f"low {low}, high {high}: expected within the view's pitches, {form.low} to {form.low + self.pitches - 1}"
            )
        self.downward, self.adaptive = downward, adaptive
        self.time = Layers(WIDTH, time or [300, 300], dropout)
        self.note = Layers(self.time.width + 2, note or [100, 50], dropout)
        self.out = nn.Linear(self.note.width, 2)

    def heard(self, batch: FrameBatch) -> Tensor:
        """What the time LSTM knows of each note (batch, frames, notes, width) from all frames before."""
        before = F.pad(self._planes(batch.frames), (0, 0, 0, 0, 1, 0))[:, :-1]
        features = self._features(before, metre_bits(batch.conditions, self.form))
        outputs = self.time(features.transpose(1, 2).flatten(0, 1))
        return outputs.unflatten(0, (len(features), -1)).transpose(1, 2)

    def logits(self, batch: FrameBatch) -> Tensor:
        """Logits (batch, frames, notes, 2) that each note of the range sounds and is struck, given the true ones before it."""
        heard = self.heard(batch)
        chosen = self._planes(batch.frames)[..., self.start : self.stop].transpose(2, 3).to(heard.dtype)
        if self.downward:
            heard, chosen = heard.flip(2), chosen.flip(2)
        below = F.pad(chosen, (0, 0, 1, 0))[:, :, :-1]
        outputs = self.note(torch.cat([heard, below], -1).flatten(0, 1)).unflatten(0, heard.shape[:2])
        logits = self.out(outputs).float()
        return logits.flip(2) if self.downward else logits

    def nll(self, batch: FrameBatch) -> Tensor:
        sounding, struck = self._planes(batch.frames).float().unbind(2)
        inside = slice(self.start, self.stop)
        logits = self.logits(batch)
        sounds = F.binary_cross_entropy_with_logits(logits[..., 0], sounding[..., inside], reduction="none")
        strikes = F.binary_cross_entropy_with_logits(logits[..., 1], struck[..., inside], reduction="none")
        within = sounding[..., inside]
        # Out of range a note sounds with a small probability, struck or held as likely.
        beyond = sounding.sum(-1) - within.sum(-1)
        silent = self.pitches - within.shape[-1] - beyond
        nats = (sounds + strikes * within).sum(-1) - beyond * math.log(UNUSED / 2) - silent * math.log1p(-UNUSED)
        impossible = (struck > sounding).any(-1)
        return nats.masked_fill(impossible, torch.inf).masked_fill(~batch.valid, 0)

    @torch.no_grad()
    def guess(self, batch: FrameBatch) -> Tensor:
        """Frames of notes that are likelier than not, decided one after the other."""
        planes = self._planes(batch.frames)
        sounded = F.pad(planes[:, :, 0], (0, 0, 1, 0))[:, :-1].flatten(0, 1)
        nothing = torch.zeros_like(planes).flatten(0, 1)
        write = BiaxialState(nothing, nothing.bool(), sounded, torch.ones_like(sounded[:, :1]), Sampling(temperature=0), None)
        return self._written(self.heard(batch).flatten(0, 1), write).flatten(1).view_as(batch.frames)

    @torch.no_grad()
    def generate(self, ask: Ask) -> Tensor:
        """As asked. A note that did not sound in the frame before is struck, unless it is given otherwise."""
        values, fixed = self._planes(ask.values), self._planes(ask.fixed)
        metre = metre_bits(ask.conditions, self.form)
        before = torch.zeros_like(values[:, 0])
        state = self.time.start(len(values) * (self.stop - self.start))
        exponent = torch.ones(len(values), 1, device=values.device)
        frames = []
        for at in range(values.shape[1]):
            features = self._features(before[:, None], metre[:, at, None]).flatten(0, 2)
            heard, state = self.time.step(features, state)
            frame = torch.where(fixed[:, at], values[:, at], 0.0)
            if not fixed[:, at].all():
                writing = BiaxialState(frame, fixed[:, at], before[:, 0], exponent, ask.sampling, ask.generator)
                frame = self._written(heard.unflatten(0, (len(values), -1)), writing)
            exponent = adapted(exponent, frame[:, 0].sum(-1, keepdim=True)) if self.adaptive else exponent
            before = frame
            frames.append(frame.flatten(1))
        return torch.stack(frames, 1)

    def _written(self, heard: Tensor, writing: BiaxialState) -> Tensor:
        """Frames (batch, 2, pitches), note by note; `heard` (batch, notes, width)."""
        given, fixed, sounded, exponent, sampling, generator = writing
        frame, state = given.clone(), self.note.start(len(heard))
        below = torch.zeros_like(given[..., 0])
        notes = range(self.start, self.stop)
        for note in reversed(notes) if self.downward else notes:
            output, state = self.note.step(torch.cat([heard[:, note - self.start], below], -1), state)
            sounds, struck = self.out(output).float().split(1, -1)
            drawn = flip(torch.cat([powered(sounds, exponent), struck], -1), sampling, generator)
            sounds, struck = drawn.unbind(-1)
            is_given, is_struck = fixed[..., note].unbind(-1)
            sounds = torch.where(is_given, given[:, 0, note], torch.maximum(sounds, given[:, 1, note]))  # a given strike sounds
            struck = torch.maximum(struck, 1 - sounded[:, note]) * sounds
            struck = torch.where(is_struck, given[:, 1, note], struck)
            below = torch.stack([sounds, struck], -1)
            frame[..., note] = below
        return frame

    def _features(self, before: Tensor, metre: Tensor) -> Tensor:
        return note_features(before, metre, self.form.low, self.start, self.stop)

    def _planes(self, frames: Tensor) -> Tensor:
        """(batch, frames, 2 * pitches) as (batch, frames, 2, pitches)."""
        return frames.unflatten(-1, (2, self.pitches))


class Layers(nn.Module):
    """LSTM layers of any widths, each followed by dropout: all steps at once, or one."""

    def __init__(self, inputs: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        sizes = [inputs, *widths]
        self.cores = nn.ModuleList(RNNCore(before, "lstm", width) for before, width in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.width = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(rows, steps, inputs) -> (rows, steps, width)."""
        for core in self.cores:
            x = self.dropout(core(x))
        return x

    def start(self, rows: int) -> list[Any]:
        """The state before the first step."""
        return [core.start(rows) for core in self.cores]

    def step(self, x: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
        """(rows, inputs) -> (rows, width) and the state behind it, without dropout."""
        after = []
        for core, before in zip(self.cores, state, strict=True):
            x, now = core.step(x, before)
            after.append(now)
        return x, after


def powered(logits: Tensor, exponent: Tensor) -> Tensor:
    """Logits of the probabilities to the power of `exponent`."""
    log_chance = (exponent * F.logsigmoid(logits)).clamp(max=-1e-6)
    return log_chance - (-log_chance.expm1()).log()


def adapted(exponent: Tensor, sounding: Tensor) -> Tensor:
    """The next frame's exponent, after one in which so many notes sounded: lower while fewer than two do, else towards 1.

    The original's constants; it never lets go below 0.02 here, where nearly everything would sound.
    """
    return torch.where(sounding < 2, (exponent - 0.02).clamp(min=0.02), exponent + 0.3 * (1 - exponent))
