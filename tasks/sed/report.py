"""Report of sound event detection after `test` and `validate`: metrics.json, scores per class, events, baselines, figures."""

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn

from datamodules.common.errors import DataError
from models.blocks.features import LogMel
from tasks.callbacks import log_media
from tasks.metrics.events.decode import stack
from tasks.metrics.events.psds import PSDS1, PSDS2
from tasks.reporting import results
from tasks.reporting.baselines import Split, logistic
from tasks.reporting.results import Report
from tasks.sed import tables
from tasks.sed.figures import clip_timeline, draw
from tasks.sed.metrics import SedRows, summary, tune

FRAME_S = 0.5  # of the baselines


def score_baselines(data, net: nn.Module, split: str) -> list[dict]:
    """Scores of the baselines on a SEDDataModule: rows of name and scores.

    The baselines are the prior of each class and logistic regressions on the mean (and deviation) of the log-mel at the sample
    rate of `net`. A class that occurs is active in the whole clip. Thresholds are tuned on validation.
    """
    log_mel = LogMel(net.sample_rate, db="power", center=True)
    weak = next((name for name in data.streams if data.lists[name].tags is not None), None)
    if weak is None:
        return []
    train, validation, test = (_summarised(data, name, log_mel) for name in (weak, "validation", split))
    bands = train.features.shape[1] // 2
    predictions = {
        "prior of each class": [np.broadcast_to(train.labels.mean(0), x.labels.shape) for x in (validation, test)],
        "logistic regression, mean log-mel": [logistic(train, validation, x, bands) for x in (validation, test)],
        "logistic regression, mean and deviation": [logistic(train, validation, x, 2 * bands) for x in (validation, test)],
    }
    rows = []
    for name, (tuned_on, scored_on) in predictions.items():
        decision = tune(_detected(data, "validation", tuned_on))
        rows.append({"name": name, **summary(_detected(data, split, scored_on), decision)})
    return rows


def _summarised(data, name: str, log_mel: LogMel) -> Split:
    """Mean and deviation over time of the log-mel of each clip, and its tags."""
    clips, features, labels = data.clips(name), [], []
    with torch.no_grad():
        for clip in range(len(clips)):
            try:
                item = clips.item(clip)
            except DataError:
                continue
            mel = log_mel(torch.from_numpy(item.audio)[None])[0]
            features.append(torch.cat([mel.mean(1), mel.std(1)]).numpy())
            labels.append(item.tags)
    return Split(np.array(features), np.array(labels, dtype=np.uint8))


def _detected(data, name: str, probabilities: np.ndarray) -> SedRows:
    """Scores of frames: the probability of the clip in each of its frames."""
    corpus = data.corpus(name)
    counts = np.ceil(corpus.durations / FRAME_S).astype(int)
    frames = [np.repeat(row[None], count, axis=0) for row, count in zip(probabilities, counts, strict=True)]
    return SedRows(np.arange(len(corpus.names)), np.asarray(probabilities), stack(frames, corpus.durations, FRAME_S), corpus)


def log_examples(trainer: Trainer, detector: LightningModule, count: int) -> None:
    """Log audio, timeline and tags of the first `count` validation clips."""
    rows, decision = detector.rows[detector.evaluate], detector.decision("fixed")
    clips, tags = trainer.datamodule.clips("validation"), rows.corpus.tags()
    for clip in range(min(count, len(rows.corpus.names))):
        name = rows.corpus.names[clip]
        audio = torch.from_numpy(clips.item(int(rows.clip[clip])).audio).float() / 32768
        probabilities = rows.probabilities[clip]
        table = [(c, round(float(probabilities[k]), 4), int(tags[clip, k])) for k, c in enumerate(detector.classes)]
        log_media(
            trainer,
            f"val/example_{clip}",
            figure=clip_timeline(trainer, detector, rows, clip, decision, "validation"),
            audio=(audio, detector.net.sample_rate),
            table=(("class", "probability", "labelled"), table),
            caption=name,
        )


PSDS = (("PSDS 1, tuned", "psds1", str(PSDS1)), ("PSDS 2, tuned", "psds2", str(PSDS2)))


class SoundEventReport(Report):
    """Write and print the scores of student and teacher on a split, with fixed and with tuned thresholds.

    Args:
        psds: also compute PSDS 1 and 2
        baselines: `test` also scores the prior of each class and logistic regressions on the mean log-mel
        pictures: number of clips with a timeline figure, those with the most classes first
        examples: validation clips logged to W&B or TensorBoard after each validation (audio, timeline, table)
    """

    def __init__(self, psds: bool = True, baselines: bool = False, pictures: int = 6, examples: int = 2) -> None:
        if pictures < 0 or examples < 0:
            raise ValueError(f"--report.pictures and --report.examples must not be negative: {pictures}, {examples}")
        self.psds, self.baselines, self.pictures, self.examples = psds, baselines, pictures, examples

    def report(self, trainer: Trainer, detector: LightningModule, split: str) -> None:
        """Write tables, scores and figures of a split, and print a summary."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        scores, protocol = tables.all_scores(detector, self.psds), tables.about(trainer, split)
        baselines = score_baselines(trainer.datamodule, detector.net, split) if self.baselines and split == "test" else []
        per_class, events = (results.result_path(trainer, name, split) for name in ("per_class.csv", "events.tsv"))
        tables.write(per_class, events, detector, protocol)
        extra = {"validation": detector.validated, "baselines": baselines, "classes": detector.classes}
        written = results.write_metrics(trainer, detector, protocol, scores, psds={name: psds for name, _, psds in PSDS}, **extra)
        figures = results.result_path(trainer, "figures/per_class.png", split)
        count = draw(figures, trainer, detector, split, self.pictures)
        clips = f"{int(scores['n_clips'])} clips"
        lines = ["", f"{results.heading(protocol, clips)}, collar 200 ms or 20 %"]
        lines += [*tables.lines(detector, scores, baselines), ""]
        lines += [f"{name:12}  {scores['tuned_' + key]:6.3f}   ({psds})" for name, key, psds in PSDS if self.psds]
        lines += [f"per class     {per_class}", f"events        {events}"]
        lines += [f"pictures      {figures.parent} ({count})", f"scores        {written}"]
        print("\n".join(lines), flush=True)

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log audio, timeline and tags of validation clips."""
        log_examples(trainer, pl_module, self.examples)
