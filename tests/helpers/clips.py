"""Clips as an evaluation loader batches them; imports little, since the processes of a test import it anew."""

from datetime import timedelta

import numpy as np
import torch
import torch.distributed

from tasks.tagging.metrics import TaggingScores


def batches(clips, size, tags=5, seed=0, order=None):
    """Batches as the loader makes them: 1 to 4 weighted chunks per clip, all chunks of a clip together."""
    random = np.random.default_rng(seed)
    rows = []
    for clip in range(clips):
        chunks = int(random.integers(1, 5))
        weight = random.random(chunks)
        label = np.repeat((random.random((1, tags)) < 0.3).astype(np.float32), chunks, axis=0)
        chance = np.round(random.random((chunks, tags)), 2).astype(np.float32)
        rows.append((chance, label, np.full(chunks, clip), (weight / weight.sum()).astype(np.float32)))
    order = range(clips) if order is None else order
    taken = [rows[i] for i in order]
    for start in range(0, len(taken), size):
        part = taken[start : start + size]
        yield [torch.from_numpy(np.concatenate([row[k] for row in part])) for k in range(4)]


def scored(*args, **kwargs):
    metric = TaggingScores()
    for batch in batches(*args, **kwargs):
        metric.update(*batch)
    return metric


def score_shards(rank, folder, shards):
    """One of two processes: its share of the clips, then the gathered result."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        for case, orders in enumerate(shards):
            metric = scored(23, size=4, order=orders[rank])
            result = metric.compute()
            rows = metric.scores()
            # After gathering, a rank goes on with its own clips alone.
            held = len(torch.cat(metric.clip)) if len(metric.clip) else 0
            torch.save([result, rows.clip, rows.probabilities, held], f"{folder}/{case}-{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()
