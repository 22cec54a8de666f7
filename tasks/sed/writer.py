"""Output of `predict` for sound event detection: tables of events and tags, and scores and a timeline per file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from datamodules.audio.reading import AudioBlocks
from datamodules.common.errors import escaped
from datamodules.sed.event_files import read_events
from tasks.reporting.tables import write_csv
from tasks.sed.figures import Span, spectrogram, timeline
from tasks.writers.base import PredictionFiles, PredictionWriter, of_all
from tasks.writers.journal import JournalEntry
from tasks.writers.output_files import counted, write_json, write_text
from tasks.writers.resume import content_digest

LISTED = 6  # names in a remark
PICTURE_S = 600  # maximum length of a timeline; of a longer recording its beginning is drawn, s
ESCAPES = {ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}  # characters of file names that would end a cell or a row


class Reference(NamedTuple):
    """Reference events (onset, offset, class) by file path, and unmatched files and names."""

    events: dict[str, list[Span]]
    missing: list[str]  # files without rows
    unused: list[str]  # names in the table without a file

    def remarks(self, table: str) -> list[str]:
        """Sentences on unmatched files and names."""
        lines = []
        if self.missing:
            lines.append(f"{table} has no rows for {_listed(self.missing, 'file')}")
        if self.unused:
            lines.append(f"not among the inputs, but in {table}: {_listed(self.unused, 'file')}")
        return lines


def read_reference(table: str, classes: list[str], paths: Sequence[str]) -> Reference:
    """Read a table of reference events, and match its names with the paths of files.

    Raises:
        DataError: table not found, or a label that is not a class.
    """
    labels = read_events(table, classes)
    spans: dict[str, list[Span]] = {name: [] for name in labels.names}
    for clip, label, onset, offset in zip(*labels.events, strict=True):
        spans[labels.names[clip]].append((float(onset), float(offset), labels.classes[label]))
    absolute = {str(Path(path).expanduser().absolute()): path for path in paths}
    names = match_tails(list(absolute), list(labels.names))
    events = {path: spans[names[file]] for file, path in absolute.items() if file in names}
    missing = [escaped(path) for file, path in absolute.items() if file not in names]
    used = set(names.values())
    return Reference(events, missing, [escaped(name) for name in labels.names if name not in used])


def match_tails(paths: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Match paths with names by their longest common tail, at least the file name: path -> name.

    Longer tails are matched first and one to one; ambiguous matches are dropped.
    """
    by_file: dict[str, list[str]] = {}
    for name in names:
        by_file.setdefault(_parts(name)[0], []).append(name)
    tails: dict[int, list[tuple[str, str]]] = {}
    for path in paths:
        for name in by_file.get(_parts(path)[0], []):
            tails.setdefault(_tail(path, name), []).append((path, name))
    matches: dict[str, str] = {}
    settled_paths: set[str] = set()
    settled_names: set[str] = set()
    for length in sorted(tails, reverse=True):
        pairs = [(path, name) for path, name in tails[length] if path not in settled_paths and name not in settled_names]
        path_counts, name_counts = Counter(path for path, _ in pairs), Counter(name for _, name in pairs)
        matches |= {path: name for path, name in pairs if path_counts[path] == name_counts[name] == 1}
        settled_paths |= path_counts.keys()
        settled_names |= name_counts.keys()
    return matches


def _parts(path: str) -> tuple[str, ...]:
    """Components of a path of any operating system, last first."""
    return tuple(reversed([part for part in path.replace("\\", "/").split("/") if part not in ("", ".")])) or ("",)


def _tail(path: str, name: str) -> int:
    """Number of trailing components that two paths share."""
    pairs = zip(_parts(path), _parts(name), strict=False)
    return next((count for count, (left, right) in enumerate(pairs) if left != right), min(len(_parts(path)), len(_parts(name))))


def _listed(names: Sequence[str], thing: str) -> str:
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(names)} {thing}{'s' * (len(names) > 1)} ({', '.join(Path(name).name for name in names[:LISTED])}{rest})"


class EventWriter(PredictionWriter):
    """Writer of events.tsv and tags.csv of all files, and of scores and a timeline per file.

    events.tsv names files relative to the input folder; the score of an event is the mean probability of its class. Events are
    detected with the network's inference options.

    Args:
        folder: output folder (default: `predictions` in the run folder)
        scores: write `scores/<file>.npz`: frames (frames, classes), clip (classes,), times (frames,) s, classes
        pictures: write `timelines/<file>.png`
        reference: table of reference events (filename, onset, offset, event_label) to draw beside detected ones; its files are
            matched with the inputs by the longest common tail of their paths
        overwrite: delete the predictions of earlier runs
    """

    reserved = ("events.tsv", "tags.csv", "report.json", "scores", "timelines")

    def __init__(
        self,
        folder: str | None = None,
        scores: bool = True,
        pictures: bool = True,
        reference: str | None = None,
        overwrite: bool = False,
    ) -> None:
        if reference is not None and not pictures:
            raise ValueError("--output.reference needs --output.pictures true")
        true = content_digest(reference) if reference is not None and Path(reference).is_file() else None
        super().__init__(folder, overwrite, {"scores": scores, "pictures": pictures, "reference": true})
        self.scores, self.pictures, self.reference = scores, pictures, reference

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the reference events; their labels must be classes of the network."""
        self.true = Reference({}, [], [])
        if self.reference is not None:
            paths = [item.path for item in trainer.datamodule.items()]
            self.true = read_reference(self.reference, pl_module.classes, paths)

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write scores and timeline of one file; return its row of the journal."""
        scores = prediction.scores
        if self.scores:
            times = np.arange(len(scores.frames)) * scores.frame_s
            arrays = {"frames": scores.frames, "clip": scores.clip, "times": times}
            files.arrays(f"scores/{files.stem}.npz", arrays | {"classes": np.array(pl_module.classes)})
        if self.pictures:
            files.figure(f"timelines/{files.stem}.png", self._picture(pl_module, batch.path, prediction, files.title))
        return {
            "duration_s": round(scores.duration_s, 3),
            "events": [_event_row(event, scores, pl_module.classes) for event in prediction.events],
            "tags": list(prediction.tags),
            "clip": [round(float(score), 6) for score in scores.clip],
            "remarks": list(scores.remarks),
        }

    def _picture(self, detector: LightningModule, path: str, prediction: Any, title: str) -> Any:
        scores, sample_rate = prediction.scores, detector.grid.sample_rate
        levels, hertz, hop_s = spectrogram(_beginning(path, PICTURE_S * sample_rate, sample_rate), sample_rate)
        true = self.true.events.get(path)
        return timeline(
            scores.frames[: int(PICTURE_S / scores.frame_s)],
            classes=detector.classes,
            frame_s=scores.frame_s,
            events=[event for event in prediction.events if event.onset < PICTURE_S],
            title=title,
            reference=None if true is None else [event for event in true if event[0] < PICTURE_S],
            spectrogram=levels,
            mel_hertz=hertz,
            hop_s=hop_s,
            duration_s=scores.duration_s,
        )

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write events.tsv, tags.csv and report.json; a file without events has one row of empty cells."""
        lines = ["filename\tonset\toffset\tevent_label\tscore\n"]
        for entry in sorted(good, key=lambda entry: entry.name):
            name = entry.name.translate(ESCAPES)
            lines += [f"{name}\t{on:.3f}\t{off:.3f}\t{label}\t{score:.4f}\n" for on, off, label, score in entry.row["events"]]
            if not entry.row["events"]:
                lines.append(f"{name}\t\t\t\t\n")
        write_text(self.root / "events.tsv", "".join(lines))
        tags = [
            {"file": entry.file, "duration_s": entry.row["duration_s"], "tags": ",".join(entry.row["tags"])}
            | dict(zip(pl_module.classes, entry.row["clip"], strict=True))
            for entry in good
        ]
        write_csv(self.root / "tags.csv", tags)
        content = {"failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "report.json", content)

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
        """Print the paths of the tables, remarks on files, and unmatched references."""
        events = counted(sum(len(entry.row["events"]) for entry in new), "event")
        tables = f"{self.root / 'events.tsv'}, {self.root / 'tags.csv'}"
        print(f"\n{events} in {counted(len(new), 'file')}{of_all(new, good)}: {tables}", flush=True)
        for entry in new:
            for remark in entry.row["remarks"]:
                print(f"{entry.file}: {remark}", flush=True)
        for line in self.true.remarks(str(self.reference)):
            print(f"reference: {line}", flush=True)


def _beginning(path: str, samples: int, sample_rate: int) -> np.ndarray:
    """First samples of a file, (samples,) at `sample_rate`, decoded again like the network's input."""
    blocks, length = [], 0
    for block in AudioBlocks(path, sample_rate):
        blocks.append(block)
        length += len(block)
        if length >= samples:
            break
    return np.concatenate(blocks)[:samples]


def _event_row(event: Any, scores: Any, classes: list[str]) -> list[Any]:
    """Onset, offset, class and score of an event, the mean probability of its class over its frames."""
    first = int(event.onset / scores.frame_s + 1e-6)
    last = max(first + 1, round(event.offset / scores.frame_s))
    score = scores.frames[first:last, classes.index(event.label)].mean()
    return [round(event.onset, 3), round(event.offset, 3), event.label, round(float(score), 4)]
