"""Fault injection as SQLite tests itself: one call of open, write, fsync, replace or mkdir fails, the rest goes on."""

import builtins
import contextlib
import csv
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import soundfile
import torch
import yaml
from PIL import Image

KINDS = ("open", "write", "fsync", "replace", "mkdir")


class Call(NamedTuple):
    """One operation on a file: its kind, the file's name, and how many of the kind came before."""

    kind: str
    name: str
    number: int


class Faults:
    """Log of the operations under a folder; one of them fails, once.

    Args:
        folder: only what lies in it counts
        failing: operation that fails
        code: its errno
    """

    def __init__(self, folder: Path, failing: Call | None = None, code: int = 0) -> None:
        self.folder, self.failing, self.code = str(folder.resolve()), failing, code
        self.calls: list[Call] = []
        self._counts: Counter[str] = Counter()
        self.fired = False

    def fails(self, kind: str, path: Any) -> bool:
        """Note an operation; whether it shall fail."""
        path = str(Path(os.fsdecode(path)).resolve())
        if not path.startswith(self.folder):
            return False
        number = self._counts[kind]
        self._counts[kind] += 1
        self.calls.append(Call(kind, Path(path).name, number))
        hit = self.failing is not None and (kind, number) == (self.failing.kind, self.failing.number)
        self.fired |= hit
        return hit

    def error(self, path: Any) -> OSError:
        return OSError(self.code, os.strerror(self.code), os.fsdecode(path))

    def check(self, kind: str, path: Any) -> None:
        if self.fails(kind, path):
            raise self.error(path)


class Written:
    """File whose writes are counted; one that fails leaves half of what it was given."""

    def __init__(self, file: Any, path: Any, faults: Faults) -> None:
        self._file, self._path, self._faults = file, path, faults

    def write(self, data: Any) -> int:
        if self._faults.fails("write", self._path):
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise self._faults.error(self._path)
        return self._file.write(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def __iter__(self) -> Iterator:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def injected(faults: Faults) -> Iterator[Faults]:
    """Run a block with the faults in place of Python's, NumPy's, soundfile's, safetensors' and torch.export's writing."""
    import safetensors.torch

    real_open, real_os_open = builtins.open, os.open

    def open_(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if isinstance(path, int) or not set("wax+") & set(mode):
            return real_open(path, mode, *args, **options)
        faults.check("open", path)
        return Written(real_open(path, mode, *args, **options), path, faults)

    def os_open(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            faults.check("open", path)
        return real_os_open(path, flags, *args, **options)

    def on_target(kind: str, real: Callable) -> Callable:
        def call(source: Any, target: Any, *args: Any, **options: Any) -> Any:
            faults.check(kind, target)
            return real(source, target, *args, **options)

        return call

    def mkdir(path: Any, *args: Any, real: Callable = os.mkdir, **options: Any) -> None:
        faults.check("mkdir", path)
        real(path, *args, **options)

    def fsync(handle: Any, real: Callable = os.fsync) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        faults.check("fsync", Path(f"/proc/self/fd/{number}").readlink())
        real(handle)

    def by_name(real: Callable, place: int) -> Callable:
        """A writer in C, which opens the file itself: it leaves half a file where it fails."""

        def call(*args: Any, **options: Any) -> Any:
            path = args[place]
            if isinstance(path, str | Path) and faults.fails("write", path):
                real_open(path, "wb").write(b"half")
                raise faults.error(path)
            return real(*args, **options)

        return call

    with contextlib.ExitStack() as stack:
        for owner, name, replacement in (
            (builtins, "open", open_),
            (io, "open", open_),
            (os, "open", os_open),
            (os, "replace", on_target("replace", os.replace)),
            (os, "rename", on_target("replace", os.rename)),
            (os, "mkdir", mkdir),
            (os, "fsync", fsync),
            (soundfile, "write", by_name(soundfile.write, 0)),
            (safetensors.torch, "save_file", by_name(safetensors.torch.save_file, 1)),
            (torch.export, "save", by_name(torch.export.save, 1)),
        ):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield faults


def chosen(calls: list[Call]) -> list[Call]:
    """First and last operation of each kind on each file, temporary names taken together."""
    picked: dict[tuple[str, str, bool], Call] = {}
    for call in calls:
        name = call.name.lstrip(".0123456789")
        picked.setdefault((call.kind, name, True), call)
        picked[call.kind, name, False] = call
    return sorted(set(picked.values()))


def is_temporary(path: Path) -> bool:
    """True if a name says that the file is not finished."""
    return any(part.startswith(".") or part.endswith((".tmp", ".part")) for part in path.parts)


def files(folder: Path) -> set[str]:
    """Files under their final names, relative to a folder."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if not is_temporary(path)}


def assert_whole(folder: Path) -> None:
    """No file under its final name is half."""
    for name in sorted(files(folder)):
        path = folder / name
        try:
            _read(path)
        except Exception as error:
            raise AssertionError(f"{name} is not whole: {error}") from error


def _read(path: Path) -> None:
    kind = path.suffix
    if kind == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif kind == ".jsonl":
        for line in path.read_text(encoding="utf-8").splitlines():
            json.loads(line)
    elif kind in (".csv", ".tsv"):
        text = path.read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text), delimiter="\t" if kind == ".tsv" else ","))
        assert text.endswith("\n") and len({len(row) for row in rows}) == 1, "cut short"
    elif kind in (".ckpt", ".pt2", ".npz"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
        if kind == ".ckpt":
            torch.load(path, map_location="cpu", weights_only=True)
    elif kind == ".npy":
        np.load(path, allow_pickle=False)
    elif kind in (".yaml", ".yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8")), "empty"
    elif kind in (".wav", ".flac", ".ogg"):
        soundfile.read(path)
    elif kind == ".png":
        with Image.open(path) as picture:
            picture.load()
    elif kind == ".safetensors":
        from safetensors.torch import load_file

        load_file(path)
