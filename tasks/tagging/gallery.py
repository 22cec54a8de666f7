"""The paper's pictures with our network: best clip per tag (Figures 6, 8-11) and named pairs (Figures 7 and 12)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datamodules.progress import progress
from tasks.metrics.tagging import ClipScores
from tasks.tagging.ladder import Audio2Scores
from tasks.tagging.maps import Segment, attention_figure, contribution_figure, explain, explain_joined, strongest
from tasks.tagging.paper import PAIRS
from tasks.writers.whole import write_figure


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
    return name, strongest(tagger, audio, Audio2Scores(tagger).native(audio), tag)


def _file(tag: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in tag)
