"""What `predict` leaves of music that was asked for: a folder for each piece with the answers as MIDI, score, picture, sound."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from datamodules.symbolic.grid import bar_edges
from datamodules.symbolic.user_pieces import name_of
from tasks.generation.ladder import Answer, Writer
from tasks.generation.outputs import PATTERNS, Wanted, only_in_midi, write_piece
from tasks.tables import write_csv
from tasks.writers.base import PredictionFiles, PredictionWriter
from tasks.writers.journal import Entry, plain
from tasks.writers.parts import counted
from tasks.writers.whole import write_json


class GenerationWriter(PredictionWriter):
    """Write `<folder>/<piece>/01.mid`, .musicxml, .png, .wav, .svg where verovio is installed; written.csv and .json of all.

    Args:
        folder: where everything goes (default: `predictions` in the run folder)
        score: write MusicXML, and a picture of it where verovio is installed
        picture: write the piano roll, what was given hatched
        sound: write a preview with the embedded SoundFont
        overwrite: forget the predictions of earlier runs
    """

    reserved = ("written.csv", "written.json")

    def __init__(
        self, folder: str | None = None, score: bool = True, picture: bool = True, sound: bool = True, overwrite: bool = False
    ) -> None:
        super().__init__(folder, overwrite, {"score": score, "picture": picture, "sound": sound})
        self.wanted = Wanted(score, picture, sound)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a use that the system was not made for."""
        Writer(pl_module).check(trainer.datamodule.use)

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write the folder of one question; returns what the list of all says of it."""
        with files.folder(PATTERNS) as place:
            remarks = [text for k, answer in enumerate(prediction, 1) for text in self._write(place, k, batch, answer)]
        return {"folder": files.stem, "use": batch.use} | _summary(prediction) | {"remarks": list(dict.fromkeys(remarks))}

    def _write(self, place: Path, number: int, batch: Any, answer: Answer) -> list[str]:
        name = plain(name_of(batch.path))
        title = f"{name}: {batch.use}, {number}" if batch.pieces[0].notes.size else f"{batch.use}, {number}"
        missing = write_piece(place, f"{number:02d}", answer.piece, answer.given, title, self.wanted, answer.midi())
        return [*answer.remarks, *only_in_midi(answer, self.wanted), *missing]

    def write_tables(self, pl_module: LightningModule, good: list[Entry], failed: list[Entry]) -> None:
        """Write written.csv and written.json."""
        files = {entry.file: dict(entry.row) for entry in good}
        content = {"files": files, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "written.json", content)
        rows = [{"file": entry.file} | entry.row | {"remarks": "; ".join(entry.row["remarks"])} for entry in good]
        write_csv(self.root / "written.csv", rows)

    def report(self, pl_module: LightningModule, new: list[Entry], good: list[Entry]) -> None:
        """Say where the pieces are and what the user must know of each."""
        answers = sum(entry.row["answers"] for entry in new)
        print(f"\n{counted(answers, 'piece')} written: {self.root / 'written.csv'}", flush=True)
        for entry in new:
            print(f"  {self.root / entry.stem}", *(f"    {remark}" for remark in entry.row["remarks"]), sep="\n", flush=True)


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
