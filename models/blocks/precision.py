"""Where half precision must stay out: log, sums of exponentials, losses, and the settings they rest on."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def full_precision(tensor: Tensor) -> AbstractContextManager:
    """No autocast on this tensor's device inside.

    Entered only where autocast is on: torch.export would otherwise wrap what is inside in a sub-graph.
    """
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class ExactBuffers(nn.Module):
    """A module whose own buffers follow the network to another device, but not to a shorter (or longer) float."""

    def _apply(self, fn, recurse=True):
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = getattr(self, name)
            if moved.dtype != buffer.dtype:
                setattr(self, name, buffer.to(moved.device))
        return self
