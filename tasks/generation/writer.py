"""What `predict` leaves of music that was asked for: a folder for each piece with the answers as MIDI, score, picture, sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from datamodules.common.errors import DataError
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import Piece
from datamodules.generation.user_pieces import name_of
from tasks.generation.inference import Answer, Writer
from tasks.reporting.tables import write_csv
from tasks.writers.base import PredictionFiles, PredictionWriter
from tasks.writers.journal import JournalEntry, plain
from tasks.writers.output_files import counted, whole, write_figure, write_json, write_text

# One piece as the files that a user can open: MIDI, MusicXML, a picture, sound.

RATE = 44_100
PATTERNS = ("*.mid", "*.musicxml", "*.png", "*.svg", "*.wav")
"""What is written of pieces, and goes when they are written anew."""


@dataclass
class PieceFiles:
    """Which files; MIDI always."""

    score: bool = True
    picture: bool = True
    sound: bool = True


def write_piece(
    folder: Path, stem: str, piece: Piece, given: Piece | None, title: str, wanted: PieceFiles, midi: bytes | None = None
) -> list[str]:
    """Write `folder`/`stem`.mid, .musicxml, .png, .svg (where verovio is installed) and .wav; returns what could not be made.

    midi: what goes into the MIDI file, where that is more than the piece
    """
    from datamodules.generation.writing.midi import midi_bytes

    missing = []
    _bytes(folder / f"{stem}.mid", midi or midi_bytes(piece))
    if wanted.score:
        missing += _score(folder, stem, piece)
    if wanted.picture:
        from tasks.generation.figures import piano_roll

        write_figure(folder / f"{stem}.png", piano_roll(piece, given, title))
    if wanted.sound and len(piece.notes):
        try:
            _sound(folder / f"{stem}.wav", piece)
        except DataError as reason:
            missing.append(f"no sound: {reason}")
    return missing


def only_in_midi(answer: "Answer", wanted: PieceFiles) -> list[str]:
    """What of a user's file stands in the MIDI file of an answer alone, in sentences."""
    remarks, original = [], answer.original
    if original is None:
        return []
    if original.voice is not None and original.piece.voices > 1 and (wanted.score or wanted.picture or wanted.sound):
        remarks.append("score, picture and sound hold the melody and the written voices; the MIDI file holds the others too")
    counts = original.source.counts() if original.source and wanted.score else {}
    if counts:
        listed = ", ".join(counted(number, name.removesuffix("s")) for name, number in counts.items())
        remarks.append(f"the score holds notes alone: {listed} stand in the MIDI file as they were")
    return remarks


def _score(folder: Path, stem: str, piece: Piece) -> list[str]:
    from datamodules.generation.writing.musicxml import musicxml_bytes
    from tasks.generation.figures import score_svg

    try:
        _bytes(folder / f"{stem}.musicxml", musicxml_bytes(piece))
        if (drawn := score_svg(piece)) is not None:
            write_text(folder / f"{stem}.svg", drawn)
    except ValueError as reason:
        return [f"no score: {reason}"]
    return []


def _sound(path: Path, piece: Piece) -> None:
    import soundfile

    from datamodules.generation.writing.midi import preview

    samples = preview(piece, RATE)
    with whole(path) as temporary:
        soundfile.write(temporary, samples, RATE, subtype="PCM_16", format="WAV")


def _bytes(path: Path, content: bytes) -> None:
    with whole(path) as temporary:
        temporary.write_bytes(content)


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
        self.wanted = PieceFiles(score, picture, sound)

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

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write written.csv and written.json."""
        files = {entry.file: dict(entry.row) for entry in good}
        content = {"files": files, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "written.json", content)
        rows = [{"file": entry.file} | entry.row | {"remarks": "; ".join(entry.row["remarks"])} for entry in good]
        write_csv(self.root / "written.csv", rows)

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
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
