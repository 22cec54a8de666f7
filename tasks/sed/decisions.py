"""How tags and events are read off probabilities: as the paper does, or by what was best in validation, kept with the weights."""

import numpy as np
import torch
from torch import Tensor, nn

from tasks.metrics.events.tuning import Decoding
from tasks.metrics.events.tuning import fixed as fixed_decoding
from tasks.metrics.sed import Tuning

THRESHOLD, FILTER = 0.5, 7  # Boes and Van hamme 2021, section 2.2


def fixed(classes: int) -> Tuning:
    """The paper's: 0.5, and a median filter of 7 frames."""
    decoding = fixed_decoding(classes, THRESHOLD, FILTER)
    return Tuning(np.full(classes, THRESHOLD), decoding, decoding)


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
