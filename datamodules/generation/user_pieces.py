"""Data module of `predict`: music files of a user -> sampling requests."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.audio.files import InputItem, UserFiles, item_of
from datamodules.common.errors import DataError
from datamodules.common.file_search import entry_key
from datamodules.common.unread import refuse_unread
from datamodules.generation.grid import bar_edges
from datamodules.generation.piece import VOICE, Piece
from datamodules.generation.reading import MIDI, MUSIC, read_pieces
from datamodules.generation.reading.midi import MidiSource, source_of
from datamodules.generation.reading.scores import unread_marks
from datamodules.generation.views.view import Use
from datamodules.generation.voices import called, described, melody_voice


class Original(NamedTuple):
    """Complete content of a user's file."""

    piece: Piece
    source: MidiSource | None = None  # events of a MIDI file
    voice: int | None = None  # the harmonised voice


class Question(NamedTuple):
    """Sampling request for one file; without pieces if `error` is set."""

    path: str
    pieces: list[Piece]  # one; for interpolation both ends; empty on error
    use: Use
    bars: int  # number of bars to write for continue and free
    span: tuple[int, int] | None  # first and last bar to rewrite, counted from 1
    error: str | None
    remarks: tuple[str, ...] = ()  # notes for the user on the reading of the files
    original: Original | None = None  # for continue, harmonise and inpaint


class UserPieces(UserFiles):
    """Pieces to continue, harmonise, inpaint or interpolate; unreadable files are yielded with their error.

    Args:
        inputs: MIDI, MusicXML or ABC files, folders and globs, optional for `free`; of several tunes in a file the first is used
        view: state of the network's view, stored in its checkpoint
        use: `continue` the piece, `harmonise` its melody, `inpaint` some of its bars, `free`: write a new one, in the metre, key,
            tempo and length of a file if there is one, `interpolate` between two
        bars: number of bars that `continue` and `free` write
        span: the bars that `inpaint` rewrites, such as 5-8, counted from 1 without the pickup
        voice: the voice that `harmonise` writes others to: the name of a track or part, or a number counted from 0, the highest
            first; null: the voice with melody, vocal, voice, soprano or lead in its name, else the highest
        metre: metre of a `free` piece without a file
    """

    name = "pieces"
    noun = "music file"
    suffixes = MUSIC
    ignored_options = UserFiles.ignored_options - {"seed"}

    def __init__(
        self,
        inputs: list[str] | str | None = None,
        view: dict[str, Any] | None = None,
        use: Use = "continue",
        bars: int = 8,
        span: str | None = None,
        voice: int | str | None = None,
        metre: str = "4/4",
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs, **kwargs)
        self.notation, self.use, self.bars, self.voice = view, use, bars, voice
        if bars < 1:
            raise ValueError(f"--data.bars {bars} is out of range: give 1 or more")
        if isinstance(voice, int) and voice < 0:
            raise ValueError(f"--data.voice {voice} is not a voice: they are counted from 0, the highest")
        if use not in ("continue", "free"):
            refuse_unread(type(self), {"bars": bars}, f"for --data.use {use}, but for continue and free")
        if use != "harmonise":
            refuse_unread(type(self), {"voice": voice}, f"for --data.use {use}, but for harmonise")
        if use != "free":
            refuse_unread(type(self), {"metre": metre}, "but for --data.use free without --data.inputs")
        self._frame = {"bars": bars, "metre": metre}
        self._refuse_frame()
        self.span, self.metre = _span(span), _metre(metre)
        if (use == "inpaint") != (self.span is not None):
            raise ValueError("give --data.use inpaint and --data.span FIRST-LAST (bars, such as 5-8) together or not at all")

    def set_files(self, inputs: Sequence[str] = (), **others: Sequence[str]) -> None:
        """Set the files of the command line. Raises DataError for options that conflict with them."""
        super().set_files(inputs, **others)
        self._refuse_frame()

    def _refuse_frame(self) -> None:
        if self.use == "free" and self.inputs:
            refuse_unread(type(self), self._frame, "for --data.use free of a file, whose length and metre it takes")

    def predict_set(self) -> Dataset:
        """All requests. Raises DataError if an input matches no file, or interpolation does not get two."""
        return Prompts(self, [item.files for item in self.remaining()])

    def items(self) -> list[InputItem]:
        """All requests; each use of a file is a separate request."""
        if self.use == "free" and not self.inputs:
            return [InputItem("free", f"free, seed {self.seed}", (), "free", "free", f"seed {self.seed}")]
        files = self.files()
        about = self.use if self.span is None else f"{self.use} {self.span[0]}-{self.span[1]}"
        if self.use != "interpolate":
            return [item_of(file)._replace(key=f"{file.key} ({about})", about=about) for file in files]
        if len(files) != 2:
            raise DataError(f"--data.use interpolate leads from one piece to another: give two --data.inputs, not {len(files)}.")
        if len(self.inputs) == 2:  # in the order in which they were named
            typed = [entry_key(path) for path in self.inputs]
            files.sort(key=lambda file: typed.index(file.key) if file.key in typed else len(typed))
        paths, keys, names = zip(*((file.path, file.key, file.name) for file in files), strict=True)
        path = " to ".join(paths)
        return [InputItem(path, f"{' to '.join(keys)} ({about})", paths, " to ".join(names), name_of(path), about)]

    def transfer_batch_to_device(self, batch: Question, device: torch.device, dataloader_idx: int) -> Question:
        """Return the request unchanged: it has no tensors."""
        return batch

    def ask(self, paths: tuple[str, ...]) -> Question:
        """Request for these files."""
        if not paths:
            beats, beat_type = self.metre
            blank = Piece(np.zeros((0, 5), np.int32), 480, 0, name="free", metres=np.array([[0, beats, beat_type]], np.int32))
            return Question("free", [replace(blank, length=self.bars * blank.bar)], self.use, self.bars, None, None)
        path = " to ".join(paths)
        try:
            results = [read_pieces(path, "played") for path in paths]
            remarks = [_first_of(item, len(tunes)) for item, tunes in zip(paths, results, strict=True) if len(tunes) > 1]
            pieces = [tunes[0] for tunes in results]
            remarks += [remark for piece in pieces for remark in piece.remarks]
            remarks += [] if self.use == "free" else [remark for path in paths for remark in unread_marks(Path(path))]
            original = None if self.use in ("interpolate", "free") else _original(Path(paths[0]), pieces[0])
            if self.use == "harmonise":
                pieces, original, taken = self._melody(path, original)
                remarks += taken
            bars = len(bar_edges(pieces[0])) - 1
            if self.span and self.span[1] > bars:
                raise DataError(f"{path} has {bars} bar{'s' * (bars > 1)}: --data.span reaches to {self.span[1]}.")
            return Question(path, pieces, self.use, self.bars, self.span, None, tuple(remarks), original)
        except DataError as error:
            if self.strict:
                raise
            return Question(path, [], self.use, self.bars, self.span, str(error))

    def _melody(self, path: str, original: Original) -> tuple[list[Piece], Original, list[str]]:
        """Melody alone as voice 0, its original, and a remark on the choice if there are several voices."""
        piece = original.piece
        try:
            number = melody_voice(piece, self.voice)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        notes = piece.voice(number).copy()
        notes[:, VOICE] = 0
        melody = piece.with_notes(notes, programs=piece.programs[number : number + 1], names=piece.names[number : number + 1])
        taken = [f"the melody is {called(piece, number)} (--data.voice takes another): {described(piece)}"]
        return [melody], original._replace(voice=number), taken if piece.voices > 1 else []


class Prompts(Dataset):
    """Groups of files as requests."""

    def __init__(self, data: UserPieces, groups: Sequence[tuple[str, ...]]) -> None:
        self.data, self.groups = data, groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Question:
        return self.data.ask(self.groups[index])


def _original(path: Path, piece: Piece) -> Original:
    return Original(piece, source_of(path) if path.suffix.lower() in MIDI else None)


def _first_of(path: str, tunes: int) -> str:
    return f"{Path(path).name} holds {tunes} tunes: the first was taken"


def _span(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(text).strip())
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last:
        raise ValueError(f"{text} is not a span of bars: give --data.span 5-8, counted from 1")
    return first, last


def _metre(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(1|2|4|8|16|32)", text)
    if not match or not int(match[1]):
        raise ValueError(f"{text} is not a time signature: give --data.metre 3/4")
    return int(match[1]), int(match[2])


def name_of(path: str) -> str:
    """Base name of the outputs of a request."""
    return " to ".join(Path(item).stem for item in path.split(" to "))
