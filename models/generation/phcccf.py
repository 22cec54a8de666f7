"""Pitch as CONCERT hears it: height, chroma circle and circle of fifths (Mozer 1994, section 5, after Shepard 1982)."""

import torch
from torch import Tensor

from models.generation.form import Form

WIDTH = 5


def phcccf(pitch: Tensor) -> Tensor:
    """Five numbers (..., 5) of MIDI pitches (...,): octaves above middle C, then a point on each circle of twelve.

    Pitches an octave apart differ in height alone; semitones are neighbours on the first circle, fifths on the second.
    """
    chroma, fifths = 2 * torch.pi * pitch / 12, 2 * torch.pi * (7 * pitch % 12) / 12
    return torch.stack([(pitch - 60) / 12, chroma.cos(), chroma.sin(), fifths.cos(), fifths.sin()], -1)


def codes(form: Form) -> Tensor:
    """The code (categories, 5) of each category of the first column; rest, hold and end are five zeros."""
    unpitched = sum(category >= 0 for category in (form.hold, form.rest, form.end))
    pitches = form.low + torch.arange(form.sizes[0] - unpitched)
    return torch.cat([torch.zeros(unpitched, WIDTH), phcccf(pitches.float())])
