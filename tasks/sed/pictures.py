"""Pictures of recordings: a spectrogram, the same whatever the network hears, over what was found and what is there."""

from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from datamodules.progress import progress
from models.features import LogMel
from tasks.figures.sed import class_bars, timeline
from tasks.metrics.sed import SedRows, Tuning, decided
from tasks.sed.tables import per_class
from tasks.writers.parts import unique_stem
from tasks.writers.whole import write_figure

COLUMNS = 1200  # at most: a picture has no more pixels


def spectrogram(audio: Tensor | np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Log-mel (64 bands, columns) in dB of audio (samples,), the bands' centres in Hz, and s from column to column."""
    hop = max(rate // 100, -(-len(audio) // COLUMNS))
    log_mel = LogMel(rate, 2048, hop, 64, db="power", center=True)
    with torch.no_grad():
        levels = log_mel(torch.as_tensor(audio)[None])[0]
    return levels.numpy(), log_mel.hertz().numpy(), hop / rate


def draw(bars: Path, trainer: Trainer, detector: LightningModule, split: str, count: int) -> int:
    """F1 of each class as bars, and beside them timelines of `count` clips, those with the most classes first; how many."""
    found, decision = detector.found[detector.evaluate], detector.decision("tuned")
    rows = per_class(found, decision)
    values = {name: [row[key] for row in rows] for name, key in (("segment", "segment_f1"), ("event", "event_f1"))}
    title = f"F1 per class, {split} split, thresholds tuned on validation"
    write_figure(bars, class_bars(values, classes=found.corpus.classes, title=title))
    busiest = np.argsort(-found.corpus.tags().sum(1), kind="stable")[:count]
    for clip in progress(busiest.tolist(), "drawing timelines", unit="picture"):
        picture = clip_timeline(trainer, detector, found, clip, decision, split)
        write_figure(bars.parent / f"timeline-{unique_stem(found.corpus.names[clip])}.png", picture)
    return 1 + len(busiest)


def clip_timeline(trainer: Trainer, detector: LightningModule, found: SedRows, clip: int, decision: Tuning, split: str):
    """Picture of one evaluated clip with what is truly there."""
    one = found.corpus.select([clip])
    begin = int(found.frames.lengths[:clip].sum())
    values = found.frames.values[begin : begin + int(found.frames.lengths[clip])]
    frames = found.frames._replace(values=values, lengths=found.frames.lengths[[clip]], durations=one.durations)
    _, events = decided(SedRows(found.clip[[clip]], found.probabilities[[clip]], frames, one), decision)
    spans = [
        [(float(a), float(b), one.classes[k]) for a, b, k in zip(some.onset, some.offset, some.label, strict=True)]
        for some in (events, one.events)
    ]
    audio = trainer.datamodule.clips(split).item(int(found.clip[clip])).audio
    levels, hertz, hop_s = spectrogram(audio, detector.net.sample_rate)
    return timeline(
        values,
        classes=one.classes,
        frame_s=frames.frame_s,
        events=spans[0],
        reference=spans[1],
        title=one.names[0],
        spectrogram=levels,
        mel_hertz=hertz,
        hop_s=hop_s,
        duration_s=float(one.durations[0]),
    )
