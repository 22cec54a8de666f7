"""What predictions are made with: the network's identity and the options that change its output."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import LightningModule, Trainer

from datamodules.errors import escaped

BLOCK = 1 << 20
BLOCKS = 64
"""Blocks of 1 MiB that a digest reads: all of a file up to 64 MiB, evenly spaced ones of a longer file."""


class Provenance(NamedTuple):
    """Network and options of a run: `network` is a digest of its checkpoint, `checkpoint` the path of that."""

    network: str
    checkpoint: str
    options: dict[str, Any]

    @property
    def signature(self) -> str:
        """Twelve hex digits that change with the network and with any option."""
        content = json.dumps([self.network, self.options], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def provenance(
    trainer: Trainer, module: LightningModule, output: Mapping[str, Any], ignored: Sequence[str] = ()
) -> Provenance:
    """Identity of a prediction run.

    Args:
        trainer: whose `checkpoint` is the file that the weights come from, if any
        module: network with its hyper-parameters
        output: options of the writer that change what it writes per file
        ignored: options of any kind that do not
    """
    data = trainer.datamodule
    given = {key: value for key, value in data.hparams.items() if key not in getattr(data, "indifferent", ())}
    model = dict(module.hparams)
    if hasattr(module, "inference"):  # null among the hyper-parameters stands for its defaults
        model["inference"] = module.inference
    options = _flat("model", model) | _flat("data", given) | _flat("output", output)
    options["trainer.precision"] = str(trainer.precision)
    for name, extractor in getattr(module, "extractors", {}).items():
        options[f"model.weights.{name}"] = extractor.fingerprint
    options = {name: value for name, value in options.items() if name not in ignored}
    path = getattr(trainer, "checkpoint", None)
    network = _file_digest(Path(path)) if path else _weights_digest(module)
    return Provenance(network, escaped(str(path or type(module).__name__)), options)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Options that differ, as `--data.bars 4 (now 8)`."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"--{name} {json.dumps(before.get(name))} (now {json.dumps(now.get(name))})"[:100] for name in names]


def content_digest(path: str | Path) -> str:
    """Sixteen hex digits of a file's size and content. Raises OSError where it cannot be read."""
    size = Path(path).stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    step = max(BLOCK, (size - BLOCK) // (BLOCKS - 1))
    with Path(path).open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _weights_digest(module: LightningModule) -> str:
    digest = hashlib.sha256(type(module).__qualname__.encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        if hasattr(value, "detach"):
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """Nested options as dotted names with plain values; empty ones and private names left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    elif hasattr(value, "as_dict"):
        value = value.as_dict()
    if isinstance(value, Mapping):
        inner = [(str(key), item) for key, item in value.items() if not str(key).startswith("_")]
        return {name: leaf for key, item in inner for name, leaf in _flat(f"{prefix}.{key}", item).items()}
    return {prefix: _leaf(value)}


def _leaf(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Path):
        return escaped(str(value))
    if isinstance(value, list | tuple | set | frozenset):
        return [_leaf(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _leaf(item) for key, item in value.items()}
    kind = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
