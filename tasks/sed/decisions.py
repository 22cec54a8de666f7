"""The thresholds and filters that were best in validation, kept with the weights."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.metrics.events.tuning import Decoding
from tasks.metrics.sed import Tuning, fixed

MASKS = ("segment_masked", "event_masked")


class Tuned(nn.Module):
    """Thresholds, filter lengths and masks of each class as buffers; before any validation those of the paper."""

    clip: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name, values in _flat(fixed(classes)).items():
            self.register_buffer(name, torch.tensor(values))

    def keep(self, tuning: Tuning) -> None:
        """Take over what was tuned."""
        for name, values in _flat(tuning).items():
            getattr(self, name).copy_(torch.as_tensor(values))

    def tuning(self) -> Tuning:
        """What is kept."""
        kept = {name: values.cpu().numpy() for name, values in self.named_buffers()}
        segment, event = (Decoding(kept[f"{kind}_thresholds"], kept[f"{kind}_filters"]) for kind in ("segment", "event"))
        return Tuning(kept["clip"], segment, event, *(bool(kept[name]) for name in MASKS))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load; a checkpoint written before there were masks has none."""
        for name in MASKS:
            state_dict.setdefault(f"{prefix}{name}", torch.tensor(False))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _flat(tuning: Tuning) -> dict[str, np.ndarray]:
    flat = {"clip": np.asarray(tuning.clip, np.float64)}
    for kind, decoding in (("segment", tuning.segment), ("event", tuning.event)):
        flat[f"{kind}_thresholds"] = np.asarray(decoding.thresholds, np.float64)
        flat[f"{kind}_filters"] = np.asarray(decoding.filters, np.int64)
    return flat | {name: np.asarray(getattr(tuning, name), bool) for name in MASKS}
