"""Inference options of audio-to-score alignment."""

from dataclasses import dataclass, field
from typing import Literal

from models.alignment.dtw import STEPS
from tasks.alignment.anchors import ANCHOR, EXPECTED


@dataclass
class AlignmentOptions:
    """Options of `predict`, stored in the checkpoint; override them with `--model.inference.steps constrained` etc.

    Args:
        steps: DTW steps: `unit`, `constrained` (tempo between half and twice the average), `synctoolbox`
        transposition: largest transposition of the recording in semitones up or down; 0: none
        tuning: estimate the deviation of the recording from 440 Hz
        open_ends: allow other sound in the recording, such as applause, and recordings of a part of the score
        repeats: `find` omitted repeats and repeated passages, or follow the score as `written`
        jump_s: duration (s) that must be explained better for a jump to be accepted
        max_deviation: largest deviation of the path from a straight line between the ends, s of the score; null: unlimited
        anchors: known times (s) of one recording, such as 'bar 12 = 34.5', 'bar 12 pass 2 = 61' or 'note ID = 34.5'
        refine: move each onset to the strongest rise of its notes' energy near the path

    Raises:
        ValueError: a value is out of range.
    """

    steps: Literal["unit", "constrained", "synctoolbox"] = "unit"
    transposition: int = 12
    tuning: bool = True
    open_ends: bool = True
    repeats: Literal["find", "written"] = "find"
    jump_s: float = 2.0
    max_deviation: float | None = None
    anchors: list[str] = field(default_factory=list)
    refine: bool = False

    def __post_init__(self) -> None:
        if self.steps not in STEPS or not 0 <= self.transposition <= 24 or self.jump_s <= 0:
            raise ValueError(
                f"inference: steps must be one of {', '.join(STEPS)}, transposition within 0 .. 24 and jump_s positive: "
                f"{self.steps}, {self.transposition}, {self.jump_s}"
            )
        if self.max_deviation is not None and self.max_deviation <= 0:
            raise ValueError(f"inference: max_deviation must be positive, got {self.max_deviation}")
        for anchor in self.anchors:
            if not ANCHOR.fullmatch(anchor.strip()):
                raise ValueError(f"inference: anchor {anchor!r}: {EXPECTED}")
