"""Libraries that Lightning and torchmetrics import for a single name, imported when they are used instead.

`python -m tasks.tagging predict --help` takes 4.4 s of CPU time and 695 MB with it, 7.9 s and 873 MB without (means of three
runs, torch 2.11): 1.8 and 1.26 times as much.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def _compiler() -> ModuleType | None:
    """The real `torch._dynamo` where it is imported already; nothing is compiled before."""
    module = sys.modules.get("torch._dynamo")
    return None if isinstance(module, _Late) else module


class _CompiledKind(type):
    """Type of a class whose instances are those of `torch._dynamo.OptimizedModule`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return (compiler := _compiler()) is not None and isinstance(instance, compiler.OptimizedModule)


class OptimizedModule(metaclass=_CompiledKind):
    """Stands for the class of compiled modules, which Lightning compares with only."""


def disable(function: Callable[..., Any], *words: Any, **options: Any) -> Callable[..., Any]:
    """`torch._dynamo.disable`: a function that is left out of what is compiled, with the same arguments."""
    excluded: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not excluded and (compiler := _compiler()):
            excluded.append(compiler.disable(function, *words, **options))
        return (excluded[0] if excluded else function)(*args, **kwargs)

    return call


def _count_operations(*args: Any, **kwargs: Any) -> Any:
    """`torch.utils.flop_counter.FlopCounterMode`."""
    return importlib.import_module("torch.utils.flop_counter").FlopCounterMode(*args, **kwargs)


LATE: dict[str, dict[str, Any]] = {
    "torch._dynamo": {"OptimizedModule": OptimizedModule, "disable": disable},
    "torch.utils.flop_counter": {"FlopCounterMode": _count_operations},
    "scipy.signal": {"hamming": None},
}
"""Modules with the names that Lightning and torchmetrics look up in them."""


class _Late(ModuleType):
    """Module with a few names; any other is looked up in the real module, which is imported then."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def postponed() -> Iterator[None]:
    """Imports within do not load the modules of `LATE`, unless they need more of them than is known here."""
    added = {name: _Late(name) for name in LATE if name not in sys.modules}
    for name, module in added.items():
        vars(module).update(LATE[name])
    sys.modules.update(added)
    try:
        yield
    finally:
        for name, module in added.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def import_light(name: str) -> ModuleType:
    """Import a module with `postponed`; without it where other versions of the libraries do not allow it."""
    try:
        with postponed():
            return importlib.import_module(name)
    except (ImportError, AttributeError):
        return importlib.import_module(name)
