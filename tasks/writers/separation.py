"""What `predict` leaves of a user's songs: their stems as sound files, a spectrogram picture, and a list of them all."""

import io
import json
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from datamodules.audio import header
from datamodules.errors import DataError
from tasks.separation.columns import Columns
from tasks.separation.ladder import SongStems
from tasks.separation.outputs import Outputs
from tasks.separation.seams import EQUAL, file_seams
from tasks.writers.parts import Parts, counted, unique_stem
from tasks.writers.stem_files import STEPS, StemFiles, check_writable

LISTED = 10
BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s of audio, {elapsed} passed, {remaining} left"
BAR_WITHOUT_TOTAL = "{desc}{n:.0f} s of audio, {elapsed} passed"


class StemWriter(BasePredictionWriter):
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
        overwrite: replace the stems of an earlier run
    """

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
        super().__init__("batch")
        if format == "flac" and subtype == "FLOAT":
            raise ValueError("flac holds integers alone: --output.subtype PCM_24, or --output.format wav")
        self.folder, self.format, self.subtype, self.overwrite = folder, format, subtype, overwrite
        self.two_stems, self.other, self.sum_to_mix, self.rest = two_stems, other, sum_to_mix, rest
        self.picture, self.check_seams = picture, check_seams

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to overwrite, to write where nobody may, and to start with a stem that the network does not have."""
        if stage != "predict":
            return
        root = Path(self.folder)
        steps = STEPS.get(self.subtype) if self.format in ("wav", "flac") else None
        covers = getattr(pl_module, "covers_mixture", True)
        self.outputs = Outputs(pl_module.sources, self.two_stems, self.other, self.sum_to_mix, steps, self.rest, covers)
        self.paths = trainer.datamodule.paths()
        if trainer.is_global_zero:
            for path in self.paths:
                if (root / unique_stem(path)).exists() and not self.overwrite:
                    place = root / unique_stem(path)
                    raise DataError(f"{place} already holds stems of {path}: add --overwrite true, or --output.folder ANOTHER")
            check_writable(root)
        self.parts = Parts(root, trainer.global_rank)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show progress in seconds of audio instead of in files."""
        from tqdm import tqdm

        shown = trainer.progress_bar_callback
        if shown is not None:
            shown.disable()
        self.claims = {path: _claimed_s(path) for path in self.paths[trainer.global_rank :: trainer.world_size]}
        total = sum(self.claims.values()) or None
        self.bar = tqdm(
            total=total,
            disable=shown is None,
            position=trainer.global_rank,
            bar_format=BAR if total else BAR_WITHOUT_TOTAL,
            smoothing=0.05,
            dynamic_ncols=True,
        )

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *args: Any) -> None:
        """Drain the stream of one song; what fails leaves nothing behind and stops no other song."""
        batch = args[1]
        if batch.error is not None:
            self.parts.add({"file": batch.path, "error": batch.error})
            return
        self.bar.set_description_str(f"{Path(batch.path).name[:40]} ")
        before = self.bar.n
        try:
            row = self._write(prediction, self.parts.root / unique_stem(batch.path))
            if self.check_seams:
                row["seams_db"] = file_seams(pl_module, batch.path)
        except DataError as error:
            if trainer.datamodule.strict:
                raise
            row = {"error": str(error)}
        # What a header claimed wrongly is set right, so that the time left stays that of the songs that follow.
        self.bar.update(self.claims.get(batch.path, 0.0) - (self.bar.n - before))
        self.parts.add({"file": batch.path, **row})

    def _write(self, song: SongStems, folder: Path) -> dict[str, Any]:
        """Write the stems of one song; what the list says of them."""
        columns = Columns(song.rate, 1 + len(self.outputs.names)) if self.picture else None
        files = StemFiles(folder, self.outputs.names, song.rate, song.channels, song.frames, self.format, self.subtype)
        with files:
            for piece in song.pieces():
                stems = self.outputs(piece)
                files.write(stems)
                if columns is not None:
                    columns.push(torch.cat([piece.mixture[None], stems]))
                self.bar.update(piece.stems.shape[-1] / song.rate)
            if columns is not None:
                files.add("spectrogram.png", self._drawn(columns, Path(song.path).name))
        row = {
            "folder": folder.name,
            "stems": files.names,
            "duration_s": round(song.frames / song.rate, 6),
            "sample_rate": song.rate,
            "channels": song.channels,
        }
        clipped = {name: int(count) for name, count in zip(files.names, files.clipped, strict=True) if count}
        return row | ({"clipped": clipped} if clipped else {}) | ({"damage": song.damage} if song.damage else {})

    def _drawn(self, columns: Columns, title: str) -> bytes:
        from tasks.figures.separation import stem_grid

        levels, hop_s = columns.close()
        picture = stem_grid(levels, names=["mixture", *self.outputs.names], mel_hertz=columns.hertz, hop_s=hop_s, title=title)
        content = io.BytesIO()
        picture.savefig(content, format="png")
        return content.getvalue()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' parts into stems.json; say where the stems are, what was clipped and what failed."""
        self.bar.close()
        merged = self.parts.finish(trainer)
        if merged is None:
            return
        good, failed = merged
        self._list(good, failed)
        songs = counted(len(good) + len(failed), "song")
        print(f"\n{len(good)} of {songs} separated into {', '.join(self.outputs.names)} ({self.format}):")
        print("".join(f"  {self.parts.root / row['folder']}\n" for row in good[:LISTED]), end="")
        if len(good) > LISTED:
            print(f"  ... and {len(good) - LISTED} more, listed in {self.parts.root / 'stems.json'}")
        for line in _remarks(good):
            print(line)

    def _list(self, good: list[dict], failed: list[dict]) -> None:
        """stems.json: songs of earlier runs into the same folder stay listed."""
        path = self.parts.root / "stems.json"
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            before = {}
        files = before | {row["file"]: {k: v for k, v in row.items() if k != "file"} for row in good}
        content = {"files": files, "failed": {row["file"]: row["error"] for row in failed}, "left_out": self.parts.left_out}
        self.parts.write("stems.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _claimed_s(path: str) -> float:
    try:
        claim = header(path)
    except DataError:
        return 0.0
    return claim.frames / claim.sample_rate


def _remarks(rows: list[dict]) -> list[str]:
    """A line for each song that needs one."""
    lines = []
    for row in rows:
        name = Path(row["file"]).name
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
