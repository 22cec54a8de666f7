"""File names of outputs, readable and safe on every system, and counts in words."""

import hashlib
import re
from pathlib import Path

from datamodules.errors import counted as counted


def slug(text: str) -> str:
    """File name of any text: letters, digits, `.`, `-` and `_`, at most 80 of them."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:80] or "file"


def unique_stem(path: str) -> str:
    """File name for the outputs of an input path, different for equal names in two folders."""
    return f"{slug(Path(path).stem)}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"
