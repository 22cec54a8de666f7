"""Read pickles that hold nothing but data: an unpickler that builds no object of any class but numpy's arrays."""

import pickle
from pathlib import Path
from typing import Any

from datamodules.errors import DataError

MODULES = {"numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"}
FUNCTIONS = {"_reconstruct", "scalar", "_frombuffer"}
PLAIN = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _DataUnpickler(pickle.Unpickler):
    """Finds what arrays are rebuilt with, under the names of numpy 1 and 2, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PLAIN and (module not in MODULES or name not in FUNCTIONS):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load(path: Path) -> Any:
    """Content of a pickle of Python 2 or 3: numbers, texts, containers and arrays; text of Python 2 as latin-1.

    Raises DataError where the file is absent, damaged, or would build anything else.
    """
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file, encoding="latin1").load()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except Exception as error:
        raise DataError(
            f"{path} is not a pickle of plain data ({error or type(error).__name__}), so it was not loaded: "
            f"download it again from where the list is published."
        ) from error
