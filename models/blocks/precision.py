"""Protection from half precision: regions without autocast, and modules whose buffers keep their dtype."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def full_precision(tensor: Tensor) -> AbstractContextManager:
    """Context without autocast on this tensor's device.

    A null context if autocast is off: torch.export would otherwise make a sub-graph of its content.
    """
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class ExactBuffers(nn.Module):
    """Module whose own buffers move to other devices but keep their dtype."""

    def _apply(self, fn, recurse=True):
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = getattr(self, name)
            if moved.dtype != buffer.dtype:
                setattr(self, name, buffer.to(moved.device))
        return self
