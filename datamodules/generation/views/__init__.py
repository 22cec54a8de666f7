"""Views: pieces <-> frames of a system."""

from typing import Any

from datamodules.generation.views.abc_text import AbcText
from datamodules.generation.views.lead_sheet import BarImage, ChordMelody
from datamodules.generation.views.note_tuples import NoteTuples
from datamodules.generation.views.piano_roll import Drums, PianoRoll
from datamodules.generation.views.serial import Serial
from datamodules.generation.views.view import Encoded, UnfitPiece, Use, View
from datamodules.generation.views.voice_grid import VoiceGrid

CLASSES = (VoiceGrid, PianoRoll, Serial, AbcText, NoteTuples, BarImage, ChordMelody, Drums)
VIEWS: dict[str, type[View]] = {view.name: view for view in CLASSES}
"""Every view by its name."""

__all__ = [
    "VIEWS",
    "AbcText",
    "BarImage",
    "ChordMelody",
    "Drums",
    "Encoded",
    "NoteTuples",
    "PianoRoll",
    "Serial",
    "UnfitPiece",
    "Use",
    "View",
    "VoiceGrid",
    "read_view",
]


def read_view(state: dict[str, Any]) -> View:
    """View restored from `View.state`. Raises ValueError for an unknown name."""
    if state["name"] not in VIEWS:
        raise ValueError(f"unknown view {state['name']!r}; choose from {', '.join(VIEWS)}")
    view = VIEWS[state["name"]](**state["arguments"])
    view.restore(state["learned"])
    return view
