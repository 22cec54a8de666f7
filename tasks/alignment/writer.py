"""Writer of alignments: aligned recordings -> a folder each with MIDI, tables, audio, figure and page."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from pytorch_lightning import LightningModule, Trainer

from datamodules.alignment.score import Notes, notes_of
from datamodules.alignment.sounds import EMBEDDED, synthesize
from datamodules.alignment.warped import write_midi
from datamodules.audio.reading import to_int16
from datamodules.common.errors import DataError
from tasks.alignment.aligned import Aligned, bars_played, beats_played, notes_played
from tasks.alignment.figures import path_picture
from tasks.alignment.output_tables import bar_rows, beat_numbers, beat_rows, labels, note_rows
from tasks.alignment.page import embedded, page
from tasks.reporting.tables import write_csv
from tasks.writers.base import PredictionFiles, PredictionWriter, of_all
from tasks.writers.journal import JournalEntry, plain
from tasks.writers.output_files import counted, write_figure, write_json

# Audio of an alignment

CLICK_S, DECAY_S = 0.05, 0.012
BEAT_HZ, DOWNBEAT_HZ = 1500.0, 2500.0
RECORDING_PEAK, CLICK_PEAK = 0.55, 0.4
"""Their sum is below full scale."""
CHECK_PEAK = 0.95


def warped(aligned: Aligned) -> Notes:
    """Notes of the score at their times in the recording and their written pitches."""
    played, notes = notes_played(aligned), aligned.score.notes
    columns = (column[played.index] for column in (notes.pitch, notes.velocity, notes.program))
    return notes_of(played.time[:, 0], played.time[:, 1], *columns)


def check(aligned: Aligned, font: str = EMBEDDED) -> np.ndarray:
    """Stereo audio (samples, 2): recording left, and right the score in its time, key and tuning, equally loud.

    Args:
        aligned: alignment
        font: SoundFont file

    Raises:
        DataError: the score cannot be rendered.
    """
    notes, samples = warped(aligned), len(aligned.audio)
    score = np.zeros(samples, np.float32)
    if len(notes.pitch):
        pitch = np.where(notes.program < 0, notes.pitch, np.clip(notes.pitch + aligned.transposition, 0, 127))
        sound = synthesize(notes._replace(pitch=pitch), aligned.sample_rate, font, aligned.tuning_cents)[:samples]
        score[: len(sound)] = sound
    level, score_level = _rms(aligned.audio), _rms(score)
    sides = np.stack([aligned.audio, score * (level / score_level if level and score_level else 1.0)], 1)
    return (sides * (CHECK_PEAK / (np.abs(sides).max(initial=0.0) or 1.0))).astype(np.float32)


def clicks(aligned: Aligned) -> np.ndarray:
    """Recording (samples,) with a click on every played beat, higher on the first beat of each bar."""
    played, numbers, rate = beats_played(aligned), beat_numbers(aligned.score), aligned.sample_rate
    clicked = np.zeros(len(aligned.audio), np.float32)
    high, low = _click(DOWNBEAT_HZ, rate), _click(BEAT_HZ, rate)
    for time, i in zip(played.time[:, 0], played.index, strict=True):
        start = round(float(time) * rate)
        if 0 <= start < len(clicked):
            room = clicked[start : start + len(low)]
            room[:] = (high if numbers[i] == 1 else low)[: len(room)]
    peak = float(np.abs(aligned.audio).max(initial=0.0)) or 1.0
    return aligned.audio * np.float32(RECORDING_PEAK / peak) + clicked


def _click(hertz: float, rate: int) -> np.ndarray:
    """Exponentially decaying tone."""
    time = np.arange(round(CLICK_S * rate)) / rate
    return (CLICK_PEAK * np.cos(2 * np.pi * hertz * time) * np.exp(-time / DECAY_S)).astype(np.float32)


def _rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


# Output files

FILES = (
    "warped.mid",
    "notes.csv",
    "beats.csv",
    "bars.csv",
    "labels.txt",
    "check.flac",
    "clicks.wav",
    "path.png",
    "page.html",
    "recording.flac",
)
"""Names of all files of `write_files`."""


class AlignmentFiles(NamedTuple):
    """Optional files beside the MIDI file and the tables, and the SoundFont of check.flac."""

    page: bool
    check: bool
    clicks: bool
    picture: bool
    font: str


def write_files(folder: Path, aligned: Aligned, options: AlignmentFiles) -> None:
    """Write the files of an alignment.

    Args:
        folder: folder to write into
        aligned: alignment
        options: optional files

    Raises:
        DataError: the recording has no note of the score, or the score cannot be rendered.
    """
    notes = warped(aligned)
    if not len(notes.pitch):
        raise DataError(f"{aligned.path} has no note of {aligned.score.path}: the score may belong to another piece")
    beats, bars = (np.unique(played.time) for played in (beats_played(aligned), bars_played(aligned)))
    (folder / "warped.mid").write_bytes(write_midi(notes, beats[beats >= 0], bars))
    for name, rows in (("notes", note_rows(aligned)), ("beats", beat_rows(aligned)), ("bars", bar_rows(aligned))):
        write_csv(folder / f"{name}.csv", rows)
    (folder / "labels.txt").write_text(labels(aligned), encoding="utf-8")
    rate = aligned.sample_rate
    if options.check:
        soundfile.write(folder / "check.flac", to_int16(check(aligned, options.font)), rate)
    if options.clicks:
        soundfile.write(folder / "clicks.wav", to_int16(clicks(aligned)), rate)
    if options.picture:
        write_figure(folder / "path.png", _picture(aligned))
    if options.page:
        _write_page(folder, aligned)


def _write_page(folder: Path, aligned: Aligned) -> None:
    """Write the page with its audio embedded, or in a separate file if it is large. FLAC, as mp3 starts late in some players."""
    sound = io.BytesIO()
    soundfile.write(sound, to_int16(aligned.audio), aligned.sample_rate, format="FLAC")
    address = embedded(sound.getvalue())
    if address is None:
        address = "recording.flac"
        (folder / address).write_bytes(sound.getvalue())
    (folder / "page.html").write_text(page(aligned, address), encoding="utf-8")


def _picture(aligned: Aligned) -> Any:
    played = notes_played(aligned)
    return path_picture(
        aligned.distance,
        extent=aligned.extent,
        path=np.stack([aligned.rows, aligned.columns], 1) * aligned.frame_s,
        bars=aligned.score.bars,
        confidence=np.stack([played.time[:, 0], played.confidence], 1),
        title=Path(aligned.path).name,
    )


class AlignmentWriter(PredictionWriter):
    """Write a folder `<folder>/<recording>/` per recording, and alignments.csv and .json of all.

    Always written: warped.mid (the score in the recording's time with tempo changes on its beats), notes.csv, beats.csv,
    bars.csv and labels.txt for Audacity.

    Args:
        folder: output folder (default: `predictions` in the run folder)
        page: write page.html, which plays the recording and follows the score
        check: write check.flac, recording left, score in its time right
        clicks: write clicks.wav, the recording with a click on every beat
        picture: write path.png, the path over the distances of all frames
        font: SoundFont (.sf2) of the score in check.flac (default: the embedded one)
        overwrite: remove the predictions of earlier runs
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
        self.files = AlignmentFiles(page=page, check=check, clicks=clicks, picture=picture, font=font or EMBEDDED)
        extras = {"page": page, "check": check and self.files.font, "clicks": clicks, "picture": picture}
        super().__init__(folder, overwrite, extras)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the SoundFont exists."""
        font = self.files.font
        if self.files.check and font != EMBEDDED and not Path(font).expanduser().is_file():
            raise DataError(f"--output.font: {font} not found: name a SoundFont (.sf2), or omit the option for the embedded one")

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Aligned, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write the folder of one recording; returns its row of alignments.csv."""
        score = prediction.score._replace(path=plain(prediction.score.path))
        aligned = prediction._replace(path=plain(prediction.path), score=score)
        with files.folder(FILES) as folder:
            write_files(folder, aligned, self.files)
        return {"folder": files.stem} | _summary(aligned) | {"damage": batch.damage or ""}

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write alignments.csv and alignments.json."""
        files = {entry.file: dict(entry.row) for entry in good}
        content = {"files": files, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "alignments.json", content)
        rows = [{"file": entry.file} | entry.row | {"remarks": " ".join(entry.row["remarks"])} for entry in good]
        write_csv(self.root / "alignments.csv", rows)

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
        """Print the remarks on each recording."""
        print(f"\n{counted(len(new), 'recording')} aligned{of_all(new, good)}: {self.root / 'alignments.csv'}", flush=True)
        for entry in new:
            damage = entry.row["damage"]
            for remark in [*entry.row["remarks"], *([f"it {damage}, and ends there"] if damage else [])]:
                print(f"  {Path(entry.file).name}: {remark}", flush=True)


def _summary(aligned: Aligned) -> dict[str, Any]:
    """Row of alignments.csv."""
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
        "passes": len(aligned.segments),
        "remarks": [str(remark) for remark in aligned.remarks],
    }
