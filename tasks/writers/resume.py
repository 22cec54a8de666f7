"""Plan of a `predict` run: inputs and journal -> finished and remaining inputs, and names of outputs."""

import dataclasses
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple

from pytorch_lightning import LightningModule, Trainer

from datamodules.audio.files import InputItem
from datamodules.common.errors import escaped
from datamodules.common.file_search import entry_key
from tasks.writers.journal import NAME, FileState, History, JournalEntry
from tasks.writers.output_files import counted, slug

BLOCK = 1 << 20
BLOCKS = 64
"""Number of 1 MiB blocks in a digest: the whole file up to 64 MiB, evenly spaced blocks of a longer file."""


class Provenance(NamedTuple):
    """Network and options of a run: digest of the checkpoint, its path, and options that change the output."""

    network: str
    checkpoint: str
    options: dict[str, Any]

    @property
    def signature(self) -> str:
        """Twelve hex digits that change with the network and with any option."""
        content = json.dumps([self.network, self.options], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def provenance(trainer: Trainer, module: LightningModule, output: Mapping[str, Any], ignored: Sequence[str] = ()) -> Provenance:
    """Network and options of a prediction run.

    Args:
        trainer: Trainer whose `checkpoint` is the file of the weights, if any
        module: network with its hyper-parameters
        output: options of the writer that change the files of an input
        ignored: options of any kind that do not change them
    """
    data = trainer.datamodule
    arguments = {key: value for key, value in data.hparams.items() if key not in getattr(data, "ignored_options", ())}
    model = dict(module.hparams)
    if hasattr(module, "inference"):  # null among the hyper-parameters means the defaults
        model["inference"] = module.inference
    options = _flat("model", model) | _flat("data", arguments) | _flat("output", output)
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
    """Sixteen hex digits of a file's size and content."""
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
    """Flatten nested options to dotted names with plain values, without empty and private ones."""
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


class Label(NamedTuple):
    """Names of an input: `file` in tables, `name` relative to the folder that the user named, `stem` of its outputs."""

    file: str
    name: str
    stem: str


class RunSignature(NamedTuple):
    """Signature of a run's network and options, and its optional outputs with their settings."""

    signature: str
    extras: Mapping[str, Any]


@dataclass(frozen=True)
class ResumePlan:
    """Plan of a run, equal on every rank.

    Args:
        labels: labels by key
        done: keys of finished inputs
        previous: entries of earlier runs to replace, without their rows
        kept: keys of inputs whose earlier outputs are still valid
        notice: message for the user
        session: identifier of this run's entries
    """

    labels: Mapping[str, Label]
    done: frozenset[str]
    previous: Mapping[str, JournalEntry]
    kept: frozenset[str]
    notice: str
    session: str


def make_plan(
    items: Sequence[InputItem], history: History, signature: RunSignature, folder: Path, reserved: Iterable[str]
) -> ResumePlan:
    """Compare the inputs with the journal.

    Args:
        items: all inputs
        history: journal of earlier runs into the folder
        signature: network, options and optional outputs of this run
        folder: output folder
        reserved: names in the folder that no output may have
    """
    reasons: dict[str, str | None] = {}
    for item in items:
        entry = history.entries.get(item.key)
        reasons[item.key] = "new" if entry is None else _reason(item, entry, signature, folder)
    done = frozenset(key for key, reason in reasons.items() if reason is None)
    known = {key: history.entries[key] for key in reasons if key in history.entries}
    return ResumePlan(
        label(items, history.entries.values(), reserved),
        done,
        {key: replace(entry, row=None) for key, entry in known.items() if key not in done},
        frozenset(key for key, reason in reasons.items() if reason in ("extras", "removed")),
        _notice(reasons, known, history, signature),
        secrets.token_hex(4),
    )


def label(items: Sequence[InputItem], entries: Iterable[JournalEntry], reserved: Iterable[str] = ()) -> dict[str, Label]:
    """Distinct names of inputs by key; an input keeps its names from earlier runs."""
    entries = list(entries)
    labels = {entry.key: Label(entry.file, entry.name, entry.stem) for entry in entries}
    files, names = {entry.file for entry in entries}, {entry.name for entry in entries}
    stems = {entry.stem.casefold() for entry in entries} | {name.casefold() for name in (NAME, *reserved)}
    for item in items:
        if item.key in labels:
            continue
        about = f" ({item.about})" if item.about else ""
        file = _free([escaped(item.path), escaped(item.path) + about, item.key], files)
        name = _free([*_tails(item), escaped(item.name) + about, item.key], names)
        stem = _free(_stems(item), stems)
        labels[item.key] = Label(file, name, stem)
        files.add(file)
        names.add(name)
        stems.add(stem.casefold())
    return {item.key: labels[item.key] for item in items}


def sources_of(item: InputItem) -> tuple[FileState, ...]:
    """States of the readable files of an input."""
    sources = []
    for path in item.files:
        try:
            stat = Path(path).stat()
            sources.append(FileState(entry_key(path), stat.st_size, stat.st_mtime_ns, content_digest(path)))
        except OSError:
            continue
    return tuple(sources)


def _reason(item: InputItem, entry: JournalEntry, signature: RunSignature, folder: Path) -> str | None:
    """Reason for repeating an input; None if it is done."""
    if entry.error is not None:
        return "failed"
    if not _unchanged(item, entry):
        return "changed"
    if entry.run != signature.signature:
        return "options"
    if any(entry.extras.get(name) != value for name, value in signature.extras.items()):
        return "extras"
    if not all((folder / output).exists() for output in entry.outputs):
        return "removed"
    return None


def _unchanged(item: InputItem, entry: JournalEntry) -> bool:
    """True if the files have the same size as before, and the same modification time or content."""
    if [source.path for source in entry.sources] != [entry_key(path) for path in item.files]:
        return False
    try:
        for path, source in zip(item.files, entry.sources, strict=True):
            stat = Path(path).stat()
            if stat.st_size != source.size:
                return False
            if stat.st_mtime_ns != source.mtime_ns and content_digest(path) != source.digest:
                return False
    except OSError:
        return False
    return True


def _notice(
    reasons: Mapping[str, str | None], known: Mapping[str, JournalEntry], history: History, signature: RunSignature
) -> str:
    """Message about skipped and repeated inputs; empty if all are new."""
    counts = Counter(reasons.values())
    texts = {
        "changed": "changed since",
        "options": f"done with other options before ({_changed_options(reasons, known, history, signature.signature)})",
        "extras": f"without {' and '.join(f'--output.{name}' for name in signature.extras)} before",
        "removed": "with missing outputs",
    }
    parts = [f"{counts[reason]} {text}" for reason, text in texts.items() if counts[reason]]
    verb = "is" if counts[None] == 1 else "are"
    sentences = [f"{counts[None]} of {counted(len(reasons), 'input')} {verb} done already and skipped"] if counts[None] else []
    sentences += [f"repeated: {counts['failed']} that failed before"] if counts["failed"] else []
    sentences += [f"repeated and replaced: {', '.join(parts)}"] if parts else []
    return "; ".join(sentences)


def _changed_options(
    reasons: Mapping[str, str | None], known: Mapping[str, JournalEntry], history: History, signature: str
) -> str:
    runs = dict.fromkeys(entry.run for key, entry in known.items() if reasons[key] == "options")
    now = history.runs[signature]["options"]
    changed = dict.fromkeys(text for run in runs for text in differences(history.runs.get(run, {}).get("options", {}), now))
    return ", ".join([*changed][:3]) + (" ..." if len(changed) > 3 else "")


def _tails(item: InputItem) -> list[str]:
    """Suffixes of an input's path, from its name relative to the named folder to the whole path."""
    name, parts = escaped(item.name), PurePath(item.key).parts
    depth = len(PurePosixPath(name).parts)
    return [name, *("/".join(parts[-count:]) for count in range(depth + 1, len(parts)))]


def _stems(item: InputItem) -> list[str]:
    stem = slug(item.stem)
    digest = hashlib.sha256(item.key.encode()).hexdigest()
    about = [f"{stem}-{slug(item.about)}"] if item.about else []
    return [stem, *about, f"{stem}-{digest[:6]}", f"{stem}-{digest}"]


def _free(candidates: Sequence[str], taken: set[str]) -> str:
    """First candidate that is not taken, ignoring case; else the last."""
    return next((text for text in candidates if text not in taken and text.casefold() not in taken), candidates[-1])
