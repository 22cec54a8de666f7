"""Sets of recordings and scores of a few notes each, in the real layouts: quick to hear, quick to lay on their scores."""

from pathlib import Path

import numpy as np

from datamodules.alignment.reading import read_score
from datamodules.alignment.sounds import synthesize
from tests.helpers import score_layouts
from tests.helpers.layouts import write_audio

RATE = 22_050
ONSETS = np.array([0.05, 0.3, 0.55])


def write_short_maps(root: Path, pieces: int = 2, onsets: np.ndarray = ONSETS) -> Path:
    """As many recordings as pieces, which sound what their MIDI says; of two one trains, of three each split has one."""
    for seed in range(pieces):
        name = f"MAPS_MUS-piece{seed}_AkPnBcht"
        place = root / "MAPS_AkPnBcht_1" / "AkPnBcht" / "MUS" / name
        midi = score_layouts.write_midi_notes(place.with_suffix(".mid"), onsets * (1 + 0.1 * seed))
        notes = read_score(midi).notes
        write_audio(
            place.with_suffix(".wav"), synthesize(notes, RATE, program=seed)[: int(RATE * (notes.offset.max() + 0.2))], RATE
        )
    return root


def write_short_vienna(root: Path) -> Path:
    """A waltz of a bar by the first pianist and by the last, who validates."""
    piece, names = "Mozart_K331_1st-mov", ("n1a", "n1b", "n1c")
    score_layouts.write_text(root / "musicxml" / f"{piece}.musicxml", score_layouts.musicxml(*score_layouts.waltz(1)))
    for pianist in (1, 22):
        ticks = (960 * ONSETS).astype(int) + pianist
        lines = [score_layouts.match_line(name, i, float(i), int(ticks[i])) for i, name in enumerate(names)]
        score_layouts.write_match(root / "match" / f"{piece}_p{pianist:02}.match", lines)
        score_layouts.write_midi_notes(root / "midi" / f"{piece}_p{pianist:02}.mid", ticks / 960)
    return root
