"""HTML page that plays a recording and follows its score: alignment -> self-contained file."""

import html
from pathlib import Path
from typing import Any

import numpy as np

from tasks.alignment.aligned import Aligned, notes_played
from tasks.alignment.output_tables import bar_rows, beat_rows, note_name
from tasks.reporting import page as reporting
from tasks.reporting.page import filled, text_of
from tasks.writers.output_files import counted

FOLDER = Path(__file__).parent  # of the template
EMBEDDED_BYTES = 8 << 20
"""Largest recording embedded in the page (about 6 minutes); a longer one is a separate file."""


def page(aligned: Aligned, sound: str) -> str:
    """Page of one recording.

    Args:
        aligned: alignment
        sound: relative address of the audio, or audio from `embedded`
    """
    body = filled(text_of(FOLDER / "body.html"), {"about": html.escape(_about(aligned)), "sound": html.escape(sound)})
    style, script = text_of(FOLDER / "page.css"), text_of(FOLDER / "page.js")
    name = Path(aligned.path).name
    return reporting.page(name, body, data=_content(aligned), style=style, script=script, media="data: 'self' file:")


def embedded(flac: bytes) -> str | None:
    """Data URL of audio; None if it has more than EMBEDDED_BYTES."""
    return None if len(flac) > EMBEDDED_BYTES else reporting.embedded(flac, "audio/flac")


def _about(aligned: Aligned) -> str:
    """Score, transposition, repeats and remarks in one line."""
    parts = [f"score: {Path(aligned.score.path).name}"]
    if aligned.transposition:
        direction = "above" if aligned.transposition > 0 else "below"
        parts.append(f"the recording is {counted(abs(aligned.transposition), 'semitone')} {direction} it")
    if aligned.unfolding:
        parts.append(f"repeats: {aligned.unfolding}")
    return "; ".join([*parts, *aligned.remarks])


def _content(aligned: Aligned) -> dict[str, Any]:
    """Data of the page: only numbers and pitch names, so that no HTML can be injected; times in s, rounded to 0.1 ms."""
    played, pitches = notes_played(aligned), aligned.score.notes.pitch
    times, confidence = played.time.round(4).tolist(), played.confidence.round(3).tolist()
    return {
        "duration": round(aligned.duration_s, 4),
        "notes": [[on, off, int(pitches[i]), c] for (on, off), i, c in zip(times, played.index, confidence, strict=True)],
        "beats": [[row["recording_s"], row["bar"], row["beat_in_bar"]] for row in beat_rows(aligned)],
        "bars": [[row["recording_s"], row["bar"]] for row in bar_rows(aligned)],
        "names": {int(pitch): note_name(int(pitch)) for pitch in np.unique(pitches[played.index])},
    }
