"""Files of torch.save that hold plain data and tensors -> the same with Python's own numbers and texts; no code is run."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.torch_version import TorchVersion

_SCALAR = np._core.multiarray.scalar
ALLOWED = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Int64DType,
    TorchVersion,
]
"""Beyond PyTorch's own list: asteroid saves `max_bin` as numpy.int64 and `torch.__version__` as it is."""


def load_plain(path: str | Path) -> Any:
    """Content of a file of torch.save, on the CPU, NumPy's integers as int and versions as str.

    Args:
        path: of the file

    Returns:
        Plain values, containers and tensors.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it asks for a class beyond the list, which is named, or is damaged.
    """
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return _plain(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise
    except Exception as error:  # what a damaged file ends in is not documented
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it asks to load {named[1]}, which may run any code" if named else f"{type(error).__name__}, is it whole?"
        raise ValueError(f"{path} holds no plain weights ({why}): expected a file of torch.save") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, TorchVersion):
        return str(value)
    if isinstance(value, dict):
        return type(value)((_plain(key), _plain(item)) for key, item in value.items())
    return type(value)(map(_plain, value)) if type(value) in (list, tuple, set) else value
