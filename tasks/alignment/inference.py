"""Inference of alignment: recording and score -> times of the score's notes, one class per step.

    aligner = tasks.load("runs/alignment/default")  # a checkpoint or a run folder

| step                         | called with              | result                                                  |
| ---------------------------- | ------------------------ | ------------------------------------------------------- |
| `Audio2Frames(aligner)`      | audio, sample_rate       | embeddings (frames, d), hop `aligner.net.frame_s`       |
| `Audio2WarpingPath(aligner)` | audio, sample_rate, plan | `WarpingPath`: path, its distances and cost             |
| `File2Alignment(aligner)`    | path, path of the score  | `Aligned`: `.notes_s` (notes, 2), onset and offset in s |

Audio is (samples,) or (channels, samples). Options are the aligner's (`aligner.inference`), or the argument `inference`.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from datamodules.alignment.reading import unfoldings
from datamodules.alignment.score import Score
from datamodules.audio.level import raised
from datamodules.audio.reading import decode, mono
from datamodules.common.errors import DataError
from models.alignment.costs import Costs, FeatureCosts, window
from models.alignment.dtw import STEPS, NoPath, dtw
from models.alignment.dtw import Path as DTWPath
from models.alignment.jumps import inner, jump_dtw, surrounded
from models.alignment.multiscale import multiscale
from models.alignment.similarity import Side, Similarity
from tasks.alignment.aligned import Aligned, WarpingPath
from tasks.alignment.options import AlignmentOptions
from tasks.alignment.search import AlignmentPlan, AlignmentSearch, synthesized
from tasks.alignment.times import timed


class Audio2Frames:
    """Audio -> embeddings per frame.

    Args:
        aligner: LightningModule of the task, or its network
        side: `performance`, or `score` for audio synthesized from it
    """

    def __init__(self, aligner: nn.Module, side: Side = "performance") -> None:
        self.net, self.side = aligner if isinstance(aligner, Similarity) else aligner.net, side

    @torch.no_grad()
    def __call__(self, audio: ArrayLike, sample_rate: int, cents: float = 0.0) -> np.ndarray:
        """Audio (samples,) or (channels, samples) at `sample_rate` Hz, tuned `cents` above 440 Hz -> (frames, d) float32.

        Raises:
            ValueError: no samples, another shape, or integers other than int16.
        """
        audio = mono(audio, sample_rate, self.net.sample_rate)
        features = self.net.features(torch.from_numpy(audio).to(self.net.device), cents)
        return self.net.frames(features, self.side).cpu().numpy()


class Audio2WarpingPath:
    """Recording and plan of its score -> warping path.

    Args:
        aligner: LightningModule of the task
        inference: options (default: those of the aligner)
    """

    def __init__(self, aligner: nn.Module, inference: AlignmentOptions | None = None) -> None:
        self.net, self.options = aligner.net, inference or aligner.inference

    def __call__(self, audio: ArrayLike, sample_rate: int, plan: AlignmentPlan) -> WarpingPath:
        """Align audio (samples,) or (channels, samples) at `sample_rate` Hz.

        Raises:
            DataError: no path from end to end.
        """
        rate = self.net.sample_rate
        sound = synthesized(plan.score, plan.stretch, rate, plan.semitones)
        performance = Audio2Frames(self.net)(audio, sample_rate, plan.cents)
        costs = self.net.costs(performance, Audio2Frames(self.net, "score")(sound, rate))
        try:
            parts = self._parts(costs, plan)
        except NoPath as error:
            raise DataError(f"no warping path found ({error}): try --model.inference.steps unit") from None
        if not parts:
            raise DataError("no matching passage found: the score may belong to another piece")
        cells = [costs_along(costs, part) for part in parts]
        return WarpingPath(parts, costs, float(np.concatenate(cells).mean()))

    def _parts(self, costs: Costs, plan: AlignmentPlan) -> list[DTWPath]:
        options, steps, frame_s = self.options, STEPS[self.options.steps], self.net.frame_s
        if not plan.jumps and isinstance(costs, FeatureCosts) and costs.shape[0] * costs.shape[1] > options.exact_cells:
            return [
                multiscale(costs.x, costs.y, self.net.metric, steps, open_start=options.open_ends, open_end=options.open_ends)
            ]
        if not plan.jumps and (1, 0) not in steps.moves:
            return [dtw(costs, steps, self._band(plan), subsequence=options.open_ends)]
        around, level = surrounded(costs, options.open_ends)
        if not plan.jumps:
            parts = [dtw(around, steps, self._band(plan))]
        else:
            last = costs.shape[1] - 1
            frames = [[round(time * plan.stretch / frame_s) for time in side] for side in zip(*plan.jumps, strict=True)]
            sources, targets = ([min(frame + shift, last) for frame in side] for shift, side in zip((0, 1), frames, strict=True))
            parts = jump_dtw(around, steps, sources, targets, options.jump_s / frame_s * level).segments
        return [part for outer in parts if (part := inner(outer, costs.shape))]

    def _band(self, plan: AlignmentPlan) -> float | None:
        """Largest deviation of the path from a straight line, score frames."""
        return self.options.max_deviation and self.options.max_deviation * plan.stretch / self.net.frame_s


class File2Alignment:
    """Recording and score, as files or in memory -> times of the score's events in the recording.

    Args:
        aligner: LightningModule of the task
        inference: options (default: those of the aligner)
    """

    def __init__(self, aligner: nn.Module, inference: AlignmentOptions | None = None) -> None:
        self.net, self.options = aligner.net, inference or aligner.inference
        self.search, self.warp = AlignmentSearch(self.options, self.net.sample_rate), Audio2WarpingPath(aligner, self.options)

    def __call__(self, recording: str | Path, score: str | Path) -> Aligned:
        """Align files of any sample rate and number of channels.

        Raises:
            DataError: one of them cannot be used.
        """
        decoded = decode(recording, self.net.sample_rate)
        return self.align(str(recording), decoded.audio, self.net.sample_rate, unfoldings(score), decoded.remark)

    def align(
        self, path: str, audio: ArrayLike, sample_rate: int, ways: list[tuple[str, Score]], remark: str | None = None
    ) -> Aligned:
        """Align audio in memory; a quiet recording is amplified first.

        Args:
            path: name of the recording
            audio: (samples,) or (channels, samples)
            sample_rate: Hz
            ways: possible unfoldings of the repeats, (name, score)
            remark: message about an unusual downmix

        Raises:
            DataError: the recording cannot be aligned.
        """
        audio, quiet = raised(mono(audio, sample_rate, self.net.sample_rate))
        try:
            plan = self.search(audio, ways)
            warping = self.warp(audio, self.net.sample_rate, plan)
        except (DataError, ValueError) as error:
            raise DataError(f"{path} cannot be aligned with {ways[0][1].path}: {error}") from error
        aligned = timed(path, audio, plan, warping, self.net, self.options)
        sources = [f"{remark}."] if remark else []
        return aligned._replace(remarks=[*sources, *([quiet] if quiet else []), *aligned.remarks])


def costs_along(costs: Costs, path: DTWPath) -> np.ndarray:
    """Costs of a path's cells (cells,), computed in blocks of rows."""
    values = np.zeros(len(path.rows), np.float32)
    for first in range(0, len(path.rows), 1024):
        rows, columns = path.rows[first : first + 1024], path.columns[first : first + 1024]
        block = window(costs, rows[0], rows[-1] + 1, columns.min(), columns.max() + 1)
        values[first : first + 1024] = block[rows - rows[0], columns - columns.min()]
    return values
