"""Recordings in MAPS' layout that are heard as the numbers of their frames, so that a test can tell where a crop was taken."""

from pathlib import Path

import numpy as np

from datamodules.alignment.data import AlignmentDataModule
from datamodules.common.input_spec import AlignmentSpec
from tests.helpers.layouts import tone, write_audio
from tests.helpers.score_layouts import onsets_of, write_midi_notes

RATE, HOP = 22_050, 512
FRAME_S = HOP / RATE


def write_recordings(root: Path, pieces: int = 6, pianos=("AkPnBcht", "ENSTDkCl"), seconds: float = 6.0) -> Path:
    """So many pieces on each piano, as long as their twelve notes take."""
    for i, piano in enumerate(pianos):
        for j in range(pieces):
            place = root / f"MAPS_{piano}_1/{piano}/MUS/MAPS_MUS-piece{j}_{piano}"
            write_midi_notes(place.with_suffix(".mid"), onsets_of(10 * i + j))
            write_audio(place.with_suffix(".wav"), tone(seconds, 10 * i + j, RATE), RATE)
    return root


def count_frames(audio: np.ndarray, cents: float) -> np.ndarray:
    """(1, 2, frames): number of each frame, and the cents that it was heard at."""
    frames = 1 + len(audio) // HOP
    return np.stack([np.arange(frames), np.full(frames, cents)])[None].astype(np.float32)


def counted(data: AlignmentDataModule, context: int = 1, extract=count_frames) -> AlignmentDataModule:
    """The data, told to hear as `count_frames` does."""
    data.connect(AlignmentSpec(RATE, FRAME_S, context, extract, lambda: "counted", lambda: False))
    return data
