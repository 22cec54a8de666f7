"""A page that plays a recording and follows its score: one HTML file that fetches nothing."""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from tasks.alignment.aligned import Aligned, notes_played
from tasks.alignment.output_tables import bar_rows, beat_rows, note_name
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
    name = Path(aligned.path).name
    parts = {
        "title": html.escape(name),
        "about": html.escape(_about(aligned)),
        "sound": html.escape(sound),
        "style": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "script": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "data": json.dumps(_content(aligned), separators=(",", ":"), allow_nan=False),
    }
    template = (FOLDER / "page.html").read_text(encoding="utf-8")
    # One sweep: braces in a file's name are left alone.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def embedded(flac: bytes) -> str | None:
    """Address that holds the sound itself; None where it is too large for that."""
    if len(flac) > EMBEDDED_BYTES:
        return None
    return f"data:audio/flac;base64,{base64.b64encode(flac).decode()}"


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
