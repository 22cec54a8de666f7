"""What `predict` leaves of a tagged folder: tables always; timelines, maps and embeddings on request."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from datamodules.errors import DataError
from tasks.writers.parts import Parts, counted, refuse, unique_stem


class TagWriter(BasePredictionWriter):
    """Write tags.csv and tags.json, and on request timelines, maps and embeddings, one set per input file.

    Args:
        folder: where everything goes (default: `predictions` in the run folder)
        top: how many tags `tags.json` lists per file
        timeline: write `timelines/<file>.csv` and `.png`, tag probabilities against time
        hop: step of the timeline in s
        maps: write `maps/<file>.npz` and `.png`, attention and contribution of the strongest chunk
        map_tags: rows of the contribution map (default: the top tags of the file)
        join: draw one contribution map of the first two files joined at the spectrogram (paper, Figure 7)
        embeddings: names of layers whose outputs go to `embeddings/<file>.npz` (chunks, features)
        overwrite: replace the predictions of an earlier run
    """

    def __init__(
        self,
        folder: str | None = None,
        top: int = 5,
        timeline: bool = False,
        hop: float = 1.0,
        maps: bool = False,
        map_tags: list[str] | None = None,
        join: bool = False,
        embeddings: list[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        super().__init__("batch")
        if top < 1 or hop <= 0:
            raise ValueError(f"--output.top must be at least 1 and --output.hop above 0 s, got {top} and {hop}")
        self.folder, self.top, self.timeline, self.hop = folder, top, timeline, hop
        self.maps, self.map_tags, self.join, self.embeddings = maps, map_tags, join, embeddings or []
        self.overwrite = overwrite

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to overwrite, and to start with layers or tags that the network does not have."""
        if stage != "predict":
            return
        root = Path(self.folder)
        refuse(trainer, root / "tags.csv", self.overwrite)
        layers = dict(pl_module.net.named_modules())
        for layer in self.embeddings:
            if layer not in layers:
                known = ", ".join(name for name in layers if name and name.count(".") < 2)
                raise DataError(f"--output.embeddings: the network has no layer '{layer}'; it has {known}")
        for tag in self.map_tags or []:
            if tag not in pl_module.tags:
                raise DataError(f"--output.map_tags: the network knows no tag '{tag}'; it knows {', '.join(pl_module.tags)}")
        if (self.maps or self.join) and not hasattr(pl_module.net, "explain"):
            raise DataError(f"{type(pl_module.net).__name__} has no attention to draw: maps need an Att back-end")
        self.parts = Parts(root, trainer.global_rank)

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *args: Any) -> None:
        """Write what belongs to one file at once, so that nothing is lost when a later file fails."""
        batch = args[1]
        if batch.error is not None:
            self.parts.add({"file": batch.path, "error": batch.error})
            return
        stem = unique_stem(batch.path)
        if self.timeline:
            self._timeline(pl_module, batch, stem)
        if self.maps:
            self._maps(pl_module, batch, prediction, stem)
        if self.embeddings:
            self._embeddings(pl_module, batch, stem)
        scores = [round(float(score), 6) for score in prediction.scores]
        row = {"file": batch.path, "duration_s": round(prediction.duration_s, 3), "scores": scores}
        said = {"damage": batch.damage, "remark": batch.remark}
        self.parts.add(row | {name: text for name, text in said.items() if text})

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' parts into tags.csv and tags.json; say which files failed."""
        merged = self.parts.finish(trainer)
        if merged is None:
            return
        good, failed = merged
        self._tables(pl_module.tags, good, failed)
        place = f"{self.parts.root / 'tags.csv'}, {self.parts.root / 'tags.json'}"
        print(f"\n{counted(len(good), 'file')} tagged: {place}", flush=True)
        for row in good:
            if "damage" in row:
                print(f"{row['file']} {row['damage']}: the tags are those of what is there", flush=True)
            if "remark" in row:
                print(f"{row['file']}: {row['remark']}", flush=True)
        if self.join and len(good) >= 2:
            self._joined(pl_module, good[0]["file"], good[1]["file"])

    def _tables(self, tags: list[str], good: list[dict], failed: list[dict]) -> None:
        lines = [",".join(["file", "duration_s", *map(_quoted, tags)])]
        lines += [",".join([_quoted(row["file"]), str(row["duration_s"]), *map(str, row["scores"])]) for row in good]
        self.parts.write("tags.csv", "\n".join(lines) + "\n")
        listing = {}
        for row in good:
            order = np.argsort(-np.asarray(row["scores"]), kind="stable")[: self.top]
            listing[row["file"]] = [{"tag": tags[i], "score": row["scores"][i]} for i in order]
        content = {"files": listing, "failed": {row["file"]: row["error"] for row in failed}, "left_out": self.parts.left_out}
        self.parts.write("tags.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def _timeline(self, tagger: LightningModule, batch: Any, stem: str) -> None:
        from tasks.figures.tagging import timeline
        from tasks.tagging.ladder import Audio2Scores, tagger_window

        chunks = Audio2Scores(tagger, hop_s=self.hop).native(batch.audio)
        window = tagger_window(tagger)
        length = (window.samples - 2 * window.lead) / window.sample_rate
        header = ",".join(["start_s", "end_s", *map(_quoted, tagger.tags)])
        steps = zip(chunks.start_s, chunks.scores, strict=True)
        rows = [",".join([f"{t:.3f}", f"{t + length:.3f}", *(f"{v:.6f}" for v in row)]) for t, row in steps]
        self.parts.write(f"timelines/{stem}.csv", "\n".join([header, *rows]) + "\n")
        # Each step is drawn around the middle of the chunk it was heard in.
        shift = (length - self.hop) / 2
        picture = timeline(chunks.scores, tags=tagger.tags, hop_s=self.hop, title=Path(batch.path).name, start_s=shift)
        self.parts.figure(f"timelines/{stem}.png", picture)

    def _maps(self, tagger: LightningModule, batch: Any, prediction: Any, stem: str) -> None:
        from tasks.tagging.maps import attention_figure, contribution_figure, explain, strongest

        rows = self.map_tags or [tag for tag, _ in prediction.top(self.top)]
        found = explain(tagger, strongest(tagger, batch.audio, prediction.chunks))
        name = Path(batch.path).name
        self.parts.arrays(f"maps/{stem}.npz", found.arrays(tagger.tags))
        self.parts.figure(f"maps/{stem}-attention.png", attention_figure(found, name))
        self.parts.figure(f"maps/{stem}-contribution.png", contribution_figure(found, tagger.tags, rows, name))

    def _joined(self, tagger: LightningModule, first: str, second: str) -> None:
        from tasks.tagging.maps import contribution_figure, explain_joined, strongest

        tagged = [self._retag(tagger, path) for path in (first, second)]
        rows = self.map_tags or list(dict.fromkeys(tags.top(1)[0][0] for _, tags in tagged))
        halves = [strongest(tagger, audio, tags.chunks) for audio, tags in tagged]
        found = explain_joined(tagger, *halves)
        name, names = f"maps/{unique_stem(first)}+{unique_stem(second)}", (Path(first).name, Path(second).name)
        self.parts.arrays(f"{name}.npz", found.arrays(tagger.tags))
        self.parts.figure(f"{name}.png", contribution_figure(found, tagger.tags, rows, " + ".join(names), names))

    def _retag(self, tagger: LightningModule, path: str) -> tuple[Any, Any]:
        import torch

        from datamodules.audio import read_file
        from tasks.tagging.ladder import File2Tags

        audio = torch.as_tensor(read_file(path, tagger.net.sample_rate))
        return audio, File2Tags(tagger).tagged(path, audio)

    def _embeddings(self, tagger: LightningModule, batch: Any, stem: str) -> None:
        from tasks.tagging.ladder import Audio2Embeddings

        self.parts.arrays(f"embeddings/{stem}.npz", Audio2Embeddings(tagger, self.embeddings).native(batch.audio))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text
