"""Lock around numba's compiler: test processes that need the same kernel compile it once and share numba's cache on disk.

In a fresh clone the kernels of alignment take 14 CPU s to compile.
"""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock


class CompileInTurn(MetaPathFinder):
    """Finder that adds the lock when numba is imported; it looks into its cache on disk inside the lock.

    Args:
        lock: lock file of all test processes
    """

    def __init__(self, lock: Path):
        self.lock = FileLock(lock)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Spec of numba's dispatcher with the lock, once; None for other modules."""
        if name != "numba.core.dispatcher":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        spec.loader.exec_module = self._locked(spec.loader.exec_module)
        return spec

    def _locked(self, execute: Any) -> Any:
        def exec_module(module: ModuleType) -> None:
            execute(module)
            compile_now = module.Dispatcher.compile

            def compile_in_turn(dispatcher: Any, signature: Any) -> Any:
                with self.lock:
                    return compile_now(dispatcher, signature)

            module.Dispatcher.compile = compile_in_turn

        return exec_module
