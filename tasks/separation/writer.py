"""Output of `predict` for separation: stems as audio files, a spectrogram per song, and stems.json."""

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
from tasks.writers.output_files import counted, save_png, write_json

REST = "rest"
LISTED = 10  # songs in the summary
BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s of audio, {elapsed} passed, {remaining} left"
BAR_WITHOUT_TOTAL = "{desc}{n:.0f} s of audio, {elapsed} passed"


class Outputs:
    """Selection and mixing of the stems to write: stems of the network and the song -> output stems.

    Args:
        sources: names of the network's stems
        two_stems: write only this stem and `no_<stem>`
        other: `no_<stem>` is the `sum` of the other stems, or the song `minus` the stem (default: the sum if the network's
            sources make up a song, else minus)
        sum_to_mix: distribute the difference between song and stems equally over the stems, so that they sum to the song
        steps: of an integer format, per unit of amplitude; the sum is then exact in integers
        rest: add the stem `rest`, the song minus all stems
        covers_mixture: whether the network's sources make up a song

    Raises:
        DataError: unknown stem, or `sum_to_mix` with stems that do not make up a song.
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
        self.stem = self._stem_index(sources, two_stems, rest)
        self.other = other or ("sum" if covers_mixture else "minus")
        if two_stems is not None and self.other == "sum" and len(sources) == 1:
            raise DataError(f"--output.other sum: {two_stems} is the only stem of the network; use --output.other minus")
        if sum_to_mix and not covers_mixture and not rest and (two_stems is None or self.other == "sum"):
            raise DataError(
                f"--output.sum_to_mix: {', '.join(sources)} do not make up a song: add --output.rest true, which writes the "
                "rest of the song as a stem"
            )
        self.sum_to_mix, self.steps, self.rest = sum_to_mix, steps, rest
        self.names = [two_stems, f"no_{two_stems}"] if two_stems is not None else [*sources, *([REST] if rest else [])]

    @staticmethod
    def _stem_index(sources: Sequence[str], two_stems: str | None, rest: bool) -> int | None:
        """Index of the stem `two_stems`; None without it."""
        if two_stems is not None and two_stems not in sources:
            raise DataError(f"--output.two_stems: unknown stem '{two_stems}'; choose from {', '.join(sources)}")
        if rest and two_stems is not None:
            raise DataError(f"--output.rest: with --output.two_stems use --output.other minus, which writes no_{two_stems}")
        if rest and REST in sources:
            raise DataError(f"--output.rest: the network already has a stem {REST}")
        return None if two_stems is None else list(sources).index(two_stems)

    def __call__(self, piece: StemBlock) -> Tensor:
        """Block of a song -> output stems (names, channels, frames)."""
        stems = piece.stems
        if self.stem is not None:
            stem = stems[self.stem]
            remainder = piece.mixture - stem if self.other == "minus" else stems.sum(dim=0) - stem
            stems = torch.stack([stem, remainder])
        elif self.rest:
            stems = torch.cat([stems, (piece.mixture - stems.sum(dim=0))[None]])
        return self._complete(stems.double(), piece.mixture.double()).float() if self.sum_to_mix else stems

    def _complete(self, stems: Tensor, mixture: Tensor) -> Tensor:
        stems = stems + (mixture - stems.sum(dim=0)) / len(stems)
        if self.steps:
            # Round here: the last stem absorbs the rounding errors of the others.
            stems, mixture = (stems * self.steps).round(), (mixture * self.steps).round()
            stems = torch.cat([stems[:-1], (mixture - stems[:-1].sum(dim=0))[None]]) / self.steps
        return stems


class StemWriter(PredictionWriter):
    """Writer of `<folder>/<song>/<stem>.wav` with the sample rate, channels and exact length of each song.

    Args:
        folder: output folder (default: `predictions` in the run folder)
        format: wav, flac, mp3 (320 kbit/s) or ogg
        subtype: of wav and flac: PCM_16, PCM_24, or FLOAT (wav only), which never clips
        two_stems: write only this stem and `no_<stem>`, for instance vocals and no_vocals
        other: `no_<stem>` is the `sum` of the other stems, or the song `minus` the stem (default: the sum if the network's
            sources make up a song, else minus)
        sum_to_mix: distribute the difference between song and stems equally over the stems, so that they sum to the song
            exactly; stems are never rescaled
        rest: add the stem `rest`, the song minus all stems
        picture: write spectrogram.png of song and stems
        check_seams: separate the first two and a half chunks also at once, and report the difference
        overwrite: delete the stems of earlier runs
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
            raise ValueError("flac does not support --output.subtype FLOAT: use PCM_24, or --output.format wav")
        if format in ("mp3", "ogg") and subtype != "PCM_16":
            raise ValueError(f"--output.subtype {subtype} is not supported by {format}: leave it out, or use --output.format wav")
        if other is not None and two_stems is None:
            raise ValueError(f"--output.other {other} needs --output.two_stems STEM")
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
        """Create the output stems. Raises DataError if they do not fit the network."""
        steps = STEPS.get(self.subtype) if self.format in ("wav", "flac") else None
        covers = getattr(pl_module, "covers_mixture", True)
        self.outputs = Outputs(pl_module.sources, self.two_stems, self.other, self.sum_to_mix, steps, self.rest, covers)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show progress in seconds of audio instead of files."""
        super().on_predict_start(trainer, pl_module)
        default_bar = trainer.progress_bar_callback
        if default_bar is not None:
            default_bar.disable()
        paths = [item.path for item in trainer.datamodule.remaining()]
        self.claims = {path: _claimed_s(path) for path in paths[trainer.global_rank :: trainer.world_size]}
        total = sum(self.claims.values()) or None
        self.bar = progress(
            desc="separated",
            total=total,
            unit="second of audio",
            disable=default_bar is None,
            position=trainer.global_rank,
            bar_format=BAR if total else BAR_WITHOUT_TOTAL,
            smoothing=0.05,
        )

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Separate and write one song, nothing on an error; return its row of the journal."""
        self.bar.set_description_str(f"{files.title[:40]} ")
        before = self.bar.n
        try:
            row = self._write(prediction, files)
            return row | ({"seams_db": file_seams(pl_module, batch.path)} if self.check_seams else {})
        finally:
            # Correct a wrong length in the header, so that the estimate of the remaining time stays right.
            self.bar.update(self.claims.get(batch.path, 0.0) - (self.bar.n - before))

    def _write(self, song: SongStems, files: PredictionFiles) -> dict[str, Any]:
        """Write the stems of one song; return their row of stems.json."""
        columns = PooledSpectrograms(song.sample_rate, 1 + len(self.outputs.names)) if self.picture else None
        folder = self.root / files.stem
        stem_files = StemFiles(
            folder, self.outputs.names, song.sample_rate, song.channels, song.frames, self.format, self.subtype
        )
        with stem_files:
            for piece in song.pieces():
                stems = self.outputs(piece)
                stem_files.write(stems)
                if columns is not None:
                    columns.push(torch.cat([piece.mixture[None], stems]))
                self.bar.update(piece.stems.shape[-1] / song.sample_rate)
                del piece, stems  # free memory before the next block
            if columns is not None:
                stem_files.add("spectrogram.png", self._drawn(columns, files.title, song.frames / song.sample_rate))
        names = [*stem_files.names, *(["spectrogram.png"] if columns is not None else [])]
        files.add(*(f"{files.stem}/{name}" for name in names))
        row = {
            "folder": files.stem,
            "stems": stem_files.names,
            "duration_s": round(song.frames / song.sample_rate, 6),
            "sample_rate": song.sample_rate,
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
        save_png(picture, content)
        return content.getvalue()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the progress bar before the report."""
        self._close_bar()
        super().teardown(trainer, pl_module, stage)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the progress bar before the report."""
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
        """Print the folders of the stems, and remarks on songs."""
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
    """Lines on clipping, damage and seams of songs."""
    lines = []
    for entry in entries:
        name, row = Path(entry.file).name, entry.row
        if "clipped" in row:
            counts = ", ".join(f"{stem} {count}" for stem, count in row["clipped"].items())
            lines.append(f"{name}: samples beyond full scale were clipped ({counts}): --output.subtype FLOAT keeps them")
        if "damage" in row:
            lines.append(f"{name} {row['damage']}; the stems end there")
        if row.get("seams_db", 0) == EQUAL:
            lines.append(f"{name}: stems of chunks equal those of the whole")
        elif row.get("seams_db") is not None:
            lines.append(f"{name}: stems of chunks differ from those of the whole by {row['seams_db']} dB at most")
        elif "seams_db" in row:
            lines.append(f"{name}: shorter than one chunk, so it has no seams")
    return lines
