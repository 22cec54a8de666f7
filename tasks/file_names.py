"""Which strings may become the name of a file on any operating system, and which name one that is there."""

import os
import re
from pathlib import Path
from typing import Any

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(1, 10))}
"""Names of devices on Windows, with any ending."""

_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 100
"""Bytes: with a suffix and a prefix a name stays below the 255 of every file system."""


def is_plain_name(name: Any) -> bool:
    """Whether a name is one plain file name everywhere: no path, device, drive or stream, nothing invisible."""
    if not isinstance(name, str) or not name or _FORBIDDEN.search(name) or len(name.encode()) > LONGEST:
        return False
    return name.strip(" .") == name and name.split(".")[0].rstrip().upper() not in RESERVED


def is_plain_text(text: str) -> bool:
    """Whether a label can be printed and written into a table: not empty, no control characters."""
    return bool(text.strip()) and len(text) <= 1000 and not _CONTROL.search(text)


def names_file(text: str | Path) -> bool:
    """Whether a text is the path of a file; one that is too long for a path, or holds zeros, is none."""
    return os.path.isfile(text)  # noqa: PTH113
