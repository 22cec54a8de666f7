"""Files written whole or not at all: a temporary name, then one rename."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Temporary path beside `path` that takes its place when the block succeeds and vanishes when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        _open_to_readers(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):  # what went wrong before is the error to report
            temporary.unlink(missing_ok=True)


def _open_to_readers(path: Path) -> None:
    """Give a file that its writer made private (safetensors: 0600) the mode that new files get by the umask."""
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
