"""The files that one aligned recording becomes."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from datamodules.alignment.warped import write_midi
from datamodules.audio import to_int16
from datamodules.errors import DataError
from tasks.alignment.aligned import Aligned, bars_played, beats_played, notes_played
from tasks.alignment.outputs.page import embedded, page
from tasks.alignment.outputs.sounds import check, clicks, warped
from tasks.alignment.outputs.tables import bar_rows, beat_rows, labels, note_rows
from tasks.figures.alignment import path_picture
from tasks.tables import write_csv
from tasks.writers.whole import write_figure

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


class Wanted(NamedTuple):
    """Which files are made beside the MIDI file and the tables; the SoundFont of the check."""

    page: bool
    check: bool
    clicks: bool
    picture: bool
    font: str


def write_files(place: Path, aligned: Aligned, wanted: Wanted) -> None:
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
