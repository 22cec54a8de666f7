"""Frame shift: what is heard comes earlier or later, and its labels with it."""

import torch
from torch import Tensor

from models.augment.augmentation import Augmentation
from models.augment.view import View


class FrameShift(Augmentation):
    """Turns every clip round in time by a normally distributed number of output frames.

    std: in output frames (about 22 of 66 ms, as the DESED baselines' 90 frames of 16 ms). Log-mel, embeddings and frame labels
    turn by the same time within the valid frames; what is left over of the log-mel, less than an output frame, stays.
    """

    moves_labels = True

    def __init__(self, std: float = 22.0) -> None:
        super().__init__()
        self.std = std

    def forward(self, view: View) -> View:
        shift = (torch.randn(len(view.clip)) * self.std).round().long().to(view.device)
        out, whole = view.out_valid, view.valid // view.factor * view.factor
        return view._replace(
            mel=None if view.mel is None else turned(view.mel, shift * view.factor, whole),
            embeddings={name: turned(values, shift, out) for name, values in view.embeddings.items()},
            frames=turned(view.frames, shift, out),
        )


def turned(values: Tensor, shift: Tensor, valid: Tensor) -> Tensor:
    """values (batch, frames, ...): frame k moves to (k + shift) modulo valid, those from `valid` on stay; both (batch,)."""
    frame = torch.arange(values.shape[1], device=values.device)[None]
    valid = valid.clamp(max=values.shape[1])[:, None]
    source = torch.where(frame < valid, (frame - shift[:, None]) % valid.clamp(min=1), frame)
    return values[torch.arange(len(values), device=values.device)[:, None], source]
