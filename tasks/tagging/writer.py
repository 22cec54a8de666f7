"""Output of `predict` for tagging: tables of tags, and optional timelines, maps and embeddings per file."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from datamodules.common.errors import DataError
from tasks.tagging.decisions import are_learned, make_decision
from tasks.tagging.options import LEARNED, TaggingOptions
from tasks.writers.base import PredictionFiles, PredictionWriter, of_all
from tasks.writers.journal import JournalEntry
from tasks.writers.output_files import counted, whole, write_figure, write_json, write_text

ROWS = 5  # of a contribution map, unless tags are named


class TagWriter(PredictionWriter):
    """Writer of tags.csv and tags.json, and of optional timelines, maps and embeddings per input file.

    Tags are selected by the network's inference options.

    Args:
        folder: output folder (default: `predictions` in the run folder)
        timeline: write `timelines/<file>.csv` and `.png`, tag probabilities against time
        hop: time step of the timeline, s
        maps: write `maps/<file>.npz` and `.png`, attention and contribution of the strongest chunk
        map_tags: rows of the contribution map (default: the selected tags, at most five)
        join: draw one contribution map of the first two files joined at the spectrogram (paper, Figure 7)
        embeddings: names of layers; their outputs (chunks, features) are written to `embeddings/<file>.npz`
        overwrite: delete the predictions of earlier runs
    """

    reserved = ("tags.csv", "tags.json", "timelines", "maps", "embeddings")
    tables_only = tuple(f"model.inference.{option.name}" for option in fields(TaggingOptions))

    def __init__(
        self,
        folder: str | None = None,
        timeline: bool = False,
        hop: float = 1.0,
        maps: bool = False,
        map_tags: list[str] | None = None,
        join: bool = False,
        embeddings: list[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        super().__init__(folder, overwrite, {"timeline": timeline and hop, "maps": maps, "embeddings": embeddings})
        if hop <= 0:
            raise ValueError(f"--output.hop must be above 0 s, got {hop}")
        self.timeline, self.hop = timeline, hop
        self.maps, self.map_tags, self.join, self.embeddings = maps, map_tags, join, embeddings or []

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check layers, tags, attention and thresholds against the network. Raises DataError if one does not fit."""
        options = pl_module.inference
        if options.threshold != LEARNED:  # learned thresholds and calibration come with the weights, later
            make_decision(pl_module, replace(options, calibrated=False))
        if self.maps:
            listed = [options.threshold, options.top, *(["calibrated"] if options.calibrated else [])]
            self.extras["maps"] = self.map_tags or listed
        layers = dict(pl_module.net.named_modules())
        for layer in self.embeddings:
            if layer not in layers:
                known = ", ".join(name for name in layers if name and name.count(".") < 2)
                raise DataError(f"--output.embeddings: unknown layer '{layer}'; choose from {known}")
        for tag in self.map_tags or []:
            if tag not in pl_module.tags:
                raise DataError(f"--output.map_tags: unknown tag '{tag}'; choose from {', '.join(pl_module.tags)}")
        if self.map_tags and not (self.maps or self.join):
            raise DataError("--output.map_tags needs --output.maps true or --output.join true")
        if (self.maps or self.join) and not getattr(pl_module.net, "explains", False):
            option = "maps" if self.maps else "join"
            back_end = type(getattr(pl_module.net, "back_end", pl_module.net)).__name__
            raise DataError(f"--output.{option}: {back_end} has no attention; leave the option out or use a network with Att")
        if self.join and len(trainer.datamodule.items()) < 2:
            raise DataError("--output.join needs at least two files in --data.inputs")

    def prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the decision rule with thresholds and calibration of the loaded weights."""
        options = pl_module.inference
        self.decision = make_decision(pl_module, options)
        if options.threshold == LEARNED and options.top is None and trainer.is_global_zero and not are_learned(pl_module):
            other = "--model.inference.threshold, --model.inference.top"
            print(f"These weights have no learned thresholds: using 0.5 (change it with {other})", flush=True)

    def write_input(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, prediction: Any, files: PredictionFiles
    ) -> dict[str, Any]:
        """Write timeline, maps and embeddings of one file; return its row of the journal."""
        if self.timeline:
            self._timeline(pl_module, batch, prediction, files)
        if self.maps:
            self._maps(pl_module, batch, prediction, files)
        if self.embeddings:
            self._embeddings(pl_module, batch, files)
        row = {"duration_s": round(prediction.duration_s, 3), "scores": [round(float(score), 6) for score in prediction.scores]}
        row |= {"notes": list(prediction.notes), "usable": prediction.usable}
        return row | ({"damage": batch.damage} if batch.damage else {})

    def write_tables(self, pl_module: LightningModule, good: list[JournalEntry], failed: list[JournalEntry]) -> None:
        """Write tags.csv and tags.json."""
        lines, listing = [",".join(["file", "duration_s", "tags", "notes", *map(_quoted, pl_module.tags)])], {}
        for entry in good:
            scores, notes = entry.row["scores"], "; ".join(_notes(entry))
            selected = self.decision(scores, entry.row.get("usable", True))
            listing[entry.file] = [{"tag": tag, "score": round(score, 6)} for tag, score in selected]
            cells = [entry.file, str(entry.row["duration_s"]), ", ".join(tag for tag, _ in selected), notes]
            lines.append(",".join([*map(_quoted, cells), *map(str, self.decision.output_scores(scores).round(6).tolist())]))
        write_text(self.root / "tags.csv", "\n".join(lines) + "\n")
        content = {"files": listing, "failed": {entry.file: entry.error for entry in failed}, "left_out": self.left_out}
        write_json(self.root / "tags.json", content)

    def report(self, pl_module: LightningModule, new: list[JournalEntry], good: list[JournalEntry]) -> None:
        """Print the paths of the tables and remarks on files; draw the joined map."""
        tables = f"{self.root / 'tags.csv'}, {self.root / 'tags.json'}"
        print(f"\n{counted(len(new), 'file')} tagged{of_all(new, good)}: {tables}", flush=True)
        if self.join:
            self._joined(pl_module, good)
        for entry in new:
            if notes := _notes(entry):
                print(f"{entry.file}: {'; '.join(notes)}", flush=True)

    def _timeline(self, tagger: LightningModule, batch: Any, prediction: Any, files: PredictionFiles) -> None:
        from tasks.tagging.figures import timeline
        from tasks.tagging.inference import Audio2TagScores, tagger_window

        chunks = Audio2TagScores(tagger, hop_s=self.hop).native(batch.audio)
        window = tagger_window(tagger)
        length = (window.samples - 2 * window.lead) / window.sample_rate
        header = ",".join(["start_s", "end_s", *map(_quoted, tagger.tags)])
        end_s = prediction.duration_s
        steps = zip(chunks.start_s, np.minimum(chunks.start_s + length, end_s), chunks.scores, strict=True)
        rows = [",".join([f"{begin:.3f}", f"{end:.3f}", *(f"{v:.6f}" for v in row)]) for begin, end, row in steps]
        files.text(f"timelines/{files.stem}.csv", "\n".join([header, *rows]) + "\n")
        about = {"tags": tagger.tags, "centres_s": chunks.start_s + length / 2, "end_s": end_s, "title": files.title}
        picture = timeline(chunks.scores, **about)
        files.figure(f"timelines/{files.stem}.png", picture)

    def _maps(self, tagger: LightningModule, batch: Any, prediction: Any, files: PredictionFiles) -> None:
        from tasks.tagging.maps import attention_figure, contribution_figure, explain, strongest

        rows = self.map_tags or [tag for tag, _ in self.decision(prediction.scores)[:ROWS] or prediction.top(ROWS)]
        maps = explain(tagger, strongest(tagger, batch.audio, prediction.chunks))
        files.arrays(f"maps/{files.stem}.npz", maps.arrays(tagger.tags))
        files.figure(f"maps/{files.stem}-attention.png", attention_figure(maps, files.title))
        files.figure(f"maps/{files.stem}-contribution.png", contribution_figure(maps, tagger.tags, rows, files.title))

    def _joined(self, tagger: LightningModule, good: list[JournalEntry]) -> None:
        """Draw the contribution map of the first two inputs joined."""
        from tasks.tagging.maps import contribution_figure, explain_joined, strongest

        paths = {item.key: item.path for item in self.items}
        pair = [entry for entry in good if entry.key in paths][:2]
        if len(pair) < 2:
            return
        tagged = [self._retag(tagger, paths[entry.key]) for entry in pair]
        rows = self.map_tags or list(dict.fromkeys(tags.top(1)[0][0] for _, tags in tagged))
        joined = explain_joined(tagger, *(strongest(tagger, audio, tags.chunks) for audio, tags in tagged))
        path = self.root / "maps" / "+".join(entry.stem for entry in pair)
        names = tuple(Path(entry.file).name for entry in pair)
        with whole(Path(f"{path}.npz")) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **joined.arrays(tagger.tags))
        write_figure(Path(f"{path}.png"), contribution_figure(joined, tagger.tags, rows, " + ".join(names), names))

    def _retag(self, tagger: LightningModule, path: str) -> tuple[Any, Any]:
        import torch

        from datamodules.audio.reading import read_file
        from tasks.tagging.inference import Audio2Tags

        audio = torch.as_tensor(read_file(path, tagger.net.sample_rate))
        return audio, Audio2Tags(tagger).native(audio, path)

    def _embeddings(self, tagger: LightningModule, batch: Any, files: PredictionFiles) -> None:
        from tasks.tagging.inference import Audio2Embeddings

        files.arrays(f"embeddings/{files.stem}.npz", Audio2Embeddings(tagger, self.embeddings).native(batch.audio))


def _notes(entry: JournalEntry) -> list[str]:
    """Remarks on a file, damage first."""
    damage = entry.row.get("damage")
    return [*([f"{damage}, tags are of the decoded part"] if damage else []), *entry.row.get("notes", ())]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text
