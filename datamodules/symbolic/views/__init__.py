"""Views of a piece: the frames that systems read and write."""

from typing import Any

from datamodules.symbolic.views.abc_text import AbcText
from datamodules.symbolic.views.bar_image import BarImage
from datamodules.symbolic.views.chord_melody import ChordMelody
from datamodules.symbolic.views.drums import Drums
from datamodules.symbolic.views.note_tuples import NoteTuples
from datamodules.symbolic.views.piano_roll import PianoRoll
from datamodules.symbolic.views.serial import Serial
from datamodules.symbolic.views.view import Encoded, Unfit, Use, View
from datamodules.symbolic.views.voice_grid import VoiceGrid

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
    "Unfit",
    "Use",
    "View",
    "VoiceGrid",
    "read_view",
]


def read_view(state: dict[str, Any]) -> View:
    """The view that `View.state` describes. Raises ValueError where there is none of that name."""
    if state["name"] not in VIEWS:
        raise ValueError(f"there is no view {state['name']}, but {', '.join(VIEWS)}")
    view = VIEWS[state["name"]](**state["arguments"])
    view.restore(state["learned"])
    return view
