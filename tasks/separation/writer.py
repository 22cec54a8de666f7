"""What `predict` leaves of a user's songs: their stems as sound files, a spectrogram picture, and a list of them all."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from datamodules.audio.reading import header
from datamodules.common.errors import DataError
from datamodules.common.progress import progress
from tasks.separation.figures import PooledSpectrograms
from tasks.separation.inference import EQUAL, SongStems, file_seams
from tasks.separation.song_stems import StemBlock
from tasks.separation.stem_files import STEPS, StemFiles
from tasks.writers.base import PredictionFiles, PredictionWriter, of_all
from tasks.writers.journal import JournalEntry
from tasks.writers.output_files import counted, write_json

# From all stems of a network to those that a user asked for.

REST = "rest"


class Outputs:
    """Which stems are written, and what they add up to.

    Args:
        sources: names of the network's stems
        two_stems: one of them; what is written is that stem and `no_<stem>`
        other: `no_<stem>` is the `sum` of the other stems, or the song `minus` the stem (default: minus where the network's
            sources are not all of a song, else the sum)
        sum_to_mix: what the stems' sum lacks of the song is added to them in equal shares, so that they sum to the song
        rest: one more stem, `rest`: the song minus all stems
        covers_mixture: whether the network's sources are all of a song
        steps: for integer formats: steps per unit of amplitude, on which the sum is then exact

    Raises:
        DataError: the network has no such stem, or its stems do not make up a song that they shall sum to.
    """

    def __init__(
        self,
        sources: Sequence[str],
        two_stems: str | None = None,
        other: Literal["sum", "minus"] | None = None,
        sum_to_mix: bool = False,
        steps: int | None = None,
        rest: bool = False,
        covers_mixture: bool = True,
    ) -> None:
        self.one = self._chosen(sources, two_stems, rest)
        self.other = other or ("sum" if covers_mixture else "minus")
        if two_stems is not None and self.other == "sum" and len(sources) == 1:
            raise DataError(f"--output.other sum: the network's only stem is {two_stems}, so no_{two_stems} needs minus")
        if sum_to_mix and not covers_mixture and not rest and (two_stems is None or self.other == "sum"):
            raise DataError(
                f"--output.sum_to_mix: {', '.join(sources)} are not all of a song, so they cannot sum to it: add "
                "--output.rest true, which writes what they leave of it"
            )
        self.sum_to_mix, self.steps, self.rest = sum_to_mix, steps, rest
        self.names = [two_stems, f"no_{two_stems}"] if two_stems is not None else [*sources, *([REST] if rest else [])]

    @staticmethod
    def _chosen(sources: Sequence[str], two_stems: str | None, rest: bool) -> int | None:
        """Position of the stem that is written with its rest."""
        if two_stems is not None and two_stems not in sources:
            raise DataError(f"--output.two_stems: the network has no stem '{two_stems}'; it has {', '.join(sources)}")
        if rest and two_stems is not None:
            raise DataError(f"--output.rest: with --output.two_stems the rest is no_{two_stems}: --output.other minus")
        if rest and REST in sources:
            raise DataError(f"--output.rest: the network has a stem called {REST} itself")
        return None if two_stems is None else list(sources).index(two_stems)

    def __call__(self, piece: StemBlock) -> Tensor:
        """Stems (names, channels, frames) to write of one piece of a song."""
        stems = piece.stems
        if self.one is not None:
            wanted = stems[self.one]
            others = piece.mixture - wanted if self.other == "minus" else stems.sum(dim=0) - wanted
            stems = torch.stack([wanted, others])
        elif self.rest:
            stems = torch.cat([stems, (piece.mixture - stems.sum(dim=0))[None]])
        return self._complete(stems.double(), piece.mixture.double()).float() if self.sum_to_mix else stems

    def _complete(self, stems: Tensor, mixture: Tensor) -> Tensor:
        stems = stems + (mixture - stems.sum(dim=0)) / len(stems)
        if self.steps:
            # Rounded here and not when written: the last stem takes up the rounding errors of the others.
            stems, mixture = (stems * self.steps).round(), (mixture * self.steps).round()
            stems = torch.cat([stems[:-1], (mixture - stems[:-1].sum(dim=0))[None]]) / self.steps
        return stems


LISTED = 10
BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s of audio, {elapsed} passed, {remaining} left"
BAR_WITHOUT_TOTAL = "{desc}{n:.0f} s of audio, {elapsed} passed"


class StemWriter(PredictionWriter):
    """Write `<folder>/<song>/<stem>.wav` for each song, at its rate, with its channels and of exactly its length.

    Args:
        folder: where everything goes (default: `predictions` in the run folder)
        format: wav, flac, mp3 (320 kbit/s) or ogg
        subtype: of wav and flac: PCM_16, PCM_24, or FLOAT (wav alone), which never clips
        two_stems: one stem; what is written is that and `no_<stem>`, for instance vocals and no_vocals
        other: `no_<stem>` is the `sum` of the other stems, or the song `minus` the stem (default: minus where the network's
            sources are not all of a song, else the sum)
        rest: also write `rest`: the song minus all stems
        sum_to_mix: add what the stems' sum lacks of the song to them in equal shares, so that they sum to it exactly;
            without it stems are written as they are, and nothing is ever rescaled
        picture: write spectrogram.png of song and stems
        check_seams: separate the first two and a half chunks also at once, and say how far the stems differ
        overwrite: forget the stems of earlier runs
    """

    reserved = ("stems.json",)

    def __init__(
        self,
        folder: str | None = None,
        format: Literal["wav", "flac", "mp3", "ogg"] = "wav",
        subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = "PCM_16",
        two_stems: str | None = None,
        other: Literal["sum", "minus"] | None = None,
        sum_to_mix: bool = False,
        rest: bool = False,
        picture: bool = True,
        check_seams: bool = False,
        overwrite: bool = False,
    ) -> None:
        if format == "flac" and subtype == "FLOAT":
            raise ValueError("flac holds integers alone: --output.subtype PCM_24, or --output.format wav")
        if format in ("mp3", "ogg") and subtype != "PCM_16":
            raise ValueError(f"{format} has no subtype: leave --output.subtype {subtype} out, or choose --output.format wav")
        if other is not None and two_stems is None:
            raise ValueError(f"--output.other {other} says how no_<stem> is made: add --output.two_stems STEM, or leave it out")
        super().__init__(
            folder,
            overwrite,
            {"picture": picture, "check_seams": check_seams},
            format=format,
            subtype=subtype,
            two_stems=two_stems,
            other=other,
            sum_to_mix=sum_to_mix,
            rest=rest,
        )
        self.format, self.subtype = format, subtype
        self.two_stems, self.other, self.sum_to_mix, self.rest = two_stems, other, sum_to_mix, rest
        self.picture, self.check_seams, self.bar = picture, check_seams, None

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a stem that the network does not have."""
        steps = STEPS.get(self.subtype) if self.format in ("wav", "flac") else None
        covers = getattr(pl_module, "covers_mixture", True)
        self.outputs = Outputs(pl_module.sources, self.two_stems, self.other, self.sum_to_mix, steps, self.rest, covers)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show progress in seconds of audio instead of in files."""
        super().on_predict_start(trainer, pl_module)
        shown = trainer.progress_bar_callback
        if shown is not None:
            shown.disable()
        paths = [item.path for item in trainer.datamodule.remaining()]
        self.claims = {path: _claimed_s(path) for path in paths[trainer.global_rank :: trainer.world_size]}
        total = sum(self.claims.values()) or None
        self.bar = progress(
            desc="separated",
            total=total,
            unit="second of audio",
            disable=shown is None,
            position=trainer.global_rank,
            bar_format=BAR if total else BAR_WITHOUT_TOTAL,
            smoothing=0.05,
        )

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Drain the stream of one song; what fails leaves nothing behind. Returns what the list of all says of it."""
        self.bar.set_description_str(f"{files.title[:40]} ")
        before = self.bar.n
        try:
            row = self._write(prediction, files)
            return row | ({"seams_db": file_seams(pl_module, batch.path)} if self.check_seams else {})
        finally:
            # What a header claimed wrongly is set right, so that the time left stays that of the songs that follow.
            self.bar.update(self.claims.get(batch.path, 0.0) - (self.bar.n - before))

    def _write(self, song: SongStems, files: PredictionFiles) -> dict[str, Any]:
        """Write the stems of one song; what the list says of them."""
        columns = PooledSpectrograms(song.rate, 1 + len(self.outputs.names)) if self.picture else None
        folder = self.root / files.stem
        stem_files = StemFiles(folder, self.outputs.names, song.rate, song.channels, song.frames, self.format, self.subtype)
        with stem_files:
            for piece in song.pieces():
                stems = self.outputs(piece)
                stem_files.write(stems)
                if columns is not None:
                    columns.push(torch.cat([piece.mixture[None], stems]))
                self.bar.update(piece.stems.shape[-1] / song.rate)
                del piece, stems  # not kept while the next ones are made
            if columns is not None:
                stem_files.add("spectrogram.png", self._drawn(columns, files.title, song.frames / song.rate))
        names = [*stem_files.names, *(["spectrogram.png"] if columns is not None else [])]
        files.add(*(f"{files.stem}/{name}" for name in names))
        row = {
            "folder": files.stem,
            "stems": stem_files.names,
            "duration_s": round(song.frames / song.rate, 6),
            "sample_rate": song.rate,
            "channels": song.channels,
        }
        clipped = {name: int(count) for name, count in zip(stem_files.names, stem_files.clipped, strict=True) if count}
        return row | ({"clipped": clipped} if clipped else {}) | ({"damage": song.damage} if song.damage else {})

    def _drawn(self, columns: PooledSpectrograms, title: str, duration_s: float) -> bytes:
        from tasks.separation.figures import stem_grid

        levels, hop_s = columns.close()
        about = {"mel_hertz": columns.hertz, "hop_s": hop_s, "end_s": duration_s}
        picture = stem_grid(levels, names=["mixture", *self.outputs.names], title=title, **about)
        content = io.BytesIO()
        picture.savefig(content, format="png")
        return content.getvalue()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar before anything is reported."""
        self._close_bar()
        super().teardown(trainer, pl_module, stage)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar before anything is reported."""
        self._close_bar()
        super().on_exception(trainer, pl_module, exception)

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write stems.json."""
        files = {entry.file: dict(entry.row) for entry in good}
        content = {"files": files, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "stems.json", content)

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
        """Say where the stems are and what was clipped."""
        stems = ", ".join(self.outputs.names)
        print(f"\n{counted(len(new), 'song')} separated into {stems} ({self.format}){of_all(new, good)}:")
        print("".join(f"  {self.root / entry.stem}\n" for entry in new[:LISTED]), end="")
        if len(new) > LISTED:
            print(f"  ... and {len(new) - LISTED} more, listed in {self.root / 'stems.json'}")
        for line in _remarks(new):
            print(line)


def _claimed_s(path: str) -> float:
    try:
        claim = header(path)
    except DataError:
        return 0.0
    return claim.frames / claim.sample_rate


def _remarks(entries: list[JournalEntry]) -> list[str]:
    """A line for each song that needs one."""
    lines = []
    for entry in entries:
        name, row = Path(entry.file).name, entry.row
        if "clipped" in row:
            counts = ", ".join(f"{stem} {count}" for stem, count in row["clipped"].items())
            lines.append(f"{name}: samples beyond full scale were clipped ({counts}): --output.subtype FLOAT keeps them")
        if "damage" in row:
            lines.append(f"{name} {row['damage']}, and the stems end there")
        if row.get("seams_db", 0) == EQUAL:
            lines.append(f"{name}: stems of chunks equal those of the whole")
        elif row.get("seams_db") is not None:
            lines.append(f"{name}: stems of chunks differ from those of the whole by {row['seams_db']} dB at most")
        elif "seams_db" in row:
            lines.append(f"{name}: shorter than one chunk, so it has no seams")
    return lines
