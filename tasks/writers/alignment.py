"""What `predict` leaves of recordings and their scores: a folder for each with its times as MIDI, tables, sound and pages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from datamodules.alignment.sounds import EMBEDDED
from datamodules.errors import DataError
from tasks.alignment.aligned import Aligned, notes_played
from tasks.alignment.outputs.files import FILES, Wanted, write_files
from tasks.tables import write_csv
from tasks.writers.folder import filled
from tasks.writers.parts import Parts, counted, refuse, unique_stem
from tasks.writers.stem_files import check_writable


class AlignmentWriter(BasePredictionWriter):
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
        overwrite: replace the predictions of an earlier run
    """

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
        super().__init__("batch")
        self.folder, self.overwrite = folder, overwrite
        self.wanted = Wanted(page=page, check=check, clicks=clicks, picture=picture, font=font or EMBEDDED)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to overwrite, to write where nobody may, and to start without the SoundFont asked for."""
        if stage != "predict":
            return
        root, font = Path(self.folder), self.wanted.font
        refuse(trainer, root / "alignments.csv", self.overwrite)
        if self.wanted.check and font != EMBEDDED and not Path(font).expanduser().is_file():
            raise DataError(f"--output.font: {font} is no file: name a SoundFont (.sf2), or leave it out for the embedded one")
        if trainer.is_global_zero:
            check_writable(root)
        self.parts = Parts(root, trainer.global_rank)

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *args: Any) -> None:
        """Write what belongs to one recording at once, so that nothing is lost when a later one fails."""
        batch = args[1]
        if batch.error is not None or prediction.error is not None:
            self.parts.add({"file": batch.path, "error": batch.error or prediction.error})
            return
        stem = unique_stem(batch.path)
        try:
            with filled(self.parts.root / stem, FILES) as place:
                write_files(place, prediction.found, self.wanted)
        except DataError as error:
            if trainer.datamodule.strict:
                raise
            self.parts.add({"file": batch.path, "error": str(error)})
            return
        self.parts.add({"file": batch.path, "folder": stem} | _summary(prediction.found) | {"damage": batch.damage or ""})

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' parts into alignments.csv and alignments.json; say what the user must know of each recording."""
        merged = self.parts.finish(trainer)
        if merged is None:
            return
        good, failed = merged
        content = {
            "files": {row["file"]: _without_name(row) for row in good},
            "failed": {row["file"]: row["error"] for row in failed},
            "left_out": self.parts.left_out,
        }
        self.parts.write("alignments.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        write_csv(self.parts.root / "alignments.csv", [row | {"remarks": " ".join(row["remarks"])} for row in good])
        print(f"\n{counted(len(good), 'recording')} aligned: {self.parts.root / 'alignments.csv'}", flush=True)
        for row in good:
            for remark in [*row["remarks"], *([f"it {row['damage']}, and ends there"] if row["damage"] else [])]:
                print(f"  {Path(row['file']).name}: {remark}", flush=True)


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


def _without_name(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "file"}
