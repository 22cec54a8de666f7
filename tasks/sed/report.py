"""What `test` and `validate` leave of a detector: metrics.json, the table per class, predictions, baselines, pictures."""

from pytorch_lightning import LightningModule, Trainer

from tasks import results
from tasks.metrics.events.psds import PSDS1, PSDS2
from tasks.report import Report
from tasks.sed import tables
from tasks.sed.baselines import score_baselines
from tasks.sed.examples import log_examples
from tasks.sed.pictures import draw

PSDS = (("PSDS 1, tuned", "psds1", str(PSDS1)), ("PSDS 2, tuned", "psds2", str(PSDS2)))


class SoundEventReport(Report):
    """Write and print the scores of a split, by the fixed threshold and by what was tuned on validation, of student and teacher.

    Args:
        psds: `test` also computes PSDS 1 and 2 and the intersection-based F1
        baselines: `test` also scores what needs no network: the classes' prior, and logistic regressions on the mean log-mel
        pictures: test clips of which a timeline is drawn, those with the most classes first
        examples: validation clips that W&B or TensorBoard gets after each validation (audio, timeline, table)
    """

    def __init__(self, psds: bool = True, baselines: bool = False, pictures: int = 6, examples: int = 2) -> None:
        if pictures < 0 or examples < 0:
            raise ValueError(f"--report.pictures and --report.examples must not be negative: {pictures}, {examples}")
        self.psds, self.baselines, self.pictures, self.examples = psds, baselines, pictures, examples

    def report(self, trainer: Trainer, detector: LightningModule, split: str) -> None:
        """The tables, the scores, the pictures, and on screen what they say."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        scores, told = tables.all_scores(detector, self.psds), tables.about(trainer, split)
        others = score_baselines(trainer.datamodule, detector.net, split) if self.baselines and split == "test" else []
        per_class, events = (results.place(trainer, name, split) for name in ("per_class.csv", "events.tsv"))
        tables.write(per_class, events, detector, told)
        more = {"validation": detector.validated, "baselines": others, "classes": detector.classes}
        written = results.write_metrics(trainer, detector, told, scores, psds={name: psds for name, _, psds in PSDS}, **more)
        figures = results.place(trainer, "figures/per_class.png", split)
        count = draw(figures, trainer, detector, split, self.pictures)
        clips = f"{int(scores['n_clips'])} clips"
        lines = ["", f"{results.heading(told, clips)}, collar 200 ms or 20 %"]
        lines += [*tables.lines(detector, scores, others), ""]
        lines += [f"{name:12}  {scores['tuned_' + key]:6.3f}   ({psds})" for name, key, psds in PSDS if self.psds]
        lines += [f"per class     {per_class}", f"events        {events}"]
        lines += [f"pictures      {figures.parent} ({count})", f"scores        {written}"]
        print("\n".join(lines), flush=True)

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sound, timeline and tags of validation clips."""
        log_examples(trainer, pl_module, self.examples)
