"""Biaxial LSTM (Johnson 2015, Hexahedria): piano roll -> logits per note, by LSTMs along time and along the notes of a frame."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.cores.recurrent import RNNCore
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.generative_model import GenerativeModel
from models.generation.sampling import Sampling, flip

REACH = 12
"""Semitones of the previous frame on either side of a note that are its input."""
WIDTH = 1 + 12 + 2 * (2 * REACH + 1) + 12 + 4 + 1
"""Features of a note: 80."""


def note_features(before: Tensor, metre: Tensor, low: int, start: int = 0, stop: int | None = None) -> Tensor:
    """Features (batch, frames, notes, 80) of each note of the columns `start` to `stop`.

    In order: position in the roll (0 to 1); pitch class (12); sounding and struck notes of the previous frame within 12
    semitones (2 * 25); sounding notes per pitch class relative to its own (12); bits of the position in the bar, -1 or 1
    (4); whether the frame is the first (a constant in the original).

    Args:
        before: (batch, frames, 2, pitches) previous frames: sounding, struck
        metre: (batch, frames, 5) of `metre_bits`
        low: pitch of the first column
    """
    stop = before.shape[-1] if stop is None else stop
    pitches = torch.arange(start, stop, device=before.device)
    position = (pitches / max(before.shape[-1] - 1, 1))[:, None]
    classes = (pitches + low) % 12
    own = torch.cat([position, F.one_hot(classes, 12)], -1).to(before)
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
    """Position in the bar (batch, frames, 5): bits of the 16th, lowest first, as -1 or 1; then 1 in the first frame.

    The position is the one-hot `form.bar` first entries of the conditions; without them, the first frame is a downbeat.
    """
    batch, frames = conditions.shape[:2]
    bar = form.bar or 16
    sixteenths = torch.arange(bar, device=conditions.device) * 16 // bar
    bits = 2.0 * (sixteenths[:, None] >> torch.arange(4, device=conditions.device) & 1) - 1
    if form.bar and form.conditions >= form.bar:
        position = conditions[..., :bar].float() @ bits
    else:
        position = bits[torch.arange(frames, device=conditions.device) % bar].expand(batch, -1, -1)
    first = torch.zeros(batch, frames, 1, device=conditions.device)
    first[:, :1] = 1
    return torch.cat([position, first], -1)


UNUSED = 1e-6
"""Probability of a sounding note outside the range."""


class BiaxialState(NamedTuple):
    """Arguments for sampling the notes of a frame."""

    values: Tensor  # (batch, 2, pitches) fixed cells of the frame, else 0
    fixed: Tensor  # (batch, 2, pitches)
    sounded: Tensor  # (batch, pitches) sounding notes of the previous frame
    exponent: Tensor  # (batch, 1) exponent of the probability of a sounding note
    sampling: Sampling
    generator: torch.Generator | None  # None at temperature 0


class Biaxial(GenerativeModel):
    """Autoregressive model of sounding and struck notes, given the lower notes of the frame and all previous frames.

    The likelihood is exact: Bernoulli of `sounds` for each note, and of `struck` if it sounds (the original's mask); a struck
    note that does not sound is impossible. The time LSTM is shared by all notes and reads intervals relative to the note,
    which makes it transposition-equivariant. Future frames are not read, so `inpaint` is not supported; in `harmonise` a
    fixed note influences those that are drawn after it: with `downward` all below it.

    time, note: widths of the LSTMs along time and along the notes
    dropout: after each LSTM layer
    low, high: pitch range, None: all pitches of the view. Others sound with probability 1e-6
    downward: draw a frame from its highest note down; the original goes upwards
    adaptive: raise note probabilities from frame to frame while fewer than two notes sound (the original's `gen_adaptive`)
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
            raise ValueError("Biaxial needs a piano roll with articulation (sounding and struck planes)")
        self.pitches = form.columns // 2
        self.start = 0 if low is None else low - form.low
        self.stop = self.pitches if high is None else high - form.low + 1
        if not 0 <= self.start < self.stop <= self.pitches:
            raise ValueError(
                f"low {low}, high {high}: expected within the view's pitches, {form.low} to {form.low + self.pitches - 1}"
            )
        self.downward, self.adaptive = downward, adaptive
        self.time = LSTMStack(WIDTH, time or [300, 300], dropout)
        self.note = LSTMStack(self.time.width + 2, note or [100, 50], dropout)
        self.out = nn.Linear(self.note.width, 2)

    def time_features(self, batch: FrameBatch) -> Tensor:
        """Outputs of the time LSTM for each note (batch, frames, notes, width), from all previous frames."""
        before = F.pad(self._planes(batch.frames), (0, 0, 0, 0, 1, 0))[:, :-1]
        features = self._features(before, metre_bits(batch.conditions, self.form))
        outputs = self.time(features.transpose(1, 2).flatten(0, 1))
        return outputs.unflatten(0, (len(features), -1)).transpose(1, 2)

    def logits(self, batch: FrameBatch) -> Tensor:
        """Teacher-forced logits (batch, frames, notes, 2) of sounding and struck notes in the range."""
        time_features = self.time_features(batch)
        chosen = self._planes(batch.frames)[..., self.start : self.stop].transpose(2, 3).to(time_features.dtype)
        if self.downward:
            time_features, chosen = time_features.flip(2), chosen.flip(2)
        below = F.pad(chosen, (0, 0, 1, 0))[:, :, :-1]
        outputs = self.note(torch.cat([time_features, below], -1).flatten(0, 1)).unflatten(0, time_features.shape[:2])
        logits = self.out(outputs).float()
        return logits.flip(2) if self.downward else logits

    def nll(self, batch: FrameBatch) -> Tensor:
        """Nats (rows, frames), 0 beyond the end of a piece."""
        sounding, struck = self._planes(batch.frames).float().unbind(2)
        inside = slice(self.start, self.stop)
        logits = self.logits(batch)
        sounds = F.binary_cross_entropy_with_logits(logits[..., 0], sounding[..., inside], reduction="none")
        strikes = F.binary_cross_entropy_with_logits(logits[..., 1], struck[..., inside], reduction="none")
        within = sounding[..., inside]
        # Notes out of range sound with a small probability, struck or held with equal probability.
        beyond = sounding.sum(-1) - within.sum(-1)
        silent = self.pitches - within.shape[-1] - beyond
        nats = (sounds + strikes * within).sum(-1) - beyond * math.log(UNUSED / 2) - silent * math.log1p(-UNUSED)
        impossible = (struck > sounding).any(-1)
        return nats.masked_fill(impossible, torch.inf).masked_fill(~batch.valid, 0)

    @torch.no_grad()
    def guess(self, batch: FrameBatch) -> Tensor:
        """Frames of notes with probability above 1/2, decided one after the other."""
        planes = self._planes(batch.frames)
        sounded = F.pad(planes[:, :, 0], (0, 0, 1, 0))[:, :-1].flatten(0, 1)
        empty = torch.zeros_like(planes).flatten(0, 1)
        step = BiaxialState(empty, empty.bool(), sounded, torch.ones_like(sounded[:, :1]), Sampling(temperature=0), None)
        return self._sample_notes(self.time_features(batch).flatten(0, 1), step).flatten(1).view_as(batch.frames)

    @torch.no_grad()
    def generate(self, request: SamplingRequest) -> Tensor:
        """See `GenerativeModel.generate`. A note that did not sound in the previous frame is struck, unless fixed otherwise."""
        values, fixed = self._planes(request.values), self._planes(request.fixed)
        metre = metre_bits(request.conditions, self.form)
        before = torch.zeros_like(values[:, 0])
        state = self.time.start(len(values) * (self.stop - self.start))
        exponent = torch.ones(len(values), 1, device=values.device)
        frames = []
        for at in range(values.shape[1]):
            features = self._features(before[:, None], metre[:, at, None]).flatten(0, 2)
            features, state = self.time.step(features, state)
            frame = torch.where(fixed[:, at], values[:, at], 0.0)
            if not fixed[:, at].all():
                step = BiaxialState(frame, fixed[:, at], before[:, 0], exponent, request.sampling, request.generator)
                frame = self._sample_notes(features.unflatten(0, (len(values), -1)), step)
            exponent = adapted(exponent, frame[:, 0].sum(-1, keepdim=True)) if self.adaptive else exponent
            before = frame
            frames.append(frame.flatten(1))
        return torch.stack(frames, 1)

    def _sample_notes(self, features: Tensor, step: BiaxialState) -> Tensor:
        """Frames (batch, 2, pitches), drawn note by note; features (batch, notes, width)."""
        values, fixed, sounded, exponent, sampling, generator = step
        frame, state = values.clone(), self.note.start(len(features))
        below = torch.zeros_like(values[..., 0])
        notes = range(self.start, self.stop)
        for note in reversed(notes) if self.downward else notes:
            output, state = self.note.step(torch.cat([features[:, note - self.start], below], -1), state)
            sounds, struck = self.out(output).float().split(1, -1)
            drawn = flip(torch.cat([powered(sounds, exponent), struck], -1), sampling, generator)
            sounds, struck = drawn.unbind(-1)
            sounds_fixed, struck_fixed = fixed[..., note].unbind(-1)
            sounds = torch.where(
                sounds_fixed, values[:, 0, note], torch.maximum(sounds, values[:, 1, note])
            )  # a fixed strike sounds
            struck = torch.maximum(struck, 1 - sounded[:, note]) * sounds
            struck = torch.where(struck_fixed, values[:, 1, note], struck)
            below = torch.stack([sounds, struck], -1)
            frame[..., note] = below
        return frame

    def _features(self, before: Tensor, metre: Tensor) -> Tensor:
        return note_features(before, metre, self.form.low, self.start, self.stop)

    def _planes(self, frames: Tensor) -> Tensor:
        """(batch, frames, 2 * pitches) -> (batch, frames, 2, pitches)."""
        return frames.unflatten(-1, (2, self.pitches))


class LSTMStack(nn.Module):
    """LSTM layers of different widths, each followed by dropout, for whole sequences or single steps."""

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
        """Initial state."""
        return [core.start(rows) for core in self.cores]

    def step(self, x: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
        """One step (rows, inputs) -> (rows, width) and the next state, without dropout."""
        after = []
        for core, before in zip(self.cores, state, strict=True):
            x, now = core.step(x, before)
            after.append(now)
        return x, after


def powered(logits: Tensor, exponent: Tensor) -> Tensor:
    """Logits of probabilities raised to the power of `exponent`."""
    log_chance = (exponent * F.logsigmoid(logits)).clamp(max=-1e-6)
    return log_chance - (-log_chance.expm1()).log()


def adapted(exponent: Tensor, sounding: Tensor) -> Tensor:
    """Exponent of the next frame: lower while fewer than two notes are sounding, else towards 1.

    Constants of the original; limited to 0.02, where nearly all notes would sound.
    """
    return torch.where(sounding < 2, (exponent - 0.02).clamp(min=0.02), exponent + 0.3 * (1 - exponent))
