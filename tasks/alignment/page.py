"""A page that plays a recording and follows its score: one HTML file that fetches nothing."""

import html
from pathlib import Path
from typing import Any

import numpy as np

from tasks.alignment.aligned import Aligned, notes_played
from tasks.alignment.output_tables import bar_rows, beat_rows, note_name
from tasks.reporting import page as reporting
from tasks.reporting.page import filled, text_of
from tasks.writers.output_files import counted

FOLDER = Path(__file__).parent  # of the page that is filled in
EMBEDDED_BYTES = 8 << 20
"""A recording up to this size is put into the page (about 6 minutes); a longer one lies beside it."""


def page(aligned: Aligned, sound: str) -> str:
    """The page of one recording.

    Args:
        aligned: the recording and its score
        sound: where its sound is: a relative address, or the sound itself by `embedded`
    """
    body = filled(text_of(FOLDER / "body.html"), {"about": html.escape(_about(aligned)), "sound": html.escape(sound)})
    style, script = text_of(FOLDER / "page.css"), text_of(FOLDER / "page.js")
    name = Path(aligned.path).name
    return reporting.page(name, body, data=_content(aligned), style=style, script=script, media="data: 'self' file:")


def embedded(flac: bytes) -> str | None:
    """The `data:` address of a sound; None if it has more than EMBEDDED_BYTES."""
    return None if len(flac) > EMBEDDED_BYTES else reporting.embedded(flac, "audio/flac")


def _about(aligned: Aligned) -> str:
    """What the reader must know of the two, in a line."""
    said = [f"score: {Path(aligned.score.path).name}"]
    if aligned.transposition:
        where = "above" if aligned.transposition > 0 else "below"
        said.append(f"the recording is {counted(abs(aligned.transposition), 'semitone')} {where} it")
    if aligned.unfolding:
        said.append(f"repeats: {aligned.unfolding}")
    return "; ".join([*said, *aligned.remarks])


def _content(aligned: Aligned) -> dict[str, Any]:
    """Numbers and names of pitches alone, which no HTML can hide in; times in s to the tenth of a millisecond."""
    played, pitches = notes_played(aligned), aligned.score.notes.pitch
    times, sure = played.time.round(4).tolist(), played.confidence.round(3).tolist()
    return {
        "duration": round(aligned.duration_s, 4),
        "notes": [[on, off, int(pitches[i]), c] for (on, off), i, c in zip(times, played.index, sure, strict=True)],
        "beats": [[row["recording_s"], row["bar"], row["beat_in_bar"]] for row in beat_rows(aligned)],
        "bars": [[row["recording_s"], row["bar"]] for row in bar_rows(aligned)],
        "names": {int(pitch): note_name(int(pitch)) for pitch in np.unique(pitches[played.index])},
    }
