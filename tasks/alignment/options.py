"""How a user's recording is laid on its score."""

from dataclasses import dataclass
from typing import Literal

from models.alignment.dtw import STEPS


@dataclass
class AlignmentOptions:
    """Settings of `predict`, stored with the checkpoint; `--model.inference.steps constrained` and the like change them.

    Args:
        steps: of DTW: `unit`, `constrained` (tempo within a half and twice the average), `synctoolbox`
        transposition: semitones up and down that the recording may be from the score; 0: it is in its key
        tuning: measure how far the recording is from 440 Hz, and listen accordingly
        open_ends: there may be something before and after the music, such as applause
        repeats: `find` them: repeats that are left out, passages that come again; or play the score as `written`
        jump_s: how much must not fit before a jump is believed, s
        max_deviation: s of the score by which the path may be off a straight line; null: any
        refine: move each onset to where the sound of its notes rises next to the path
        exact_cells: pairs of frames beyond which DTW is computed from coarse to fine, in memory that grows with the length alone

    Raises:
        ValueError: an impossible number.
    """

    steps: Literal["unit", "constrained", "synctoolbox"] = "unit"
    transposition: int = 6
    tuning: bool = True
    open_ends: bool = True
    repeats: Literal["find", "written"] = "find"
    jump_s: float = 2.0
    max_deviation: float | None = None
    refine: bool = False
    exact_cells: float = 1.5e9

    def __post_init__(self) -> None:
        if self.steps not in STEPS or not 0 <= self.transposition <= 24 or self.jump_s <= 0:
            raise ValueError(
                f"inference: steps must be one of {', '.join(STEPS)}, transposition within 0 .. 24 and jump_s positive: "
                f"{self.steps}, {self.transposition}, {self.jump_s}"
            )
        if (self.max_deviation is not None and self.max_deviation <= 0) or self.exact_cells < 1:
            raise ValueError(
                f"inference: max_deviation and exact_cells must be positive: {self.max_deviation}, {self.exact_cells}"
            )
