"""Ring of batch buffers in shared memory: filled by loader processes, reused once nothing refers to them any more.

A fresh buffer of 68 MB costs more page faults than its samples cost to read, and a loader process copies it once more to
hand it over. Here a process fills a free buffer of the ring and sends its number; the main process sees the same memory.
"""

import itertools
import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

EACH = 4
"""Buffers of a process: two that wait to be taken, one that is filled, one in use. If all are taken a fresh one is made."""

_numbers = itertools.count()
_rings: "weakref.WeakValueDictionary[int, Ring]" = weakref.WeakValueDictionary()


class Filled:
    """A filled buffer on its way from a loader process; unpickling it in the main process gives the tensor."""

    def __init__(self, ring: int, slot: int, shape: tuple[int, ...]) -> None:
        self.ring, self.slot, self.shape = ring, slot, shape

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _received, (self.ring, self.slot, self.shape)


class Ring:
    """Buffers of one shape and type; made in the main process, and inherited by or sent to its loader processes.

    Args:
        shape: of a whole batch
        dtype: of its samples
        workers: loader processes; 0: the main process fills the buffers itself
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, workers: int = 0) -> None:
        self.shape, self.dtype, self.workers, self.number = tuple(shape), np.dtype(dtype), workers, next(_numbers)
        count = EACH * max(workers, 1)
        # numpy asks for huge pages, torch does not: a third of the time of filling one.
        self._buffers = [torch.from_numpy(np.empty(self.shape, self.dtype)) for _ in range(count)]
        self._taken = torch.zeros(count, dtype=torch.uint8)
        self._owner = os.getpid()
        self._share()
        _rings[self.number] = self

    def _share(self) -> None:
        for tensor in (*self._buffers, self._taken) if self.workers else ():
            tensor.share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A loader process gets the same ring; a copy in the process of the original becomes a ring of its own."""
        self.__dict__.update(state)
        if os.getpid() == self._owner:
            self.number, self._taken = next(_numbers), torch.zeros_like(self._taken)
            self._share()
        _rings.setdefault(self.number, self)

    def fill(self, shape: tuple[int, ...], write: Callable[[np.ndarray], Any]) -> tuple[Any, "Tensor | Filled"]:
        """Call `write` on an array of this shape: what it returns, and the array as a tensor (or on its way to be one).

        The array is a part of a free buffer, or a fresh one where none is free or the shape is larger.
        """
        fits = shape[1:] == self.shape[1:] and shape[0] <= self.shape[0]
        slot = self._free() if fits else None
        if slot is None:
            array = np.empty(shape, self.dtype)
            return write(array), torch.from_numpy(array)
        self._taken[slot] = 1
        try:
            result = write(self._buffers[slot].numpy()[: shape[0]])
        except BaseException:
            self._taken[slot] = 0
            raise
        return result, Filled(self.number, slot, shape) if get_worker_info() else self.tensor(slot, shape)

    def tensor(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """A filled buffer as a tensor of the main process; it is free again when the last tensor or array on it is gone."""
        # Storage made by from_numpy holds this very array until its last view is gone, whoever has that.
        array = self._buffers[slot].numpy()[: shape[0]]
        weakref.finalize(array, _release, self._taken, slot).atexit = False
        return torch.from_numpy(array)

    def _free(self) -> int | None:
        """A free buffer of this process; each process has its own, so that none has to ask another."""
        info = get_worker_info()
        if info and not self._taken.is_shared():
            return None
        mine = range(info.id, len(self._buffers), info.num_workers) if info else range(len(self._buffers))
        return next((slot for slot in mine if not self._taken[slot]), None)


def _release(taken: Tensor, slot: int) -> None:
    taken[slot] = 0


def _received(number: int, slot: int, shape: tuple[int, ...]) -> Tensor:
    return _rings[number].tensor(slot, shape)

