"""Metric base class that stores per-item results and gathers them across ranks without averaging."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

Read = TypeVar("Read")


class RowMetric(Metric):
    """Metric over rows of all ranks; ranks may hold different numbers of rows, or none.

    A subclass lists its `columns` with their types; each is a state of flat tensors on the metric's device, which gloo and
    NCCL can gather.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    columns: ClassVar[dict[str, torch.dtype]] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Flat, so that a rank without rows can join the gathering without knowing their width.
        for name in self.columns:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def add(self, **rows: Any) -> None:
        """Append values to columns, flattened."""
        for name, values in rows.items():
            getattr(self, name).append(torch.as_tensor(values).flatten().to(self.device, self.kind(name)))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the rows of all ranks; a rank without rows joins with empty tensors of the same types."""
        for name in self.columns:
            rows = getattr(self, name)
            if isinstance(rows, list) and not rows:
                rows.append(torch.zeros(0, dtype=self.kind(name), device=self.device))
        super().sync(*args, **kwargs)

    def held(self, name: str) -> NDArray:
        """Values of a column on this rank; while synced those of all ranks."""
        rows: list[Tensor] | Tensor = getattr(self, name)
        # Without an update a state is an empty list, after gathering it is one tensor.
        return dim_zero_cat(rows).cpu().numpy() if len(rows) else np.zeros(0)

    def gathered(self, read: Callable[[], Read]) -> Read:
        """Result of `read` on the columns of all ranks; call it on every rank."""
        if self._is_synced:
            return read()
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync):
            return read()

    def kind(self, name: str) -> torch.dtype:
        """Type of a column on the metric's device: float32 instead of float64 on MPS, which has no float64."""
        exact = self.columns[name]
        return torch.float32 if exact == torch.float64 and self.device.type == "mps" else exact
