"""Inference of music generation: a question about a piece -> answers as pieces.

    composer = tasks.load("runs/generation/default")  # a checkpoint or a run folder

| step               | called with    | result                                          |
| ------------------ | -------------- | ----------------------------------------------- |
| `Writer(composer)` | question, seed | list of `Answer`: `.piece`, `.given`, `.midi()` |

A question comes from `datamodules.generation.user_pieces.UserPieces(...).ask(paths)`. Options are those of the composer
(`composer.inference`), or the argument `inference`.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from datamodules.common.errors import DataError
from datamodules.common.workers import mix
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import DURATION, ONSET, VOICE, Piece
from datamodules.generation.user_pieces import Original, Question
from datamodules.generation.views.view import Encoded, UnfitPiece
from datamodules.generation.voices import voice_names
from models.generation.frame_spec import Ask
from models.generation.generative_model import GenerativeModel
from tasks.generation.adapt_input import answered, shown, sparse, unwritten
from tasks.generation.options import GenerationOptions
from tasks.suite_module import SuiteModule

BATCH = 32
"""Answers that are written at once."""


class Answer(NamedTuple):
    """One answer to a question."""

    piece: Piece
    given: Piece  # what was fixed: its notes stand in `piece` as they were
    remarks: list[str]
    whole: Piece | None = None  # with the voices of the user's file that are not in `piece`
    original: Original | None = None

    def midi(self) -> bytes:
        """A MIDI file of everything: where the user's own was one, its events as they were, with what was written."""
        from datamodules.generation.writing.midi import midi_bytes
        from datamodules.generation.writing.midi_edit import edited_midi

        whole = self.piece if self.whole is None else self.whole
        if self.original is None or self.original.source is None:
            return midi_bytes(whole)
        return edited_midi(self.original.source, self.original.piece, whole)


class Writer:
    """Writes music with a composer; the same seed writes the same notes.

    Args:
        composer: LightningModule of the task
        net: another system of the same frames, such as a baseline, that writes in the composer's stead
        inference: options (default: those of the composer)
    """

    def __init__(
        self, composer: SuiteModule, net: GenerativeModel | None = None, inference: GenerationOptions | None = None
    ) -> None:
        options = inference or composer.inference
        self.view, self.net, self.device = composer.view, net or composer.net, composer.device
        self.sampling, self.samples = options.sampling, options.samples

    def answers(self, question: Question, seed: int) -> list[Answer]:
        """Earlier name of a call of the writer."""
        return self(question, seed)

    def __call__(self, question: Question, seed: int = 0) -> list[Answer]:
        """All answers to a question.

        Raises:
            DataError: the system cannot give any.
        """
        if question.error:
            raise DataError(question.error)
        self.check(question.use)
        piece, use = question.pieces[0], question.use
        if use == "interpolate":
            return self._between(question.pieces, seed)
        template, given, span = asked_of(question, getattr(self.view, "steps", None))
        if use == "inpaint" and self.view.voices is not None:
            given = template.with_notes(_with_others(given, template, self.view.voices))
        try:
            seen, shift, remarks = shown(self.view, template, given, use)
            written = self.write(seen, use, span, seed, self.samples)
        except UnfitPiece as reason:
            raise DataError(f"this system cannot take it: {reason}") from reason
        remarks = [*question.remarks, *unwritten(self.view, piece, use), *remarks]
        answers = []
        for frames in written:
            made = answered(self.view, template, seen.transposed(-shift), frames.transposed(-shift), use, span)
            made = replace(made, name=piece.name)
            own = sparse(made) if use == "harmonise" else []
            answers.append(Answer(made, given, [*remarks, *own], whole_of(made, question.original), question.original))
        return answers

    def check(self, use: str) -> None:
        """Raise DataError for a use that the system was not made for."""
        if use not in self.net.supports or (use != "interpolate" and use not in self.view.uses):
            offered = ", ".join(sorted(self.net.supports & (self.view.uses | {"interpolate"}))) or "nothing"
            system = f"{type(self.net).__name__} on the view {self.view.name}"
            raise DataError(f"{system} cannot {use}: --data.use takes {offered} here.")

    def write(self, template: Piece, use: str, span: tuple[int, int] | None, seed: int, samples: int) -> list[Piece]:
        """So many pieces around what is fixed of `template`, in the view's own key."""
        encoded = self.view.encode(template)
        fixed = self.view.fixed(template, use, span)
        if use in ("continue", "inpaint") and "harmonise" in self.net.supports:  # it may be given a part of a frame
            fixed = self.view.freed(fixed, template)
        allowed = self.view.allowed(template)
        found = self._frames([encoded] * samples, [fixed] * samples, use, seed, allowed)
        return [self.view.decode(frames, template) for frames in found]

    def write_all(self, templates: list[Piece], use: str, seed: int) -> list[Piece]:
        """A piece for each template, many at once; templates in the view's key."""
        written: list[Piece] = []
        for start in range(0, len(templates), BATCH):
            some = templates[start : start + BATCH]
            if self.view.allowed(some[0]) is not None:
                written += [self.write(one, use, None, mix(seed, start + k), 1)[0] for k, one in enumerate(some)]
                continue
            encoded, fixed = [self.view.encode(one) for one in some], [self.view.fixed(one, use, None) for one in some]
            found = self._frames(encoded, fixed, use, mix(seed, start), None)
            written += [self.view.decode(frames[: len(e.frames)], t) for frames, e, t in zip(found, encoded, some, strict=True)]
        return written

    @torch.no_grad()
    def _frames(
        self, encoded: list[Encoded], fixed: list[np.ndarray], use: str, seed: int, allowed: np.ndarray | None
    ) -> np.ndarray:
        longest = max(len(one.frames) for one in encoded)

        def stacked(arrays: list[np.ndarray], mode: str = "constant") -> torch.Tensor:
            padded = [np.pad(array, ((0, longest - len(array)), (0, 0)), mode) for array in arrays]
            return torch.from_numpy(np.stack(padded)).to(self.device)

        ask = Ask(
            stacked([one.frames for one in encoded]),
            stacked(fixed, "edge"),  # what is given to the end is given in the padding
            stacked([one.conditions for one in encoded]),
            torch.Generator(self.device).manual_seed(mix(seed) % 2**62),
            self.sampling,
            use,
            None if allowed is None else torch.from_numpy(allowed).to(self.device),
        )
        return self.net.eval().generate(ask).cpu().numpy()

    def _between(self, pieces: list[Piece], seed: int) -> list[Answer]:
        first, last = pieces
        if (first.beats, first.beat_type) != (last.beats, last.beat_type):
            raise DataError("interpolation wants two pieces of one metre")
        length = min(first.length, last.at(first.ticks).length)
        ends = [shortened(first, length), shortened(last.at(first.ticks), length)]
        try:
            shifts = [self.view.shift_for(one) for one in ends]
            moved = [one.transposed(shift) for one, shift in zip(ends, shifts, strict=True)]
            encoded = [self.view.encode(one) for one in moved]
            fixed = [np.zeros(one.frames.shape, bool) for one in encoded]
        except UnfitPiece as reason:
            raise DataError(f"this system cannot take it: {reason}") from reason
        found = self._frames(encoded, fixed, "interpolate", seed, None)
        nothing = replace(first, notes=np.zeros((0, 5), np.int32))
        return [Answer(self.view.decode(frames, moved[0]).transposed(-shifts[0]), nothing, []) for frames in found]


def _with_others(given: Piece, template: Piece, voices: int) -> np.ndarray:
    """Given notes, with all of the voices beyond the first so many, which the system does not write."""
    first, others = given.notes[:, VOICE] < voices, template.notes[:, VOICE] >= voices
    return np.concatenate([given.notes[first], template.notes[others]])


def whole_of(made: Piece, original: Original | None) -> Piece:
    """An answer with every voice of the user's file: those that were not harmonised, and the new ones behind them."""
    if original is None or original.voice is None:
        return made
    given = original.piece.at(made.ticks)
    new = made.notes[made.notes[:, VOICE] > 0].copy()
    names = [*given.names, *[""] * (given.voices - len(given.names))]
    programs = [*given.programs, *[0] * (given.voices - len(given.programs))]
    if given.voices > 1 or any(names):
        taken = set(names)
        names += [f"{name} (new)" if name in taken else name for name in voice_names(made.voices)[1:]]
    new[:, VOICE] += given.voices - 1
    notes = np.concatenate([given.notes, new])
    return made.with_notes(notes, names=tuple(names) if any(names) else (), programs=tuple(programs))


def asked_of(question: Question, steps: int | None = None) -> tuple[Piece, Piece, tuple[int, int] | None]:
    """The template to encode, what of it is given, and the ticks (begin, end) that are to be written, if not all.

    steps: frames of a quarter note that the system writes in, if it has a grid.
    """
    piece, use = question.pieces[0], question.use
    if use == "continue":
        # From the bar line that the piece reaches: a last bar that is not full is filled.
        bars = len(bar_edges(piece)) - 1 + question.bars
        longest = max(4 * piece.ticks * beats // kind for _, beats, kind in piece.metres.tolist())
        end = int(bar_edges(replace(piece, length=piece.length + (question.bars + 1) * longest))[bars])
        return replace(piece, length=end), piece, (_free_from(piece, steps), end)
    if use == "inpaint":
        edges = bar_edges(piece).tolist()
        begin, end = edges[question.span[0] - 1], min(edges[question.span[1]], piece.length)
        notes = piece.notes[(piece.notes[:, ONSET] < begin) | (piece.notes[:, ONSET] >= end)]
        return piece, piece.with_notes(notes), (begin, end)
    if use == "harmonise":
        return piece, piece, None
    blank = replace(piece, notes=np.zeros((0, 5), np.int32), chords=piece.chords)
    return blank, blank, None


def _free_from(piece: Piece, steps: int | None) -> int:
    """The tick that a piece is continued from: its end, or the next frame where it ends in one, as played music does.

    From a note's end inside a frame the rest of that frame would be struck anew. What runs over into a frame by up to a
    quarter of it leaves the frame free.
    """
    frame, over = divmod(piece.length * (steps or 1), piece.ticks)
    return piece.length if steps is None or 4 * over <= piece.ticks else -(-(frame + 1) * piece.ticks // steps)


def shortened(piece: Piece, length: int) -> Piece:
    """The first so many ticks of a piece; a note that goes on is cut."""
    notes = piece.notes[piece.notes[:, ONSET] < length].copy()
    notes[:, DURATION] = np.minimum(notes[:, DURATION], length - notes[:, ONSET])
    fermatas, chords, drums = piece.fermatas, piece.chords, piece.drums
    return piece.with_notes(
        notes,
        length=min(length, piece.length),
        fermatas=fermatas[fermatas < length],
        chords=chords[chords[:, 0] < length],
        drums=drums[drums[:, 0] < length],
    )
