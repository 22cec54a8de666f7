"""Serial tokens of BachBot (Liang 2016): chords <-> one line of tokens."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.grid import kept_frames, length_of, on_ticks
from datamodules.generation.piece import Piece
from datamodules.generation.views.view import Condition, Encoded, UnfitPiece, Use, View, conditions_of, fermata, width
from datamodules.generation.views.voice_grid import SILENT, merged_notes, notes_of, voice_cells

REST, FERMATA, DELIMITER, START, END, PITCHED = range(6)
STRUCTURE = -1
"""Voice index of structural tokens in a layout."""


class Serial(View):
    """One column: START, for each frame of the grid [FERMATA] soprano to bass DELIMITER, then END.

    A voice's token is REST, or a pitch that is struck or tied to the frame before. BachBot leaves rests out; here every frame has
    all voices, so that the layout follows from the template's length and fermatas alone, and structural tokens are always
    fixed. Velocities and times finer than the grid are not represented.

    Args:
        voices: tokens of a chord
        steps: frames of a quarter note
        low, high: range
        conditions: inputs known for the frame of a token (`datamodules.generation.views.view`); the paper has none
        key: see `View`; BachBot's is c
    """

    name = "serial"

    def __init__(
        self,
        voices: int = 4,
        steps: int = 4,
        low: int = 33,
        high: int = 84,
        conditions: Sequence[Condition] = (),
        key: Literal["any", "c"] = "c",
    ) -> None:
        if min(voices, steps) < 1 or low > high:
            raise ValueError(f"voices and steps must be positive and low at most high: {voices, steps, low, high}")
        self.voices, self.steps, self.low, self.high, self.conditions, self.key = voices, steps, low, high, conditions, key

    @property
    def pitches(self) -> int:
        """Pitches in the range; each has two tokens, all struck ones before all tied ones."""
        return self.high - self.low + 1

    def form(self) -> dict[str, Any]:
        """Frame specification without time grid: `bar` is 0."""
        return {
            "kind": "categories",
            "sizes": (PITCHED + 2 * self.pitches,),
            "conditions": width(self.conditions, self.steps),
            "bar": 0,
            "low": self.low,
            "rest": REST,
            "end": END,
        }

    def layout(self, template: Piece) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Frame, voice (or STRUCTURE) and structural value of each token, (tokens,) each."""
        fermatas = fermata(template, self.steps)[:, 0] > 0
        chord = np.array([STRUCTURE, *range(self.voices), STRUCTURE])
        voices = np.tile(chord, (len(fermatas), 1))
        tokens = np.tile(np.where(chord == STRUCTURE, DELIMITER, REST), (len(fermatas), 1))
        tokens[:, 0] = FERMATA
        frames = np.repeat(np.arange(len(fermatas))[:, None], len(chord), 1)
        present = np.ones(voices.shape, bool)
        present[:, 0] = fermatas
        last = max(len(fermatas) - 1, 0)
        return (
            np.concatenate([[0], frames[present], [last]]),
            np.concatenate([[STRUCTURE], voices[present], [STRUCTURE]]),
            np.concatenate([[START], tokens[present], [END]]),
        )

    def encode(self, piece: Piece) -> Encoded:
        """Encode a piece. Raises UnfitPiece for too many voices, two notes at once in a voice, or a pitch out of range."""
        pitches, struck = voice_cells(piece, self.voices, self.steps)
        outside = (pitches != SILENT) & ((pitches < self.low) | (pitches > self.high))
        if outside.any():
            raise UnfitPiece(f"its pitch {pitches[outside][0]} is outside the model's {self.low} to {self.high}")
        cells = np.where(pitches == SILENT, REST, PITCHED + pitches - self.low + np.where(struck, 0, self.pitches))
        frame, voice, tokens = self.layout(piece)
        sung = voice != STRUCTURE
        tokens[sung] = cells[frame[sung], voice[sung]]
        known = conditions_of(piece, self.conditions, self.steps)
        known = known[frame] if len(known) else np.zeros((len(frame), known.shape[1]), np.float32)
        return Encoded(tokens[:, None], known)

    def merged_notes(self, piece: Piece) -> int:
        return merged_notes(piece, self.steps)

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Decode chords between delimiters up to the first END; a tie from another pitch is an onset."""
        template = on_ticks(template, self.steps)
        tokens = np.asarray(frames)[:, 0]
        tokens = tokens[: np.argmax(tokens == END)] if (tokens == END).any() else tokens
        chord = np.cumsum(tokens == DELIMITER)
        chords = int(chord[-1]) if len(chord) else 0
        sung = np.flatnonzero(((tokens == REST) | (tokens >= PITCHED)) & (chord < chords))
        first = np.searchsorted(chord[sung], np.arange(chords))
        rank = np.arange(len(sung)) - first[chord[sung]]
        sung, rank = sung[rank < self.voices], rank[rank < self.voices]
        cells = np.full((chords, self.voices), REST)
        cells[chord[sung], rank] = tokens[sung]
        pitches = np.where(cells >= PITCHED, (cells - PITCHED) % self.pitches + self.low, SILENT)
        struck = (cells >= PITCHED) & (cells < PITCHED + self.pitches)
        length = length_of(template, chords, self.steps)
        return template.with_notes(notes_of(pitches, struck, template.ticks // self.steps, length), length=length)

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Structural tokens, frames outside a span, and to harmonise the soprano's tokens."""
        frame, voice, _ = self.layout(template)
        kept = kept_frames(template, self.steps, use, span)
        fixed = (voice == STRUCTURE) | (kept[frame] if len(kept) else False)
        return (fixed | ((voice == 0) & (use == "harmonise")))[:, None]

    def freed(self, fixed: NDArray[np.bool_], template: Piece) -> NDArray[np.bool_]:
        """Tokens of voices that the template lacks are free."""
        _, voice, _ = self.layout(template)
        return fixed & (voice < template.voices)[:, None]

    def allowed(self, template: Piece) -> NDArray[np.bool_]:
        """Mask (tokens, categories): voices take REST and pitches, structural tokens their own value."""
        _, voice, tokens = self.layout(template)
        allowed = np.zeros((len(voice), PITCHED + 2 * self.pitches), bool)
        allowed[np.arange(len(voice)), tokens] = True  # of a voice: REST
        allowed[voice != STRUCTURE, PITCHED:] = True
        return allowed
