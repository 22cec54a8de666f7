"""What Johnson's biaxial network hears of the frame before, once for every pitch, and where in the bar it is."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.generation.form import Form

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


def metre_bits(conditions: Tensor, form: Form) -> Tensor:
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
