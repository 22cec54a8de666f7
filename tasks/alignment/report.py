"""What `test` and `validate` leave of an aligner: metrics.json, tables of events and recordings, baselines, pictures."""

from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from tasks import results
from tasks.alignment import tables
from tasks.alignment.baselines import score_baselines
from tasks.alignment.pictures import draw, log_examples
from tasks.metrics.alignment import AlignmentRows, intervals, summary
from tasks.report import Report


class AlignmentReport(Report):
    """Write and print the scores of a split, of the distance and the binary matrix as far as the network gives them.

    Args:
        baselines: `test` also scores DTW on features that nobody trained
        resamples: of the bootstrap that the intervals come from
        pictures: test recordings of which the path is drawn
        examples: validation recordings that W&B or TensorBoard gets after each validation (audio, similarity, errors)
    """

    def __init__(self, baselines: bool = True, resamples: int = 1000, pictures: int = 3, examples: int = 2) -> None:
        if min(resamples - 1, pictures, examples) < 0:
            raise ValueError(
                f"--report.resamples must be positive, pictures and examples not negative: {resamples}, {pictures}, {examples}"
            )
        self.baselines, self.resamples, self.pictures, self.examples = baselines, resamples, pictures, examples

    def report(self, trainer: Trainer, aligner: LightningModule, split: str) -> None:
        """The tables, the scores, the pictures, and on screen what they say."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data = trainer.datamodule
        pairs = data.evaluated(split)
        systems: dict[str, AlignmentRows] = {tables.OURS[mode]: rows for mode, rows in aligner.found.items()}
        others = score_baselines(data, split) if self.baselines and split == "test" else {}
        systems |= others
        pieces = [pair.piece for pair in pairs]
        about = tables.about(trainer, split)
        rows = {name: self._row(found, pieces) for name, found in systems.items()}
        metrics = tables.metrics_of(aligner.found)
        more: dict[str, Any] = {
            "baselines": [{"name": name, **rows[name]} for name in others],
            "intervals": tables.intervals_of(rows, aligner.found),
            "threshold": float(aligner.threshold),
            "validation": aligner.validated,
        }
        written = results.write_metrics(trainer, aligner, about, metrics, **more)
        events, recordings = (results.place(trainer, name, split) for name in ("events.csv", "per_recording.csv"))
        tables.write(events, recordings, systems, pairs, about)
        figures = results.place(trainer, "figures/errors.png", split)
        count = draw(figures, trainer, aligner, systems, split, self.pictures)
        counted = f"{int(metrics['n_recordings'])} recordings, {int(metrics['n_events'])} events"
        lines = ["", results.heading(about, counted), *tables.lines(rows), "", f"events        {events}"]
        lines += [f"recordings    {recordings}", f"pictures      {figures.parent} ({count})", f"scores        {written}"]
        print("\n".join(lines), flush=True)

    def _row(self, found: AlignmentRows, pieces: list[str]) -> dict[str, Any]:
        edges = intervals(found, pieces, self.resamples)
        return summary(found) | {f"{name}_interval": list(edge) for name, edge in edges.items() if np.isfinite(edge).all()}

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sound, distances with the true path, and errors of validation recordings."""
        log_examples(trainer, pl_module, self.examples)
