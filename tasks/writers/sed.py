"""What `predict` leaves of recordings: tables of events and tags, scores and a timeline for each file."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from datamodules.event_files import read_events
from datamodules.events import table, to_tsv
from tasks.figures.sed import Span, timeline
from tasks.sed.pictures import spectrogram
from tasks.tables import write_csv
from tasks.writers.parts import Parts, counted, refuse, unique_stem
from tasks.writers.whole import write_json

SHOWN_S = 600.0
"""Of a longer recording the picture shows the beginning, s."""


class EventWriter(BasePredictionWriter):
    """Write events.tsv and tags.csv of all files, and for each its scores and a picture.

    Args:
        folder: where everything goes (default: `predictions` in the run folder)
        thresholds: events by the thresholds and filters that were best in validation, or `fixed` at 0.5 and 7 frames
        window: length of the windows that a longer recording is heard in, s
        step: from one window to the next, s
        scores: write `scores/<file>.npz`: frames (frames, classes), clip (classes,), times (frames,) s, classes
        pictures: write `timelines/<file>.png`
        reference: table of true events (filename, onset, offset, event_label) to draw beside those found
        overwrite: replace the predictions of an earlier run
    """

    def __init__(
        self,
        folder: str | None = None,
        thresholds: Literal["tuned", "fixed"] = "tuned",
        window: float = 10.0,
        step: float = 5.0,
        scores: bool = True,
        pictures: bool = True,
        reference: str | None = None,
        overwrite: bool = False,
    ) -> None:
        super().__init__("batch")
        if not 0 < step <= window:
            raise ValueError(f"--output.step must be above 0 s and at most --output.window, got {step} and {window}")
        self.folder, self.thresholds, self.window, self.step = folder, thresholds, window, step
        self.scores, self.pictures, self.reference, self.overwrite = scores, pictures, reference, overwrite

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to overwrite; read the reference, whose labels must be the network's."""
        if stage != "predict":
            return
        root = Path(self.folder)
        refuse(trainer, root / "events.tsv", self.overwrite)
        self.true = self._true(pl_module.classes)
        self.parts = Parts(root, trainer.global_rank)
        pl_module.listen(self.thresholds, self.window, self.step, SHOWN_S if self.pictures else 0.0)

    def _true(self, classes: list[str]) -> dict[str, list[Span]]:
        if self.reference is None:
            return {}
        known = read_events(self.reference, classes)
        found: dict[str, list[Span]] = {name: [] for name in known.names}
        for clip, label, onset, offset in zip(*known.events, strict=True):
            found[known.names[clip]].append((float(onset), float(offset), known.classes[label]))
        return found

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *args: Any) -> None:
        """Write what belongs to one file at once, so that nothing is lost when a later file fails."""
        batch = args[1]
        if batch.error is not None or prediction.error is not None:
            self.parts.add({"file": batch.path, "error": batch.error or prediction.error})
            return
        found, stem = prediction.found, unique_stem(batch.path)
        if self.scores:
            times = np.arange(len(found.scores.frames)) * found.scores.frame_s
            arrays = {"frames": found.scores.frames, "clip": found.scores.clip, "times": times}
            self.parts.arrays(f"scores/{stem}.npz", arrays | {"classes": np.array(pl_module.classes)})
        if self.pictures:
            self.parts.figure(f"timelines/{stem}.png", self._picture(pl_module, batch.path, prediction.audio, found))
        self.parts.add(
            {
                "file": batch.path,
                "duration_s": round(found.scores.duration_s, 3),
                "events": [[round(event.onset, 3), round(event.offset, 3), event.label] for event in found.events],
                "tags": found.tags,
                "clip": [round(float(score), 6) for score in found.scores.clip],
                "remarks": list(found.scores.remarks),
            }
        )

    def _picture(self, detector: LightningModule, path: str, audio: np.ndarray, found: Any) -> Any:
        shown = int(SHOWN_S / found.scores.frame_s)
        levels, hertz, hop_s = spectrogram(audio, detector.grid.sample_rate)
        true = self.true.get(Path(path).name)
        return timeline(
            found.scores.frames[:shown],
            classes=detector.classes,
            frame_s=found.scores.frame_s,
            events=[event for event in found.events if event.onset < SHOWN_S],
            title=Path(path).name,
            reference=None if true is None else [event for event in true if event[0] < SHOWN_S],
            spectrogram=levels,
            mel_hertz=hertz,
            hop_s=hop_s,
        )

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' parts into events.tsv and tags.csv; say which files failed."""
        merged = self.parts.finish(trainer)
        if merged is None:
            return
        good, failed = merged
        place = {label: k for k, label in enumerate(pl_module.classes)}
        found = [(clip, place[label], on, off) for clip, row in enumerate(good) for on, off, label in row["events"]]
        events = table(*zip(*found, strict=True))
        self.parts.write("events.tsv", to_tsv([row["file"] for row in good], pl_module.classes, events, empty=False))
        tags = [
            {"file": row["file"], "duration_s": row["duration_s"], "tags": ",".join(row["tags"])}
            | dict(zip(pl_module.classes, row["clip"], strict=True))
            for row in good
        ]
        write_csv(self.parts.root / "tags.csv", tags)
        content = {"failed": {row["file"]: row["error"] for row in failed}, "left_out": self.parts.left_out}
        write_json(self.parts.root / "report.json", content)
        print(
            f"\n{counted(len(found), 'event')} in {counted(len(good), 'file')}: {self.parts.root / 'events.tsv'}, "
            f"{self.parts.root / 'tags.csv'}",
            flush=True,
        )
        for row in good:
            for remark in row["remarks"]:
                print(f"{row['file']}: {remark}", flush=True)
