"""Read pickles that hold nothing but data: an unpickler that builds no object of any class but numpy's arrays."""

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

from datamodules.errors import DataError

MODULES = {"numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"}
FUNCTIONS = {"_reconstruct", "scalar", "_frombuffer"}
_PLACE, _SIZE = re.compile(rb"r(?=(.{4}))", re.DOTALL), re.compile(rb"\x96(?=(.{8}))", re.DOTALL)
_WORDS = re.compile(rb"p(\d{1,18})")
PLAIN = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _DataUnpickler(pickle.Unpickler):
    """Finds what arrays are rebuilt with, under the names of numpy 1 and 2, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PLAIN and (module not in MODULES or name not in FUNCTIONS):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _asks_for_memory(data: bytes) -> bool:
    """Whether an instruction names a place or a size beyond the file, for which the unpickler would allocate at once.

    Only where bytes look like one are the instructions gone through, which takes a hundred times as long as reading them.
    """
    doubtful = any(int.from_bytes(found[1], "little") > len(data) for found in _PLACE.finditer(data))
    doubtful |= any(int.from_bytes(found[1], "little") > len(data) for found in _SIZE.finditer(data))
    doubtful |= any(int(found[1]) > len(data) for found in _WORDS.finditer(data))
    if not doubtful:
        return False
    try:
        places = [arg for code, arg, _ in pickletools.genops(data) if code.name in ("PUT", "LONG_BINPUT")]
    except ValueError as error:  # it has fewer bytes than an instruction takes
        return "expected" in str(error)
    return max(places, default=0) > len(data)


def load(path: Path) -> Any:
    """Content of a pickle of Python 2 or 3: numbers, texts, containers and arrays; text of Python 2 as latin-1.

    Raises DataError where the file is absent, damaged, or would build anything else.
    """
    try:
        data = path.read_bytes()
        if _asks_for_memory(data):
            raise pickle.UnpicklingError("it asks for more memory than it has bytes")
        return _DataUnpickler(io.BytesIO(data), encoding="latin1").load()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except Exception as error:
        raise DataError(
            f"{path} is not a pickle of plain data ({error or type(error).__name__}), so it was not loaded: "
            f"download it again from where the list is published."
        ) from error
