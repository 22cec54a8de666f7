"""What `predict` leaves of music that was asked for: a folder for each piece with the answers as MIDI, score, picture, sound."""

import json
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from datamodules.errors import DataError
from datamodules.symbolic.grid import bar_edges
from datamodules.symbolic.user_pieces import name_of
from tasks.generation.ladder import Answer, Writer
from tasks.generation.outputs import PATTERNS, Wanted, only_in_midi, write_piece
from tasks.tables import write_csv
from tasks.writers.folder import filled
from tasks.writers.parts import Parts, counted, refuse, unique_stem
from tasks.writers.stem_files import check_writable


class GenerationWriter(BasePredictionWriter):
    """Write `<folder>/<piece>/01.mid`, .musicxml, .png, .wav, .svg where verovio is installed; written.csv and .json of all.

    Args:
        folder: where everything goes (default: `predictions` in the run folder)
        score: write MusicXML, and a picture of it where verovio is installed
        picture: write the piano roll, what was given hatched
        sound: write a preview with the embedded SoundFont
        overwrite: replace the predictions of an earlier run
    """

    def __init__(
        self, folder: str | None = None, score: bool = True, picture: bool = True, sound: bool = True, overwrite: bool = False
    ) -> None:
        super().__init__("batch")
        self.folder, self.overwrite, self.wanted = folder, overwrite, Wanted(score, picture, sound)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to overwrite, to write where nobody may, and what the system was not made for."""
        if stage != "predict":
            return
        root = Path(self.folder)
        refuse(trainer, root / "written.csv", self.overwrite)
        Writer(pl_module).check(trainer.datamodule.use)
        if trainer.is_global_zero:
            check_writable(root)
        self.parts = Parts(root, trainer.global_rank)

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *args: Any) -> None:
        """Write what belongs to one question at once, so that nothing is lost when a later one fails."""
        batch = args[1]
        if isinstance(prediction, str):
            self._failed(trainer, batch.path, prediction)
            return
        # As if it were a file's name, whose last ending goes.
        stem = unique_stem(batch.path if batch.use != "interpolate" else f"{name_of(batch.path)}.mid")
        try:
            with filled(self.parts.root / stem, PATTERNS) as place:
                remarks = [text for k, answer in enumerate(prediction, 1) for text in self._write(place, k, batch, answer)]
                remarks = list(dict.fromkeys(remarks))
        except DataError as error:
            self._failed(trainer, batch.path, str(error))
            return
        self.parts.add({"file": batch.path, "folder": stem, "use": batch.use} | _summary(prediction) | {"remarks": remarks})

    def _write(self, place: Path, number: int, batch: Any, answer: Answer) -> list[str]:
        title = f"{name_of(batch.path)}: {batch.use}, {number}" if batch.pieces[0].notes.size else f"{batch.use}, {number}"
        missing = write_piece(place, f"{number:02d}", answer.piece, answer.given, title, self.wanted, answer.midi())
        return [*answer.remarks, *only_in_midi(answer, self.wanted), *missing]

    def _failed(self, trainer: Trainer, path: str, reason: str) -> None:
        if trainer.datamodule.strict:
            raise DataError(reason)
        self.parts.add({"file": path, "error": reason})

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' parts into written.csv and written.json; say what the user must know of each piece."""
        merged = self.parts.finish(trainer)
        if merged is None:
            return
        good, failed = merged
        files = {row["file"]: {key: value for key, value in row.items() if key != "file"} for row in good}
        content = {"files": files, "failed": {row["file"]: row["error"] for row in failed}, "left_out": self.parts.left_out}
        self.parts.write("written.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        write_csv(self.parts.root / "written.csv", [row | {"remarks": " ".join(row["remarks"])} for row in good])
        answers = sum(row["answers"] for row in good)
        print(f"\n{counted(answers, 'piece')} written: {self.parts.root / 'written.csv'}", flush=True)
        for row in good:
            print(f"  {self.parts.root / row['folder']}", *(f"    {remark}" for remark in row["remarks"]), sep="\n", flush=True)


def _summary(answers: list[Answer]) -> dict[str, Any]:
    """What the list of all questions says of one."""
    first = answers[0].piece
    return {
        "answers": len(answers),
        "bars": len(bar_edges(first)) - 1,
        "notes": len(first.notes),
        "given_notes": len(answers[0].given.notes),
        "metre": f"{first.beats}/{first.beat_type}",
    }
