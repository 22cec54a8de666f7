"""Base class of views: piece <-> frames of a network, with their conditions."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.generation.grid import bar_of, frames_of, nearest
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece

Use = Literal["free", "continue", "harmonise", "inpaint", "interpolate"]


class UnfitPiece(ValueError):
    """A piece that a view cannot represent; the message gives the reason without the piece's name."""


class OutOfReach(UnfitPiece):
    """A piece whose pitches do not fit into the view's range in any transposition."""


class Polyphonic(UnfitPiece):
    """A piece with several notes at once in a voice that must be monophonic."""


class Encoded(NamedTuple):
    """A piece as a network reads it."""

    frames: NDArray  # (frames, columns): int64 categories, or float32 zeros and ones
    conditions: NDArray[np.float32]  # (frames, conditions): inputs known in advance


class View:
    """Base of all views. A subclass takes plain arguments alone and keeps each as an attribute of its name.

    low, high: lowest and highest pitch it holds
    voices: number of voices represented, the first ones of a piece; None: any number
    ranked: decoded voices are ranks among the sounding notes, not the original voices
    key: `any`, or `c`: pieces are transposed to C major or A minor before they are encoded (`shift_for`)
    learns: attributes that `fit` sets, part of its `state`
    """

    name: ClassVar[str]
    uses: ClassVar[frozenset[str]] = frozenset({"free", "continue", "inpaint", "harmonise"})
    learns: ClassVar[tuple[str, ...]] = ("centre",)
    voices: int | None = None
    ranked: ClassVar[bool] = False
    low: int = 21
    high: int = 108
    key: Literal["any", "c"] = "any"
    centre: float | None = None

    def form(self) -> dict[str, Any]:
        """Frame specification: the fields of `models.generation.frame_spec.FrameSpec`."""
        raise NotImplementedError

    def fit(self, pieces: list[Piece]) -> None:
        """Fit the view to the training pieces, for example its alphabet. Overrides call this too."""
        pitches = [piece.notes[:, PITCH] for piece in pieces if len(piece.notes)]
        self.centre = float(np.concatenate(pitches).mean()) if pitches else None

    def state(self) -> dict[str, Any]:
        """Name, arguments and learned attributes as plain values for YAML and checkpoints; inverse of `read_view`."""
        arguments = {name: _plain(getattr(self, name)) for name in signature(type(self)).parameters}
        return {"name": self.name, "arguments": arguments, "learned": {name: _plain(getattr(self, name)) for name in self.learns}}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Set the learned attributes from the `learned` of a `state`."""
        for name in self.learns:
            setattr(self, name, learned[name])

    def describe(self) -> str:
        """Representation in words for tables; nats of different representations are not comparable."""
        defaults = {name: _plain(parameter.default) for name, parameter in signature(type(self)).parameters.items()}
        chosen = {name: _plain(getattr(self, name)) for name in defaults}
        other = [f"{name} {_said(value)}" for name, value in chosen.items() if value != defaults[name]]
        return ", ".join([self.name.replace("_", " "), *other])

    def encode(self, piece: Piece) -> Encoded:
        """Frames of a piece. Raises UnfitPiece if the view cannot represent it."""
        raise NotImplementedError

    def holds(self, piece: Piece) -> bool:
        """Return whether the piece's pitches lie in the view's range."""
        lowest, highest = self.reach(piece) if len(piece.notes) else (0, 0)
        return lowest <= 0 <= highest

    def decode(self, frames: NDArray, template: Piece) -> Piece:
        """Piece decoded from frames, in the metre, key, tempo, pickup and ticks of `template`."""
        raise NotImplementedError

    def merged_notes(self, piece: Piece) -> int:
        """Number of notes replaced by a later note of their voice in the same frame of a coarse grid."""
        return 0

    def fixed(self, template: Piece, use: Use, span: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Mask (frames, columns) of the cells of `encode(template)` that stay fixed.

        continue: everything before tick span[0]. inpaint: everything outside the ticks span[0] to span[1]. harmonise: voice 0.
        free: nothing. A note that begins before a free span and is held into it is cut there.
        """
        raise NotImplementedError

    def freed(self, fixed: NDArray[np.bool_], template: Piece) -> NDArray[np.bool_]:
        """Mask of `fixed` without the cells of voices that the template lacks."""
        return fixed

    def allowed(self, template: Piece) -> NDArray[np.bool_] | None:
        """Mask (frames, categories) of allowed values for views of one column; None if all are allowed."""
        return None

    def reach(self, piece: Piece, voice: int | None = None) -> tuple[int, int]:
        """Lowest and highest transposition (semitones) of a piece, or of one voice, within the view's range."""
        pitches = (piece.notes if voice is None else piece.voice(voice))[:, PITCH]
        return self.low - int(pitches.min()), self.high - int(pitches.max())

    def bounds(self, voice: int) -> tuple[int, int]:
        """Lowest and highest pitch of a voice."""
        return self.low, self.high

    def shifts(self, piece: Piece) -> NDArray[np.int64]:
        """All transpositions (semitones) that bring a piece into the view's key."""
        from datamodules.generation.harmony import find_key

        shifts = np.arange(-60, 61)
        if self.key == "any":
            return shifts
        tonic, mode = (piece.tonic, piece.mode) if piece.tonic is not None else find_key(piece)
        return shifts[(shifts + tonic) % 12 == (9 if mode == "minor" else 0)]

    def shift_for(self, piece: Piece, voice: int | None = None) -> int:
        """Semitones to transpose a piece by before it is encoded: into the view's key and range, near the learned centre.

        voice: fit this voice alone into the range. Raises OutOfReach if no transposition fits.
        """
        pitches = (piece.notes if voice is None else piece.voice(voice))[:, PITCH]
        if not len(pitches):
            return 0
        lowest, highest = self.reach(piece, voice)
        shifts = self.shifts(piece)
        shifts = shifts[(shifts >= lowest) & (shifts <= highest)]
        if not len(shifts):
            raise OutOfReach(f"its pitches, {pitches.min()} to {pitches.max()}, fit into no transposition that the model knows")
        if self.key == "any" or self.centre is None or voice is not None:
            return int(shifts[np.argmin(np.abs(shifts))])
        return int(shifts[np.argmin(np.abs(shifts + pitches.mean() - self.centre))])


def _plain(value: Any) -> Any:
    """A value as YAML and checkpoints hold it: tuples as lists."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _said(value: Any) -> str:
    return " and ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


Condition = Literal["position", "beats", "fermata", "key"]
"""position: position in the bar, one-hot of the frames of a 4/4 bar (shorter bars use the first, longer ones begin again).
beats: downbeat, beat, half (in compound metres a third) of a beat, anything else, one-hot.
fermata: 1 while a note with a fermata sounds.
key: position of the signature on the circle of fifths, one-hot of 12, then 1 for minor."""


def width(names: Sequence[Condition], steps: int) -> int:
    """Number of columns of the named conditions."""
    return sum({"position": 4 * steps, "beats": 4, "fermata": 1, "key": 13}[name] for name in names)


def conditions_of(piece: Piece, names: Sequence[Condition], steps: int) -> NDArray[np.float32]:
    """The named conditions of every frame, (frames, width), in order."""
    makers = {"position": position, "beats": beats, "fermata": fermata, "key": key}
    columns = [makers[name](piece, steps) for name in names]
    return np.concatenate([np.zeros((frames_of(piece, steps), 0), np.float32), *columns], 1)


def position(piece: Piece, steps: int) -> NDArray[np.float32]:
    """Position in the bar, one-hot (frames, 4 steps)."""
    since, _, _ = bar_of(piece, steps)
    return np.eye(4 * steps, dtype=np.float32)[since // piece.ticks % (4 * steps)]


def beats(piece: Piece, steps: int) -> NDArray[np.float32]:
    """Strength of the beat, (frames, 4)."""
    since, count, kind = bar_of(piece, steps)
    compound = (count % 3 == 0) & (count > 3) & (kind >= 8)
    beat = 4 * piece.ticks * steps * np.where(compound, 3, 1)  # times the beat type, as is `now`
    now = since * kind
    part = beat // np.where(compound, 3, 2)
    strength = np.where(since == 0, 0, np.where(now % beat == 0, 1, np.where(now % part == 0, 2, 3)))
    return np.eye(4, dtype=np.float32)[strength]


def fermata(piece: Piece, steps: int) -> NDArray[np.float32]:
    """Fermata flags (frames, 1): 1 during the first voice's note at a fermata, else during the longest note."""
    flags = np.zeros((frames_of(piece, steps), 1), np.float32)
    for onset in piece.fermatas:
        begun = piece.notes[piece.notes[:, ONSET] == onset]
        sung = begun[begun[:, VOICE] == 0]  # to harmonise, the other voices are not known
        sung = sung if len(sung) else begun
        lasts = int(sung[:, DURATION].max()) if len(sung) else piece.ticks
        begin, end = nearest(np.array([onset, onset + lasts]), piece, steps)
        flags[begin : max(end, begin + 1)] = 1
    return flags


def key(piece: Piece, steps: int) -> NDArray[np.float32]:
    """Key signature of the whole piece (frames, 13): as named, else estimated from its notes."""
    from datamodules.generation.harmony import find_key

    flags = np.zeros((frames_of(piece, steps), 13), np.float32)
    if piece.tonic is None and not len(piece.notes):
        return flags
    tonic, mode = (piece.tonic, piece.mode) if piece.tonic is not None else find_key(piece)
    major = (tonic + 3) % 12 if mode == "minor" else tonic
    flags[:, major * 7 % 12] = 1
    flags[:, 12] = mode == "minor"
    return flags
