"""Report of tagging after `test` and `validate`: metrics.json, scores per tag, baselines, figures."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from datamodules.common.errors import DataError
from datamodules.common.progress import progress
from models.blocks.features import LogMel
from tasks.callbacks import log_media
from tasks.metrics.ranking import average_precision, roc_auc
from tasks.reporting import results
from tasks.reporting.baselines import Split, logistic
from tasks.reporting.results import Report
from tasks.reporting.tables import write_csv
from tasks.tagging.inference import Audio2Tags, Audio2TagScores
from tasks.tagging.maps import Segment, attention_figure, contribution_figure, explain, explain_joined, strongest
from tasks.tagging.metrics import ClipScores, per_tag_table
from tasks.tagging.options import TaggingOptions
from tasks.tagging.paper import PAIRS
from tasks.writers.output_files import write_figure

BASELINE_SECONDS = 60  # maximum per clip
EXAMPLE_SECONDS = 30


class ClipSource(Protocol):
    """Split of a tagging set: `labels` (clips, tags) in {0, 1} and int16 audio by position."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def read(self, clip: int, start: int, samples: int) -> np.ndarray: ...


def score_baselines(data, net: nn.Module) -> list[dict]:
    """Scores of the baselines on the test split of a TaggingDataModule: rows of name, auroc_macro, ap_macro.

    The baselines are the prior of each tag and logistic regressions on the mean (and deviation) of the log-mel at the
    sample rate of `net`.
    """
    log_mel = LogMel(net.sample_rate, db="power", center=True)
    return baselines(*(summarise(data.clips(split), log_mel) for split in ("train", "validation", "test")))


def summarise(clips: ClipSource, log_mel: Callable[[Tensor], Tensor]) -> Split:
    """Mean and deviation over time of the log-mel of each clip; `log_mel` maps (1, samples) int16 to (1, mels, frames).

    Unreadable clips are left out; at most the first minute of a clip is used.
    """
    features, readable = [], []
    with torch.no_grad():
        for clip in range(len(clips)):
            try:
                audio = clips.read(clip, 0, BASELINE_SECONDS * log_mel.sample_rate)
            except DataError:
                continue
            mel = log_mel(torch.from_numpy(audio)[None])[0]
            features.append(torch.cat([mel.mean(1), mel.std(1)]).numpy())
            readable.append(clip)
    return Split(np.array(features), np.asarray(clips.labels)[readable])


def baselines(train: Split, validation: Split, test: Split) -> list[dict]:
    """Fit on `train`, select the penalty by macro AUROC on `validation`, score on `test`; three rows."""
    bands = train.features.shape[1] // 2
    predictions = {
        "prior of each tag": np.broadcast_to(train.labels.mean(0), test.labels.shape),
        "logistic regression, mean log-mel": logistic(train, validation, test, bands),
        "logistic regression, mean and deviation": logistic(train, validation, test, 2 * bands),
    }
    return [
        {
            "name": name,
            "auroc_macro": float(np.nanmean(roc_auc(scores, test.labels))),
            "ap_macro": float(np.nanmean(average_precision(scores, test.labels))),
        }
        for name, scores in predictions.items()
    ]


def log_examples(trainer: Trainer, tagger: LightningModule, count: int) -> None:
    """Log audio, tags and attention of the first `count` validation clips."""
    clips = trainer.datamodule.clips("validation")
    for clip in range(min(count, len(clips))):
        with suppress(DataError):  # the validation has reported this file
            _log(trainer, tagger, clips, clip)


def _log(trainer: Trainer, tagger: LightningModule, clips, clip: int) -> None:
    sample_rate, path = tagger.net.sample_rate, clips.name(clip)
    audio = torch.as_tensor(clips.read(clip, 0, min(clips.length(clip), EXAMPLE_SECONDS * sample_rate))).float() / 32768
    tags = Audio2Tags(tagger, inference=TaggingOptions()).native(audio, path)  # only the probabilities are used
    truth = dict(zip(tagger.tags, clips.labels[clip].tolist(), strict=True))
    rows = [(tag, round(score, 4), int(truth[tag])) for tag, score in tags.top(len(tagger.tags))]
    figure = None
    if getattr(tagger.net, "explains", False):
        figure = attention_figure(explain(tagger, strongest(tagger, audio, tags.chunks)), path)
    columns = ("tag", "probability", "labelled")
    log_media(trainer, f"val/example_{clip}", figure=figure, audio=(audio, sample_rate), table=(columns, rows), caption=path)


class TaggingReport(Report):
    """Write and print the scores of a split with data set, subset, split and policy.

    Args:
        gallery: `test` also draws the paper's Figures 6 to 12 (networks with attention)
        baselines: `test` also scores baselines on the same clips (reads the training clips once)
        resamples: bootstrap resamples of the confidence intervals per tag
        examples: validation clips logged to W&B or TensorBoard after each validation (audio, tags, attention)
    """

    def __init__(self, gallery: bool = True, baselines: bool = False, resamples: int = 500, examples: int = 4) -> None:
        self.gallery, self.baselines, self.resamples, self.examples = gallery, baselines, resamples, examples

    def report(self, trainer: Trainer, tagger: LightningModule, split: str) -> None:
        """Write tables, scores and figures of a split, and print a summary."""
        scores = tagger.scores.scores()  # gathers: every rank takes part
        metrics = tagger.scores.compute()
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data, per_tag = trainer.datamodule, results.result_path(trainer, "per_tag.csv", split)
        rows = per_tag_table(scores, tagger.tags, self.resamples, data.seed)
        about = {"name": data.name, "subset": data.subset, "split": split, "policy": data.policy}
        write_csv(per_tag, rows, {"data" if key == "name" else key: value for key, value in about.items()})
        by_tag = {row["tag"]: results.number(row["auroc"]) for row in rows}
        head_dim = getattr(getattr(tagger.net, "back_end", None), "head_dim", None)
        written = results.write_metrics(trainer, tagger, about, metrics, per_tag=by_tag, head_dim=head_dim)
        _picture(results.result_path(trainer, "figures/per_tag.png", split), rows, about)
        table = [("this network", metrics["auroc_macro"], metrics["ap_macro"])]
        if split == "test" and self.baselines:
            table += _baselines(trainer, tagger)
        _print(table, about, int(metrics["n_clips"]), per_tag, written)
        if split == "test" and self.gallery and getattr(tagger.net, "explains", False):
            _gallery(trainer, tagger, scores, per_tag.parent / "figures")

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log audio, tags and attention of validation clips."""
        log_examples(trainer, pl_module, self.examples)


def _picture(path: Path, rows: list[dict], about: dict) -> None:
    from tasks.tagging.figures import per_tag_bars

    write_figure(path, per_tag_bars(rows, title=", ".join(map(str, about.values()))))


def _baselines(trainer: Trainer, tagger: LightningModule) -> list[tuple[str, float, float]]:
    return [(row["name"], row["auroc_macro"], row["ap_macro"]) for row in score_baselines(trainer.datamodule, tagger.net)]


def _gallery(trainer: Trainer, tagger: LightningModule, scores: ClipScores, folder: Path) -> None:
    count = draw_gallery(tagger, trainer.datamodule.clips("test"), scores, folder)
    print(f"heat maps    {folder} ({count} pictures)", flush=True)


def _print(table: list[tuple[str, float, float]], about: dict, clips: int, per_tag: Path, written: Path) -> None:
    heading = f"{results.heading(about, f'{clips} clips')}, policy {about['policy']}"
    width = max(len(name) for name, *_ in table)
    lines = [f"\n{heading}", f"{'':{width}}  AUROC   AP (macro over tags)"]
    lines += [f"{name:{width}}  {auroc:.4f}  {ap:.4f}" for name, auroc, ap in table]
    lines += ["", f"per tag      {per_tag}", f"scores       {written}"]
    print("\n".join(lines), flush=True)


def draw_gallery(tagger: nn.Module, clips: Any, scores: ClipScores, folder: Path) -> int:
    """Draw attention maps per tag (Figures 6, 8-11) and contribution maps per pair of tags (Figures 7, 12).

    The clip of a tag is the highest-scoring one among those labelled with it. Pairs of the paper without clips are
    left out; if none is left, the least correlated pairs of tags are drawn.

    Returns:
        number of figures
    """
    best = dict(_best_clips(tagger.tags, scores))
    segments: dict[str, Segment] = {}
    for tag, clip in progress(best.items(), "drawing attention", len(best), "picture"):
        name, segment = _segment(tagger, clips, clip, tagger.tags.index(tag))
        segments[tag] = segment
        maps = explain(tagger, segment)
        write_figure(folder / "attention" / f"{_file(tag)}.png", attention_figure(maps, f"{tag}: {name}"))
    pairs = [pair for pair in PAIRS if set(pair) <= set(segments)] or _own_pairs(tagger.tags, scores)
    for first, second in progress(pairs, "drawing contributions", unit="picture"):
        maps = explain_joined(tagger, segments[first], segments[second])
        title = f"{first} + {second}"
        picture = contribution_figure(maps, tagger.tags, [first, second], title, (first, second))
        write_figure(folder / "contribution" / f"{_file(first)}+{_file(second)}.png", picture)
    return len(segments) + len(pairs)


def _best_clips(tags: list[str], scores: ClipScores) -> Iterator[tuple[str, int]]:
    """Each tag and the position of its highest-scoring positive clip, for tags with positive clips."""
    for i, tag in enumerate(tags):
        positive = np.flatnonzero(scores.labels[:, i])
        if len(positive):
            yield tag, int(scores.clip[positive[np.argmax(scores.probabilities[positive, i])]])


def _own_pairs(tags: list[str], scores: ClipScores, count: int = 3) -> list[tuple[str, str]]:
    """Least correlated pairs of tags, each tag in one pair."""
    used = np.flatnonzero(scores.labels.any(0) & ~scores.labels.all(0))
    if len(used) < 2:
        return []
    correlation = np.corrcoef(scores.labels[:, used].T.astype(float))
    pairs: list[tuple[str, str]] = []
    taken: set[int] = set()
    for i, j in zip(*np.unravel_index(np.argsort(correlation, axis=None), correlation.shape), strict=True):
        if i != j and not {i, j} & taken and len(pairs) < count:
            taken |= {i, j}
            pairs.append((tags[used[i]], tags[used[j]]))
    return pairs


def _segment(tagger: nn.Module, clips: Any, clip: int, tag: int) -> tuple[str, Segment]:
    """Name of a clip and its chunk with the highest score of the tag."""
    audio = torch.as_tensor(clips.read(clip, 0, clips.length(clip)))
    audio = audio.float() / 32768 if audio.dtype == torch.int16 else audio
    name = str(clips.paths[clip])
    return name, strongest(tagger, audio, Audio2TagScores(tagger).native(audio), tag)


def _file(tag: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in tag)
