"""What `predict` leaves of recordings and their scores: a folder for each with its times as MIDI, tables, sound and pages."""

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

# An alignment to be heard: the score beside the recording in stereo, and a click on every beat.

CLICK_S, DECAY_S = 0.05, 0.012
BEAT_HZ, DOWNBEAT_HZ = 1500.0, 2500.0
RECORDING_PEAK, CLICK_PEAK = 0.55, 0.4
"""Together below full scale, whatever the recording's own level."""
CHECK_PEAK = 0.95


def warped(aligned: Aligned) -> Notes:
    """The score's notes at the times at which the recording plays them, at their written pitches."""
    played, notes = notes_played(aligned), aligned.score.notes
    columns = (column[played.index] for column in (notes.pitch, notes.velocity, notes.program))
    return notes_of(played.time[:, 0], played.time[:, 1], *columns)


def check(aligned: Aligned, font: str = EMBEDDED) -> np.ndarray:
    """The recording left, the score in its time, key and tuning right (samples, 2), equally loud, as long as the recording.

    font: SoundFont file. Raises DataError where the score cannot be rendered.
    """
    notes, samples = warped(aligned), len(aligned.audio)
    made = np.zeros(samples, np.float32)
    if len(notes.pitch):
        moved = np.where(notes.program < 0, notes.pitch, np.clip(notes.pitch + aligned.transposition, 0, 127))
        heard = synthesize(notes._replace(pitch=moved), aligned.sample_rate, font, aligned.tuning_cents)[:samples]
        made[: len(heard)] = heard
    loud, made_loud = _loudness(aligned.audio), _loudness(made)
    sides = np.stack([aligned.audio, made * (loud / made_loud if loud and made_loud else 1.0)], 1)
    return (sides * (CHECK_PEAK / (np.abs(sides).max(initial=0.0) or 1.0))).astype(np.float32)


def clicks(aligned: Aligned) -> np.ndarray:
    """The recording (samples,) with a click on every beat that it plays, a higher one on the first of each bar."""
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
    """A tone that is there at once and dies away."""
    time = np.arange(round(CLICK_S * rate)) / rate
    return (CLICK_PEAK * np.cos(2 * np.pi * hertz * time) * np.exp(-time / DECAY_S)).astype(np.float32)


def _loudness(audio: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0


# The files that one aligned recording becomes.

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
"""Every name that `write_files` may give."""


class AlignmentFiles(NamedTuple):
    """Which files are made beside the MIDI file and the tables; the SoundFont of the check."""

    page: bool
    check: bool
    clicks: bool
    picture: bool
    font: str


def write_files(place: Path, aligned: Aligned, wanted: AlignmentFiles) -> None:
    """Fill a folder. Raises DataError where no note was found in the recording, or the score cannot be rendered."""
    notes = warped(aligned)
    if not len(notes.pitch):
        raise DataError(f"{aligned.path} holds no note of {aligned.score.path}: is it the right score?")
    beats, bars = (np.unique(found.time) for found in (beats_played(aligned), bars_played(aligned)))
    (place / "warped.mid").write_bytes(write_midi(notes, beats[beats >= 0], bars))
    for name, rows in (("notes", note_rows(aligned)), ("beats", beat_rows(aligned)), ("bars", bar_rows(aligned))):
        write_csv(place / f"{name}.csv", rows)
    (place / "labels.txt").write_text(labels(aligned), encoding="utf-8")
    rate = aligned.sample_rate
    if wanted.check:
        soundfile.write(place / "check.flac", to_int16(check(aligned, wanted.font)), rate)
    if wanted.clicks:
        soundfile.write(place / "clicks.wav", to_int16(clicks(aligned)), rate)
    if wanted.picture:
        write_figure(place / "path.png", _picture(aligned))
    if wanted.page:
        _write_page(place, aligned)


def _write_page(place: Path, aligned: Aligned) -> None:
    """The page with its sound inside, or beside it where that would be too much. FLAC: mp3 begins late in some players."""
    sound = io.BytesIO()
    soundfile.write(sound, to_int16(aligned.audio), aligned.sample_rate, format="FLAC")
    address = embedded(sound.getvalue())
    if address is None:
        address = "recording.flac"
        (place / address).write_bytes(sound.getvalue())
    (place / "page.html").write_text(page(aligned, address), encoding="utf-8")


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
        self.wanted = AlignmentFiles(page=page, check=check, clicks=clicks, picture=picture, font=font or EMBEDDED)
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

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write alignments.csv and alignments.json."""
        files = {entry.file: dict(entry.row) for entry in good}
        content = {"files": files, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "alignments.json", content)
        rows = [{"file": entry.file} | entry.row | {"remarks": " ".join(entry.row["remarks"])} for entry in good]
        write_csv(self.root / "alignments.csv", rows)

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
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
