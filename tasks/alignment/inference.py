"""Inference of alignment: recording and score -> times of the score's notes, one class per step.

    aligner = tasks.load("runs/alignment/default")  # a checkpoint or a run folder

| step                         | called with              | result                                                  |
| ---------------------------- | ------------------------ | ------------------------------------------------------- |
| `Audio2Frames(aligner)`      | audio, sample_rate       | embeddings (frames, d), hop `aligner.net.frame_s`       |
| `Audio2WarpingPath(aligner)` | audio, sample_rate, plan | list of `PassageMap`: maps of passages, confidence, cost  |
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
from models.alignment.calibration import Calibration
from models.alignment.dtw import STEPS, NoPath
from models.alignment.passages import PassageAligner, PassageMap
from models.alignment.renderings import RenderedNotes
from models.alignment.similarity import Side, Similarity
from tasks.alignment.aligned import Aligned
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
        return self.net.recording_frames(torch.from_numpy(audio), self.side, cents)


class Audio2WarpingPath:
    """Recording and plan of its score -> warping path with calibrated confidences.

    Args:
        aligner: LightningModule of the task; without a calibration the default one is used
        inference: options (default: those of the aligner)
    """

    def __init__(self, aligner: nn.Module, inference: AlignmentOptions | None = None) -> None:
        self.net, self.options = aligner.net, inference or aligner.inference
        self.calibration = Calibration(*map(float, getattr(aligner, "calibration", Calibration())))
        self.align = PassageAligner(self.net.frame_s, STEPS[self.options.steps], self.options.open_ends)

    def __call__(self, audio: ArrayLike, sample_rate: int, plan: AlignmentPlan) -> list[PassageMap]:
        """Align audio (samples,) or (channels, samples) at `sample_rate` Hz: one map per passage, in the recording's order.

        Raises:
            DataError: no path from end to end.
        """

        def render(played: RenderedNotes, seconds: float) -> np.ndarray:
            sound = torch.from_numpy(synthesized(plan, played, seconds, self.net.sample_rate))
            return self.net.recording_frames(sound, "score")

        performance = Audio2Frames(self.net)(audio, sample_rate, plan.cents)
        try:
            parts = self.align(performance, plan.result, plan.score.notes, render, self.net.costs, plan.limits)
        except NoPath as error:
            raise DataError(f"no path found ({error}): loosen --model.inference.steps, max_deviation or anchors") from None
        if not parts:
            raise DataError("no matching passage found: the score may belong to another piece")
        return [part._replace(confidence=self.calibration(part.confidence, plan.result.related)) for part in parts]


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
            passages = self.warp(audio, self.net.sample_rate, plan)
        except (DataError, ValueError) as error:
            raise DataError(f"{path} cannot be aligned with {ways[0][1].path}: {error}") from error
        aligned = timed(path, audio, plan, passages, self.net, self.options)
        sources = [f"{remark}."] if remark else []
        return aligned._replace(remarks=[*sources, *([quiet] if quiet else []), *aligned.remarks])
