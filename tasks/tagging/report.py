"""What `test` and `validate` leave of a tagger: metrics.json, the per-tag table, baselines, and the gallery of maps."""

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
from tasks.tagging.inference import Audio2TagScores, File2Tags
from tasks.tagging.maps import Segment, attention_figure, contribution_figure, explain, explain_joined, strongest
from tasks.tagging.metrics import ClipScores, per_tag_table
from tasks.tagging.options import TaggingOptions
from tasks.tagging.paper import PAIRS
from tasks.writers.output_files import write_figure

# What a tagger has to beat: the tags' prior, and logistic regressions on the mean (and deviation) of the log-mel.

BASELINE_SECONDS = 60  # heard of a clip, at most


class ClipSource(Protocol):
    """A split of a tagging set: `labels` (clips, tags) in {0, 1} and int16 audio by position."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def read(self, clip: int, start: int, samples: int) -> np.ndarray: ...


def score_baselines(data, net: nn.Module) -> list[dict]:
    """Table of the baselines on the test split of a TaggingDataModule: rows of name, auroc_macro, ap_macro.

    All see the same log-mel, whatever the network sees; of `net` only its sampling rate counts.
    """
    log_mel = LogMel(net.sample_rate, db="power", center=True)
    return baselines(*(summarise(data.clips(split), log_mel) for split in ("train", "validation", "test")))


def summarise(clips: ClipSource, log_mel: Callable[[Tensor], Tensor]) -> Split:
    """Mean and deviation over time of each clip's log-mel; `log_mel` maps (1, samples) int16 to (1, mels, frames).

    Clips that cannot be read are left out; of long ones the first SECONDS are heard.
    """
    features, kept = [], []
    with torch.no_grad():
        for clip in range(len(clips)):
            try:
                audio = clips.read(clip, 0, BASELINE_SECONDS * log_mel.sample_rate)
            except DataError:
                continue
            mel = log_mel(torch.from_numpy(audio)[None])[0]
            features.append(torch.cat([mel.mean(1), mel.std(1)]).numpy())
            kept.append(clip)
    return Split(np.array(features), np.asarray(clips.labels)[kept])


def baselines(train: Split, validation: Split, test: Split) -> list[dict]:
    """Fit on `train`, choose the penalty by macro AUROC on `validation`, score on `test`: three rows."""
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


# The same few validation clips after every validation, to be heard and looked at in W&B or TensorBoard.

EXAMPLE_SECONDS = 30


def log_examples(trainer: Trainer, tagger: LightningModule, count: int) -> None:
    """Log audio, tags and attention of the first `count` validation clips."""
    clips = trainer.datamodule.clips("validation")
    for clip in range(min(count, len(clips))):
        with suppress(DataError):  # the validation itself has named this file
            _log(trainer, tagger, clips, clip)


def _log(trainer: Trainer, tagger: LightningModule, clips, clip: int) -> None:
    rate, path = tagger.net.sample_rate, clips.name(clip)
    audio = torch.as_tensor(clips.read(clip, 0, min(clips.length(clip), EXAMPLE_SECONDS * rate))).float() / 32768
    tags = File2Tags(tagger, inference=TaggingOptions()).tagged(path, audio)  # its probabilities alone are used
    truth = dict(zip(tagger.tags, clips.labels[clip].tolist(), strict=True))
    rows = [(tag, round(score, 4), int(truth[tag])) for tag, score in tags.top(len(tagger.tags))]
    figure = None
    if getattr(tagger.net, "explains", False):
        figure = attention_figure(explain(tagger, strongest(tagger, audio, tags.chunks)), path)
    columns = ("tag", "probability", "labelled")
    log_media(trainer, f"val/example_{clip}", figure=figure, audio=(audio, rate), table=(columns, rows), caption=path)


class TaggingReport(Report):
    """Write and print the scores of a split, each number with its data set, subset, split and policy.

    Args:
        gallery: `test` also draws the paper's Figures 6 to 12 with this network and data (needs attention)
        baselines: `test` also scores cheap baselines on the same clips (needs to read the training clips once)
        resamples: bootstrap draws of the confidence intervals in the per-tag table
        examples: validation clips that W&B or TensorBoard gets after each validation (audio, tags, attention)
    """

    def __init__(self, gallery: bool = True, baselines: bool = False, resamples: int = 500, examples: int = 4) -> None:
        self.gallery, self.baselines, self.resamples, self.examples = gallery, baselines, resamples, examples

    def report(self, trainer: Trainer, tagger: LightningModule, split: str) -> None:
        """The tables, the scores, the pictures, and on screen what they say."""
        scores = tagger.scores.scores()  # gathers: every rank takes part
        metrics = tagger.scores.compute()
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        data, per_tag = trainer.datamodule, results.result_path(trainer, "per_tag.csv", split)
        rows = per_tag_table(scores, tagger.tags, self.resamples, data.seed)
        about = {"name": data.name, "subset": data.subset, "split": split, "policy": data.policy}
        everywhere = {"data" if key == "name" else key: value for key, value in about.items()}
        write_csv(per_tag, rows, everywhere)
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
        """Sound, tags and attention of validation clips."""
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
    where = f"{results.heading(about, f'{clips} clips')}, policy {about['policy']}"
    width = max(len(name) for name, *_ in table)
    lines = [f"\n{where}", f"{'':{width}}  AUROC   AP (macro over tags)"]
    lines += [f"{name:{width}}  {auroc:.4f}  {ap:.4f}" for name, auroc, ap in table]
    lines += ["", f"per tag      {per_tag}", f"scores       {written}"]
    print("\n".join(lines), flush=True)


# The paper's pictures with our network: best clip per tag (Figures 6, 8-11) and named pairs (Figures 7 and 12).


def draw_gallery(tagger: nn.Module, clips: Any, scores: ClipScores, folder: Path) -> int:
    """Write one attention map per tag and one contribution map per pair of tags; return how many were written.

    A tag is shown on the clip that scores highest among those labelled with it. A pair of the paper whose tags this
    data set lacks is left out; a data set that has none of them gets pairs of its own.
    """
    best = dict(_best_clips(tagger.tags, scores))
    segments: dict[str, Segment] = {}
    for tag, clip in progress(best.items(), "drawing attention", len(best), "picture"):
        name, segment = _segment(tagger, clips, clip, tagger.tags.index(tag))
        segments[tag] = segment
        found = explain(tagger, segment)
        write_figure(folder / "attention" / f"{_file(tag)}.png", attention_figure(found, f"{tag}: {name}"))
    pairs = [pair for pair in PAIRS if set(pair) <= set(segments)] or _own_pairs(tagger.tags, scores)
    for first, second in progress(pairs, "drawing contributions", unit="picture"):
        found = explain_joined(tagger, segments[first], segments[second])
        title = f"{first} + {second}"
        picture = contribution_figure(found, tagger.tags, [first, second], title, (first, second))
        write_figure(folder / "contribution" / f"{_file(first)}+{_file(second)}.png", picture)
    return len(segments) + len(pairs)


def _best_clips(tags: list[str], scores: ClipScores) -> Iterator[tuple[str, int]]:
    """Tag and the position of its best-scoring true clip, for tags that have one."""
    for i, tag in enumerate(tags):
        positive = np.flatnonzero(scores.labels[:, i])
        if len(positive):
            yield tag, int(scores.clip[positive[np.argmax(scores.probabilities[positive, i])]])


def _own_pairs(tags: list[str], scores: ClipScores, count: int = 3) -> list[tuple[str, str]]:
    """The tags that go together least, each in one pair."""
    used = np.flatnonzero(scores.labels.any(0) & ~scores.labels.all(0))
    if len(used) < 2:
        return []
    together = np.corrcoef(scores.labels[:, used].T.astype(float))
    pairs: list[tuple[str, str]] = []
    taken: set[int] = set()
    for i, j in zip(*np.unravel_index(np.argsort(together, axis=None), together.shape), strict=True):
        if i != j and not {i, j} & taken and len(pairs) < count:
            taken |= {i, j}
            pairs.append((tags[used[i]], tags[used[j]]))
    return pairs


def _segment(tagger: nn.Module, clips: Any, clip: int, tag: int) -> tuple[str, Segment]:
    """Name of a clip and its chunk in which the tag is strongest."""
    audio = torch.as_tensor(clips.read(clip, 0, clips.length(clip)))
    audio = audio.float() / 32768 if audio.dtype == torch.int16 else audio
    name = str(clips.paths[clip])
    return name, strongest(tagger, audio, Audio2TagScores(tagger).native(audio), tag)


def _file(tag: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in tag)
