"""Import of wandb, and content of an offline W&B run: LevelDB's log format in blocks of 32 KiB around protocol buffers."""

import inspect
import json
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

BLOCK, HEADER, RECORD = 32768, 7, 7


def import_wandb() -> ModuleType:
    """Import wandb or skip the test; pydantic would search all modules for each frame of the call stack, for 5 CPU s."""
    with mock.patch("inspect.getmodule", _module_of):
        pytest.importorskip("wandb.sdk.launch")  # imported by wandb.init
        return pytest.importorskip("wandb")


def _module_of(part: Any, file: str | None = None) -> ModuleType | None:
    """Module of a frame or class, by its name."""
    return sys.modules.get(part.f_globals["__name__"] if inspect.isframe(part) else getattr(part, "__module__", ""))


def records(path: Path) -> list[Any]:
    """All records of a run-<id>.wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts, found = path.read_bytes(), HEADER, b"", []
    while place + RECORD <= len(data):
        if BLOCK - place % BLOCK < RECORD:  # the rest of a block too small for a head is padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + RECORD : place + RECORD + length]
        place += RECORD + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def offline_run(path: Path) -> dict[str, Any]:
    """Id, group, job type, configuration and history (one dictionary a row) of an offline run file."""
    run: dict[str, Any] = {"config": {}, "history": []}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"id": record.run.run_id, "group": record.run.run_group, "job_type": record.run.job_type}
        updates = record.run.config.update if kind == "run" else record.config.update if kind == "config" else []
        for update in updates:
            run["config"][update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        if kind == "history":
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            run["history"].append(row)
    return run
