"""The thresholds and filters that were best in validation, kept with the weights."""

import numpy as np
import torch
from torch import Tensor, nn

from tasks.metrics.events.tuning import Decoding
from tasks.metrics.sed import Tuning, fixed


class Tuned(nn.Module):
    """Thresholds and filter lengths of each class as buffers; before any validation those of the paper."""

    clip: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name, values in _flat(fixed(classes)).items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64 if "filters" in name else torch.float64))

    def keep(self, tuning: Tuning) -> None:
        """Take over what was tuned."""
        for name, values in _flat(tuning).items():
            getattr(self, name).copy_(torch.as_tensor(values))

    def tuning(self) -> Tuning:
        """What is kept."""
        kept = {name: values.cpu().numpy() for name, values in self.named_buffers()}
        segment, event = (Decoding(kept[f"{kind}_thresholds"], kept[f"{kind}_filters"]) for kind in ("segment", "event"))
        return Tuning(kept["clip"], segment, event)


def _flat(tuning: Tuning) -> dict[str, np.ndarray]:
    flat = {"clip": tuning.clip}
    for kind, decoding in (("segment", tuning.segment), ("event", tuning.event)):
        flat |= {f"{kind}_{key}": values for key, values in decoding._asdict().items()}
    return flat
