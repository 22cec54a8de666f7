"""What `predict` leaves of recordings and their scores: a folder for each with its times as MIDI, tables, sound and pages."""

from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from datamodules.alignment.sounds import EMBEDDED
from datamodules.errors import DataError
from tasks.alignment.aligned import Aligned, notes_played
from tasks.alignment.outputs.files import FILES, Wanted, write_files
from tasks.tables import write_csv
from tasks.writers.base import PredictionFiles, PredictionWriter, of_all
from tasks.writers.journal import Entry, plain
from tasks.writers.parts import counted
from tasks.writers.whole import write_json


class AlignmentWriter(PredictionWriter):
    """Write `<folder>/<recording>/` for each recording, and alignments.csv and .json of them all.

    Always: warped.mid (the score in the recording's time, a sequencer's grid on its beats), notes.csv, beats.csv, bars.csv and
    labels.txt for Audacity.

    Args:
        folder: where everything goes (default: `predictions` in the run folder)
        page: write page.html, which plays the recording and follows the score
        check: write check.flac, the recording on the left, the score in its time on the right
        clicks: write clicks.wav, the recording with a click on every beat
        picture: write path.png, the path over the distances of all frames
        font: SoundFont (.sf2) that plays the score in check.flac (default: the embedded one)
        overwrite: forget the predictions of earlier runs
    """

    reserved = ("alignments.csv", "alignments.json")

    def __init__(
        self,
        folder: str | None = None,
        page: bool = True,
        check: bool = True,
        clicks: bool = True,
        picture: bool = True,
        font: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.wanted = Wanted(page=page, check=check, clicks=clicks, picture=picture, font=font or EMBEDDED)
        extras = {"page": page, "check": check and self.wanted.font, "clicks": clicks, "picture": picture}
        super().__init__(folder, overwrite, extras)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to start without the SoundFont asked for."""
        font = self.wanted.font
        if self.wanted.check and font != EMBEDDED and not Path(font).expanduser().is_file():
            raise DataError(f"--output.font: {font} is no file: name a SoundFont (.sf2), or leave it out for the embedded one")

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Aligned, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write the folder of one recording; returns what the list of all says of it."""
        score = prediction.score._replace(path=plain(prediction.score.path))
        aligned = prediction._replace(path=plain(prediction.path), score=score)
        with files.folder(FILES) as place:
            write_files(place, aligned, self.wanted)
        return {"folder": files.stem} | _summary(aligned) | {"damage": batch.damage or ""}

    def write_tables(self, pl_module: LightningModule, good: list[Entry], failed: list[Entry]) -> None:
        """Write alignments.csv and alignments.json."""
        files = {entry.file: dict(entry.row) for entry in good}
        content = {"files": files, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "alignments.json", content)
        rows = [{"file": entry.file} | entry.row | {"remarks": " ".join(entry.row["remarks"])} for entry in good]
        write_csv(self.root / "alignments.csv", rows)

    def report(self, pl_module: LightningModule, new: list[Entry], good: list[Entry]) -> None:
        """Say what the user must know of each recording."""
        print(f"\n{counted(len(new), 'recording')} aligned{of_all(new, good)}: {self.root / 'alignments.csv'}", flush=True)
        for entry in new:
            damage = entry.row["damage"]
            for remark in [*entry.row["remarks"], *([f"it {damage}, and ends there"] if damage else [])]:
                print(f"  {Path(entry.file).name}: {remark}", flush=True)


def _summary(aligned: Aligned) -> dict[str, Any]:
    """What the list of all recordings says of one."""
    played = notes_played(aligned)
    return {
        "score": aligned.score.path,
        "duration_s": round(aligned.duration_s, 3),
        "begin_s": round(float(aligned.span[0]), 3),
        "end_s": round(float(aligned.span[1]), 3),
        "transposition": int(aligned.transposition),
        "tuning_cents": round(float(aligned.tuning_cents), 1),
        "unfolding": aligned.unfolding,
        "cost": round(float(aligned.cost), 6),
        "confidence": round(float(np.median(played.confidence)), 4),
        "notes": len(played.index),
        "notes_left_out": len(aligned.score.notes.onset) - len(np.unique(played.index)),
        "passes": len(aligned.passes),
        "remarks": [str(remark) for remark in aligned.remarks],
    }
