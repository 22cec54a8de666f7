"""Atomic file writing: a temporary file, renamed once it is complete."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Context of a temporary path beside `path`, renamed to it on success and deleted on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        _apply_umask(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):  # do not hide an earlier error
            temporary.unlink(missing_ok=True)


def _apply_umask(path: Path) -> None:
    """Set the mode of new files (by the umask) on a file that its writer made private (safetensors: 0600)."""
    if os.name != "posix" or path.stat().st_mode & 0o077:
        return
    usual = path.with_name(f"{path.name}.mode")
    try:
        usual.touch()
        path.chmod(usual.stat().st_mode & 0o777)
    finally:
        usual.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    with whole(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write plain types as indented JSON."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
