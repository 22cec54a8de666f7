"""Writer of generated music: generated pieces -> a folder per input with MIDI, score, piano roll and audio."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from datamodules.common.errors import DataError
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import Piece
from datamodules.generation.user_pieces import name_of
from datamodules.generation.writing.midi import midi_bytes, preview
from datamodules.generation.writing.musicxml import musicxml_bytes
from tasks.generation.figures import piano_roll, score_svg
from tasks.generation.inference import GeneratedPiece, Writer
from tasks.reporting.tables import write_csv
from tasks.writers.base import PredictionFiles, PredictionWriter
from tasks.writers.journal import JournalEntry, plain
from tasks.writers.output_files import counted, whole, write_figure, write_json, write_text

RATE = 44_100
PATTERNS = ("*.mid", "*.musicxml", "*.png", "*.svg", "*.wav")
"""Files of pieces, which are removed before they are written again."""


@dataclass
class PieceFiles:
    """Optional files of a piece beside its MIDI file."""

    score: bool = True
    picture: bool = True
    sound: bool = True


def write_piece(
    folder: Path, stem: str, piece: Piece, fixed: Piece | None, title: str, options: PieceFiles, midi: bytes | None = None
) -> list[str]:
    """Write `folder`/`stem`.mid, .musicxml, .png, .svg (if verovio is installed) and .wav.

    Args:
        folder: output folder
        stem: file name without suffix
        piece: piece
        fixed: input notes, which the piano roll hatches
        title: title of the piano roll
        options: optional files
        midi: content of the MIDI file (default: the piece)

    Returns:
        Messages about files that could not be written.
    """
    missing = []
    _bytes(folder / f"{stem}.mid", midi or midi_bytes(piece))
    if options.score:
        missing += _score(folder, stem, piece)
    if options.picture:
        write_figure(folder / f"{stem}.png", piano_roll(piece, fixed, title))
    if options.sound and len(piece.notes):
        try:
            _sound(folder / f"{stem}.wav", piece)
        except DataError as reason:
            missing.append(f"no sound: {reason}")
    return missing


def only_in_midi(generated: GeneratedPiece, options: PieceFiles) -> list[str]:
    """Remarks on content of the user's file that only the MIDI file of a generated piece keeps."""
    remarks, original = [], generated.original
    if original is None:
        return []
    if original.voice is not None and original.piece.voices > 1 and (options.score or options.picture or options.sound):
        remarks.append("score, picture and sound have the melody and the generated voices; the MIDI file has the others too")
    counts = original.source.counts() if original.source and options.score else {}
    if counts:
        listed = ", ".join(counted(number, name.removesuffix("s")) for name, number in counts.items())
        remarks.append(f"the score has only notes; the MIDI file keeps {listed} of the input")
    return remarks


def _score(folder: Path, stem: str, piece: Piece) -> list[str]:
    try:
        _bytes(folder / f"{stem}.musicxml", musicxml_bytes(piece))
        if (drawn := score_svg(piece)) is not None:
            write_text(folder / f"{stem}.svg", drawn)
    except ValueError as reason:
        return [f"no score: {reason}"]
    return []


def _sound(path: Path, piece: Piece) -> None:
    import soundfile

    samples = preview(piece, RATE)
    with whole(path) as temporary:
        soundfile.write(temporary, samples, RATE, subtype="PCM_16", format="WAV")


def _bytes(path: Path, content: bytes) -> None:
    with whole(path) as temporary:
        temporary.write_bytes(content)


class GenerationWriter(PredictionWriter):
    """Write `<folder>/<piece>/01.mid`, .musicxml, .png, .wav, .svg (if verovio is installed); written.csv and .json of all.

    Args:
        folder: output folder (default: `predictions` in the run folder)
        score: write MusicXML, and an SVG if verovio is installed
        picture: write the piano roll with hatched input notes
        sound: write a preview with the embedded SoundFont
        overwrite: remove the predictions of earlier runs
    """

    reserved = ("written.csv", "written.json")

    def __init__(
        self, folder: str | None = None, score: bool = True, picture: bool = True, sound: bool = True, overwrite: bool = False
    ) -> None:
        super().__init__(folder, overwrite, {"score": score, "picture": picture, "sound": sound})
        self.files = PieceFiles(score, picture, sound)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the system supports the use."""
        Writer(pl_module).check(trainer.datamodule.use)

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write the folder of one input; returns its row of written.csv."""
        with files.folder(PATTERNS) as folder:
            remarks = [text for k, generated in enumerate(prediction, 1) for text in self._write(folder, k, batch, generated)]
        return {"folder": files.stem, "use": batch.use} | _summary(prediction) | {"remarks": list(dict.fromkeys(remarks))}

    def _write(self, folder: Path, number: int, batch: Any, generated: GeneratedPiece) -> list[str]:
        name = plain(name_of(batch.path))
        title = f"{name}: {batch.use}, {number}" if batch.pieces[0].notes.size else f"{batch.use}, {number}"
        stem, midi = f"{number:02d}", generated.midi()
        missing = write_piece(folder, stem, generated.piece, generated.fixed, title, self.files, midi)
        return [*generated.remarks, *only_in_midi(generated, self.files), *missing]

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write written.csv and written.json."""
        files = {entry.file: dict(entry.row) for entry in good}
        content = {"files": files, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "written.json", content)
        rows = [{"file": entry.file} | entry.row | {"remarks": "; ".join(entry.row["remarks"])} for entry in good]
        write_csv(self.root / "written.csv", rows)

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
        """Print folders and remarks."""
        answers = sum(entry.row["answers"] for entry in new)
        print(f"\n{counted(answers, 'piece')} written: {self.root / 'written.csv'}", flush=True)
        for entry in new:
            print(f"  {self.root / entry.stem}", *(f"    {remark}" for remark in entry.row["remarks"]), sep="\n", flush=True)


def _summary(generated: list[GeneratedPiece]) -> dict[str, Any]:
    """Row of written.csv."""
    first = generated[0].piece
    return {
        "answers": len(generated),
        "bars": len(bar_edges(first)) - 1,
        "notes": len(first.notes),
        "given_notes": len(generated[0].fixed.notes),
        "metre": f"{first.beats}/{first.beat_type}",
    }
