"""Short music that was drawn at random, in any form of frames, and questions about it."""

import torch
import torch.nn.functional as F

from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.sampling import Sampling

VOICES = FrameSpec("categories", (5, 4, 6), conditions=2)
ROLL = FrameSpec("binary", (2,) * 6)
TOKENS = FrameSpec("categories", (7,), end=6)
DRAWN, LIKELIEST = Sampling(), Sampling(temperature=0)


def excerpts(form, rows=3, frames=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randint(size, (rows, frames), generator=generator) for size in form.sizes], -1)
    cells = drawn.float() if form.kind == "binary" else drawn
    conditions = torch.rand(rows, frames, form.conditions, generator=generator)
    return FrameBatch(cells, conditions, torch.ones(rows, frames, dtype=torch.bool))


def padded(batch, more):
    """The same with frames behind the end that hold anything."""
    frames, conditions = (F.pad(part, (0, 0, 0, more), value=1) for part in batch[:2])
    return FrameBatch(frames, conditions, F.pad(batch.valid, (0, more)))


def row_by_row(measure, batch):
    """What `measure` says of each piece by itself, in one tensor."""
    return torch.cat([measure(FrameBatch(*(part[row : row + 1] for part in batch))) for row in range(len(batch.frames))])


def mask_for(batch, use):
    """Cells (batch, frames, columns) that each use gives."""
    fixed = torch.zeros_like(batch.frames, dtype=torch.bool)
    if use == "continue":
        fixed[:, :5] = True
    elif use == "inpaint":
        fixed[:, :3] = fixed[:, 6:] = True
    elif use == "harmonise":
        fixed[..., 0] = True
    return fixed


def ask_of(batch, use, fixed=None, seed=0, sampling=DRAWN, allowed=None):
    fixed = mask_for(batch, use) if fixed is None else fixed
    return SamplingRequest(batch.frames, fixed, batch.conditions, torch.Generator().manual_seed(seed), sampling, use, allowed)
