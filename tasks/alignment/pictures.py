"""Figures of a split: errors of all systems -> error curves, and paths of some recordings; logged training examples."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer

from datamodules.alignment.data import WholeBatch
from datamodules.alignment.listing import Pair
from datamodules.alignment.reading import read_score
from datamodules.alignment.sounds import hear
from datamodules.common.progress import progress
from models.alignment.costs import Costs, FeatureCosts
from models.alignment.front import CQT
from models.alignment.front.pretrained import FINE
from tasks.alignment import evaluate, figures
from tasks.alignment.figures import salience_picture
from tasks.alignment.metrics import AlignmentRows
from tasks.callbacks import log_media
from tasks.writers.output_files import unique_stem, write_figure

EXAMPLE_S = 12.0
"""Duration of an example, s."""
PIXELS = 1000
FRAMES_PER_PIXEL = 2
"""Frames used for the distances of a pixel, per side."""


def draw(
    errors: Path, trainer: Trainer, aligner: LightningModule, systems: dict[str, AlignmentRows], split: str, count: int
) -> int:
    """Draw error curves, errors per recording, and paths of `count` evenly spaced recordings.

    Args:
        errors: path of the error curves; other figures are written beside it
        trainer: Trainer
        aligner: evaluated module
        systems: errors by system
        split: "validation" or "test"
        count: number of paths

    Returns:
        Number of figures.
    """
    data = trainer.datamodule
    pairs, ours = data.evaluated(split), next(iter(aligner.rows.values()))
    title = f"{data.name}, {split} split"
    write_figure(errors, figures.error_curves({name: rows.error for name, rows in systems.items()}, title=title))
    by_recording = {pairs[index].name: ours.errors_of(index) for index in ours.recordings.tolist()}
    write_figure(errors.with_name("recordings.png"), figures.per_piece(by_recording, title=f"{title}, this network"))
    whole = data.validation_set() if split == "validation" else data.test_set()
    indices = np.unique(np.linspace(0, len(whole) - 1, min(count, len(whole))).round().astype(int)) if count else []
    for index in progress(indices, "drawing paths", unit="picture"):
        batch = on_device(whole[int(index)], aligner)
        write_figure(errors.parent / f"path-{unique_stem(batch.name)}.png", path_of(aligner, batch, title))
    if not hasattr(aligner.net.front, "salience"):
        return 2 + len(indices)
    picture = figure_two(aligner.net.front, pairs[0], hear(pairs[0].performance, aligner.net.sample_rate, data.cache_dir))
    write_figure(errors.with_name("salience.png"), picture)
    return 3 + len(indices)


@torch.no_grad()
def figure_two(front: Any, pair: Pair, audio: np.ndarray) -> Any:
    """Figure of the start of a recording and its salience (Figure 2), with the notes if they are known."""
    device = next(front.buffers()).device
    part = torch.from_numpy(audio[: round(EXAMPLE_S * front.sample_rate)])[None]
    spectrum = CQT(hop=FINE)
    magnitude = spectrum(part)[0, 0].expm1()
    levels = 20 * (magnitude / magnitude.max().clamp(min=1e-9)).clamp(min=1e-4).log10()
    notes = read_score(pair.midi).notes if pair.midi else None
    known = np.zeros((0, 3)) if notes is None else np.stack([notes.onset, notes.offset, notes.pitch], 1)
    return salience_picture(
        levels.numpy(),
        front.salience(part.to(device))[0].cpu().numpy(),
        spectrogram_hertz=spectrum.hertz,
        salience_hertz=front.hertz,
        frame_s=FINE / front.sample_rate,
        title=pair.name,
        notes=known[known[:, 0] < EXAMPLE_S],
    )


def on_device(batch: WholeBatch, aligner: LightningModule) -> WholeBatch:
    """Move a batch to the network's device."""
    return batch._replace(performance=batch.performance.to(aligner.device), score=batch.score.to(aligner.device))


def path_of(aligner: LightningModule, batch: WholeBatch, title: str) -> Any:
    """Figure of one recording's path with the true times."""
    with torch.no_grad():
        costs = evaluate.costs_of(aligner.net, batch)
    alignment = evaluate.align_frames(costs, aligner.net.frame_s, aligner.steps, aligner.reduce)
    truth, frame_s = batch.truth.numpy(), aligner.net.frame_s
    return figures.path_picture(
        pooled(costs),
        extent=(costs.shape[0] * frame_s, costs.shape[1] * frame_s),
        path=np.stack([alignment.path.rows, alignment.path.columns], 1) * frame_s,
        truth=truth,
        title=f"{batch.name}: {title}",
    )


def pooled(costs: Costs, most: int = PIXELS) -> np.ndarray:
    """Distances of all frames averaged to at most `most` rows and columns, computed in blocks of rows.

    Distances of features are computed for `FRAMES_PER_PIXEL` frames per pixel and side.
    """
    down, across = (-(-size // most) for size in costs.shape)
    if isinstance(costs, FeatureCosts):
        (rows, down), (columns, across) = _sampled(costs.shape[0], down), _sampled(costs.shape[1], across)
        costs = FeatureCosts(costs.x[rows], costs.y[columns], costs.metric.name)
    size, lines = down * -(-256 // down), []
    for first in range(0, costs.shape[0], size):
        block = costs.block(first, min(first + size, costs.shape[0]))
        lines.append(_averaged(_averaged(block, down, 0), across, 1))
    return np.concatenate(lines).astype(np.float32)


def _sampled(size: int, pool: int) -> tuple[np.ndarray, int]:
    """Indices of the frames to use if `pool` frames make a pixel, and their number per pixel."""
    if pool <= FRAMES_PER_PIXEL:
        return np.arange(size), pool
    within = ((np.arange(FRAMES_PER_PIXEL) + 0.5) * pool / FRAMES_PER_PIXEL).astype(int)
    indices = np.arange(0, size, pool)[:, None] + within
    return indices.clip(max=size - 1).ravel(), FRAMES_PER_PIXEL


def _averaged(block: np.ndarray, pool: int, axis: int) -> np.ndarray:
    """Means of `pool` rows (axis 0) or columns each; the last mean may have fewer."""
    starts = np.arange(0, block.shape[axis], pool)
    counts = np.diff(np.append(starts, block.shape[axis]))
    return np.add.reduceat(block, starts, axis, dtype=np.float64) / (counts[:, None] if axis == 0 else counts)


def log_examples(trainer: Trainer, aligner: LightningModule, count: int) -> None:
    """Log audio, distances with the true path, and errors of the first `count` validation recordings."""
    data = trainer.datamodule
    pairs, whole = data.evaluated("validation"), data.validation_set()
    for index in range(min(count, len(pairs))):
        batch, frames = on_device(whole[index], aligner), round(EXAMPLE_S / aligner.net.frame_s)
        left, right = batch.performance[..., :frames], batch.score[..., :frames]
        costs = evaluate.costs_of(aligner.net, batch._replace(performance=left, score=right))
        truth, rows = batch.truth.numpy(), aligner.rows[aligner.net.modes[0]]
        picture = figures.similarity(
            left.flatten(0, 1).T.cpu().numpy(),
            right.flatten(0, 1).T.cpu().numpy(),
            costs.block(0, costs.shape[0]),
            frame_s=aligner.net.frame_s,
            title=batch.name,
            truth=truth[(truth < EXAMPLE_S).all(1)],
        )
        rate = aligner.net.sample_rate
        audio = torch.from_numpy(hear(pairs[index].performance, rate, data.cache_dir)[: round(EXAMPLE_S * rate)])
        error = [
            (round(float(s), 3), round(float(1000 * e), 1)) for s, e in zip(truth[:, 0], rows.errors_of(index), strict=False)
        ]
        table = (("score_s", "error_ms"), error[:200])
        log_media(trainer, f"val/example_{index}", figure=picture, audio=(audio, rate), table=table, caption=batch.name)
