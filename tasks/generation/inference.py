"""Inference of music generation: question (input pieces and use) -> generated pieces.

    composer = tasks.load("runs/generation/default")  # a checkpoint or a run folder

| step               | called with    | result                                                  |
| ------------------ | -------------- | ------------------------------------------------------- |
| `Writer(composer)` | question, seed | list of `GeneratedPiece`: `.piece`, `.fixed`, `.midi()` |

A question comes from `datamodules.generation.user_pieces.UserPieces(...).ask(paths)`. Options are the composer's
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
from datamodules.generation.writing.midi import midi_bytes
from datamodules.generation.writing.midi_edit import edited_midi
from models.generation.frame_spec import SamplingRequest
from models.generation.generative_model import GenerativeModel
from tasks.generation.adapt_input import adapted, restored, sparse, unwritten
from tasks.generation.options import GenerationOptions
from tasks.suite_module import SuiteModule

BATCH = 32
"""Pieces generated in one batch."""


class GeneratedPiece(NamedTuple):
    """Generated piece with its input."""

    piece: Piece
    fixed: Piece  # input notes, unchanged in `piece`
    remarks: list[str]
    whole: Piece | None = None  # with voices of the user's file that are not in `piece`
    original: Original | None = None

    def midi(self) -> bytes:
        """MIDI file of all voices: the events of the user's MIDI file, if there is one, with the generated notes."""
        whole = self.piece if self.whole is None else self.whole
        if self.original is None or self.original.source is None:
            return midi_bytes(whole)
        return edited_midi(self.original.source, self.original.piece, whole)


class Writer:
    """Generate pieces; equal seeds give equal notes.

    Args:
        composer: LightningModule of the task
        net: system in place of the composer's, such as a baseline on the same frames
        inference: options (default: the composer's)
    """

    def __init__(
        self, composer: SuiteModule, net: GenerativeModel | None = None, inference: GenerationOptions | None = None
    ) -> None:
        options = inference or composer.inference
        self.view, self.net, self.device = composer.view, net or composer.net, composer.device
        self.sampling, self.samples = options.sampling, options.samples

    def __call__(self, question: Question, seed: int = 0) -> list[GeneratedPiece]:
        """Generate the requested number of pieces.

        Raises:
            DataError: the question has an error, or the system does not support it.
        """
        if question.error:
            raise DataError(question.error)
        self.check(question.use)
        piece, use = question.pieces[0], question.use
        if use == "interpolate":
            return self._interpolate(question.pieces, seed)
        template, fixed, span = template_of(question, getattr(self.view, "steps", None))
        if use == "inpaint" and self.view.voices is not None:
            fixed = template.with_notes(_with_others(fixed, template, self.view.voices))
        try:
            readable, shift, remarks = adapted(self.view, template, fixed, use)
            generated = self.write(readable, use, span, seed, self.samples)
        except UnfitPiece as reason:
            raise DataError(f"this system cannot read it: {reason}") from reason
        remarks = [*question.remarks, *unwritten(self.view, piece, use), *remarks]
        results = []
        for notes in generated:
            joined = restored(self.view, template, readable.transposed(-shift), notes.transposed(-shift), use, span)
            joined = replace(joined, name=piece.name)
            own = sparse(joined) if use == "harmonise" else []
            whole = with_original_voices(joined, question.original)
            results.append(GeneratedPiece(joined, fixed, [*remarks, *own], whole, question.original))
        return results

    def check(self, use: str) -> None:
        """Raise DataError for a use that the system does not support."""
        if use not in self.net.supports or (use != "interpolate" and use not in self.view.uses):
            offered = ", ".join(sorted(self.net.supports & (self.view.uses | {"interpolate"}))) or "nothing"
            system = f"{type(self.net).__name__} on the view {self.view.name}"
            raise DataError(f"{system} cannot {use}: --data.use takes {offered} here.")

    def write(self, template: Piece, use: str, span: tuple[int, int] | None, seed: int, samples: int) -> list[Piece]:
        """Generate pieces around the fixed frames of a template in the view's key.

        Args:
            template: input
            use: "free", "continue", "inpaint" or "harmonise"
            span: ticks (begin, end) to generate
            seed: seed
            samples: number of pieces
        """
        encoded = self.view.encode(template)
        fixed = self.view.fixed(template, use, span)
        if use in ("continue", "inpaint") and "harmonise" in self.net.supports:  # it can fix a part of a frame
            fixed = self.view.freed(fixed, template)
        allowed = self.view.allowed(template)
        generated = self._frames([encoded] * samples, [fixed] * samples, use, seed, allowed)
        return [self.view.decode(frames, template) for frames in generated]

    def write_all(self, templates: list[Piece], use: str, seed: int) -> list[Piece]:
        """Generate a piece for each template in batches; templates are in the view's key."""
        pieces: list[Piece] = []
        for start in range(0, len(templates), BATCH):
            batch = templates[start : start + BATCH]
            if self.view.allowed(batch[0]) is not None:
                pieces += [self.write(template, use, None, mix(seed, start + k), 1)[0] for k, template in enumerate(batch)]
                continue
            encoded = [self.view.encode(template) for template in batch]
            fixed = [self.view.fixed(template, use, None) for template in batch]
            generated = self._frames(encoded, fixed, use, mix(seed, start), None)
            for frames, code, template in zip(generated, encoded, batch, strict=True):
                pieces.append(self.view.decode(frames[: len(code.frames)], template))
        return pieces

    @torch.no_grad()
    def _frames(
        self, encoded: list[Encoded], fixed: list[np.ndarray], use: str, seed: int, allowed: np.ndarray | None
    ) -> np.ndarray:
        longest = max(len(code.frames) for code in encoded)

        def stacked(arrays: list[np.ndarray], mode: str = "constant") -> torch.Tensor:
            padded = [np.pad(array, ((0, longest - len(array)), (0, 0)), mode) for array in arrays]
            return torch.from_numpy(np.stack(padded)).to(self.device)

        request = SamplingRequest(
            stacked([code.frames for code in encoded]),
            stacked(fixed, "edge"),  # columns fixed at the end are fixed in the padding
            stacked([code.conditions for code in encoded]),
            torch.Generator(self.device).manual_seed(mix(seed) % 2**62),
            self.sampling,
            use,
            None if allowed is None else torch.from_numpy(allowed).to(self.device),
        )
        return self.net.eval().generate(request).cpu().numpy()

    def _interpolate(self, pieces: list[Piece], seed: int) -> list[GeneratedPiece]:
        first, last = pieces
        if (first.beats, first.beat_type) != (last.beats, last.beat_type):
            signatures = " and ".join(f"{piece.beats}/{piece.beat_type}" for piece in pieces)
            raise DataError(f"interpolation needs two pieces with the same time signature, got {signatures}")
        length = min(first.length, last.at(first.ticks).length)
        ends = [shortened(first, length), shortened(last.at(first.ticks), length)]
        try:
            shifts = [self.view.shift_for(piece) for piece in ends]
            moved = [piece.transposed(shift) for piece, shift in zip(ends, shifts, strict=True)]
            encoded = [self.view.encode(piece) for piece in moved]
            fixed = [np.zeros(code.frames.shape, bool) for code in encoded]
        except UnfitPiece as reason:
            raise DataError(f"this system cannot read it: {reason}") from reason
        generated = self._frames(encoded, fixed, "interpolate", seed, None)
        empty = replace(first, notes=np.zeros((0, 5), np.int32))
        return [GeneratedPiece(self.view.decode(frames, moved[0]).transposed(-shifts[0]), empty, []) for frames in generated]


def _with_others(fixed: Piece, template: Piece, voices: int) -> np.ndarray:
    """Fixed notes of the first `voices` voices, and all notes of the others, which the system does not generate."""
    first, others = fixed.notes[:, VOICE] < voices, template.notes[:, VOICE] >= voices
    return np.concatenate([fixed.notes[first], template.notes[others]])


def with_original_voices(generated: Piece, original: Original | None) -> Piece:
    """Add the other voices of the user's file before the generated voices of a harmonisation."""
    if original is None or original.voice is None:
        return generated
    source = original.piece.at(generated.ticks)
    new = generated.notes[generated.notes[:, VOICE] > 0].copy()
    names = [*source.names, *[""] * (source.voices - len(source.names))]
    programs = [*source.programs, *[0] * (source.voices - len(source.programs))]
    if source.voices > 1 or any(names):
        taken = set(names)
        names += [f"{name} (new)" if name in taken else name for name in voice_names(generated.voices)[1:]]
    new[:, VOICE] += source.voices - 1
    notes = np.concatenate([source.notes, new])
    return generated.with_notes(notes, names=tuple(names) if any(names) else (), programs=tuple(programs))


def template_of(question: Question, steps: int | None = None) -> tuple[Piece, Piece, tuple[int, int] | None]:
    """Template to encode, its fixed notes, and the ticks (begin, end) to generate, or None for all.

    Args:
        question: input pieces and use
        steps: frames per quarter note of the system's grid, if it has one
    """
    piece, use = question.pieces[0], question.use
    if use == "continue":
        # The last bar is completed first if it is not full.
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
    """Tick at which a continuation starts: the end of the piece, or the next frame if it ends inside one.

    A frame of which the piece covers at most a quarter is generated; otherwise the rest of the frame would repeat its notes.
    """
    frame, over = divmod(piece.length * (steps or 1), piece.ticks)
    return piece.length if steps is None or 4 * over <= piece.ticks else -(-(frame + 1) * piece.ticks // steps)


def shortened(piece: Piece, length: int) -> Piece:
    """First `length` ticks of a piece; longer notes are cut."""
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
