"""Safe loading of torch.save files: path -> plain values, containers and tensors, without running code."""

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
"""Additions to PyTorch's own list: asteroid saves `max_bin` as numpy.int64, and `torch.__version__`."""


def load_plain(path: str | Path) -> Any:
    """Content of a torch.save file on the CPU, with NumPy scalars as Python numbers and versions as str.

    Args:
        path: of the file

    Returns:
        Plain values, containers and tensors.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file needs a class that is not allowed (the message names it), or is damaged.
    """
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return _plain(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise
    except Exception as error:  # errors of damaged files are not documented
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it needs {named[1]}, which could run any code" if named else f"{type(error).__name__}, damaged or truncated"
        raise ValueError(f"{path} does not contain plain weights ({why}): expected a torch.save file") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, TorchVersion):
        return str(value)
    if isinstance(value, dict):
        return type(value)((_plain(key), _plain(item)) for key, item in value.items())
    return type(value)(map(_plain, value)) if type(value) in (list, tuple, set) else value
