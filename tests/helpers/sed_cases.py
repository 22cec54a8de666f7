"""Soundscapes and a detector's scores of them, drawn at random; imports little, since processes of a test import it anew."""

from datetime import timedelta

import numpy as np
import torch
import torch.distributed

from datamodules.sed.events import EventTable, merge_overlaps, table
from tasks.metrics.events.decode import stack
from tasks.sed.metrics import SedScores


def drawn(clips, frames, classes, seed=0, decimals=None, step=0.06624):
    """Scores of clips, of different lengths where they are rounded, and the corpus; some clips are silent."""
    random = np.random.default_rng(seed)
    clip = np.repeat(np.arange(clips), random.poisson(3, clips))
    onset = np.round(random.random(len(clip)) * frames * step * 0.9, 3)
    length = np.round(np.exp(random.normal(0, 1, len(clip))), 3) + 0.05
    durations = np.full(clips, frames * step) - 0.002
    drawn = table(clip, random.integers(0, classes, len(clip)), onset, np.minimum(onset + length, durations[clip]))
    events = merge_overlaps(drawn).events
    times = (np.arange(frames) + 0.5) * step
    logit = np.full((clips, frames, classes), -3.0)
    for c, kind, on, off in zip(*events, strict=True):
        logit[c, (times > on + random.normal(0, 0.1)) & (times < off + random.normal(0, 0.1)), kind] += random.normal(4, 2)
    noise = random.normal(0, 1, (clips, frames + 8, classes))
    chance = 1 / (1 + np.exp(-logit - sum(noise[:, i : i + frames] for i in range(8)) / 2.5))
    lengths = np.full(clips, frames)
    if decimals is not None:
        chance, lengths = np.round(chance, decimals), random.integers(1, frames + 1, clips)
    scores = stack([x[:k] for x, k in zip(chance.astype(np.float32), lengths, strict=True)], durations, step)
    return scores, EventTable(tuple(map(str, range(clips))), durations, tuple(map(str, range(classes))), events)


def scored(order, size=4, padding=0.99):
    """The metric over some of 23 clips, in padded batches."""
    scores, corpus = drawn(23, 40, 3, 1, 2, 0.15)
    ends = np.cumsum(scores.lengths)
    metric = SedScores(scores.frame_s, with_psds=True)
    metric.corpus = corpus
    for start in range(0, len(order), size):
        clips = list(order[start : start + size])
        longest = int(scores.lengths[clips].max()) + start % 3
        frames, mask = torch.full((len(clips), longest, 3), padding), torch.zeros(len(clips), longest, dtype=torch.bool)
        for row, c in enumerate(clips):
            own = torch.from_numpy(scores.values[ends[c] - scores.lengths[c] : ends[c]])
            frames[row, : len(own)], mask[row, : len(own)] = own, True
        chance = torch.stack([frames[i][mask[i]].amax(0) for i in range(len(clips))])
        metric.update(frames, mask, chance, torch.tensor(clips))
    return metric


def score_shards(rank, folder, shards):
    """One of two processes: its share of the clips, then the gathered result."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        for case, orders in enumerate(shards):
            metric = scored(orders[rank])
            rows = metric.rows()
            torch.save([metric.compute(), rows.clip, rows.frames.values], f"{folder}/{case}-{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()
