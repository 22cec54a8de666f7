"""Lazy imports of libraries that Lightning and torchmetrics need for a single name.

`python -m tasks.tagging predict --help` takes 4.4 s of CPU time and 695 MB with lazy imports, 7.9 s and 873 MB without (means
of three runs, torch 2.11).
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def _compiler() -> ModuleType | None:
    """The real `torch._dynamo` if it has been imported; nothing is compiled before."""
    module = sys.modules.get("torch._dynamo")
    return None if isinstance(module, _Late) else module


class _CompiledKind(type):
    """Metaclass that forwards `isinstance` to `torch._dynamo.OptimizedModule`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return (compiler := _compiler()) is not None and isinstance(instance, compiler.OptimizedModule)


class OptimizedModule(metaclass=_CompiledKind):
    """Substitute of the class of compiled modules, for the `isinstance` checks of Lightning."""


def disable(function: Callable[..., Any], *words: Any, **options: Any) -> Callable[..., Any]:
    """Lazy `torch._dynamo.disable`: exclude a function from compilation."""
    excluded: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not excluded and (compiler := _compiler()):
            excluded.append(compiler.disable(function, *words, **options))
        return (excluded[0] if excluded else function)(*args, **kwargs)

    return call


def _count_operations(*args: Any, **kwargs: Any) -> Any:
    """Lazy `torch.utils.flop_counter.FlopCounterMode`."""
    return importlib.import_module("torch.utils.flop_counter").FlopCounterMode(*args, **kwargs)


LATE: dict[str, dict[str, Any]] = {
    "torch._dynamo": {"OptimizedModule": OptimizedModule, "disable": disable},
    "torch.utils.flop_counter": {"FlopCounterMode": _count_operations},
    "scipy.signal": {"hamming": None},
}
"""Module -> names that Lightning and torchmetrics import from it, and their substitutes."""


class _Late(ModuleType):
    """Module with substitutes; other names are looked up in the real module, which is imported then."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def postponed() -> Iterator[None]:
    """Context in which imports do not load the modules of `LATE`, unless they need other names."""
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
    """Import a module inside `postponed`, or without it if other versions of the libraries fail."""
    try:
        with postponed():
            return importlib.import_module(name)
    except (ImportError, AttributeError):
        return importlib.import_module(name)
