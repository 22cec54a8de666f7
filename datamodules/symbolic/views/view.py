"""A view: how a piece becomes the frames that a network reads and writes, and how frames become a piece again."""

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.symbolic.piece import PITCH, Piece

Use = Literal["free", "continue", "harmonise", "inpaint", "interpolate"]


class Unfit(ValueError):
    """A piece that a view cannot hold; the sentence says why, without the piece's name."""


class Encoded(NamedTuple):
    """A piece as a network reads it."""

    frames: NDArray  # (frames, columns): int64 categories, or float32 zeros and ones
    conditions: NDArray[np.float32]  # (frames, conditions): what is known of a frame beforehand


class View:
    """Base of all views. A subclass takes plain arguments alone, which with what `fit` learned are its `state`.

    low, high: lowest and highest pitch it holds
    key: `any`, or `c`: pieces are transposed to C major or A minor before they are encoded (`shift_for`)
    """

    name: ClassVar[str]
    uses: ClassVar[frozenset[str]] = frozenset({"free", "continue", "inpaint", "harmonise"})
    low: int = 21
    high: int = 108
    key: Literal["any", "c"] = "any"
    centre: float | None = None

    def form(self) -> dict[str, Any]:
        """What a network must know of the frames: the fields of `models.generation.form.Form`."""
        raise NotImplementedError

    def fit(self, pieces: list[Piece]) -> None:
        """Learn what must be learned from the training pieces, such as an alphabet. Overrides call this too."""
        pitches = [piece.notes[:, PITCH] for piece in pieces if len(piece.notes)]
        self.centre = float(np.concatenate(pitches).mean()) if pitches else None

    def state(self) -> dict[str, Any]:
        """Name, arguments and what was learned, as plain values that YAML and checkpoints hold; `read_view` reads it."""
        raise NotImplementedError

    def encode(self, piece: Piece) -> Encoded:
        """Frames of a piece. Raises Unfit where the view cannot hold it."""
        raise NotImplementedError

    def holds(self, piece: Piece) -> bool:
        """Whether the view can hold a piece, by its pitches alone: asked for every transposition. Overrides may be stricter."""
        pitches = piece.notes[:, PITCH]
        return not len(pitches) or (self.low <= pitches.min() and pitches.max() <= self.high)

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """The piece that frames spell, in the metre, key, tempo, pickup and ticks of `template`."""
        raise NotImplementedError

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Cells (frames, columns) that are given: of `encode(template)`.

        continue: everything before tick span[0]. inpaint: everything outside the ticks span[0] to span[1]. harmonise: voice 0.
        free: nothing. A note that begins before a free span and is held into it is cut there.
        """
        raise NotImplementedError

    def shift_for(self, piece: Piece, voice: int | None = None) -> int:
        """Semitones to transpose a piece by before it is encoded: into the view's key and range, near what was learned.

        voice: fit this voice alone into the range. Raises Unfit where no transposition fits.
        """
        from datamodules.symbolic.keys import find_key

        pitches = (piece.notes if voice is None else piece.voice(voice))[:, PITCH]
        if not len(pitches):
            return 0
        shifts = np.arange(-60, 61)
        if self.key == "c":
            tonic, mode = (piece.tonic, piece.mode) if piece.tonic is not None else find_key(piece)
            shifts = shifts[(shifts + tonic) % 12 == (9 if mode == "minor" else 0)]
        shifts = shifts[(pitches.min() + shifts >= self.low) & (pitches.max() + shifts <= self.high)]
        if not len(shifts):
            raise Unfit(f"its pitches span {pitches.min()} to {pitches.max()}, the model's {self.low} to {self.high}")
        if self.key == "any" or self.centre is None or voice is not None:
            return int(shifts[np.argmin(np.abs(shifts))])
        return int(shifts[np.argmin(np.abs(shifts + pitches.mean() - self.centre))])
