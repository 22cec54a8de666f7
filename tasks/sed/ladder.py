"""From a network to named events, one small step a class: waveform, recording, file.

    detector = load_detector("runs/sed/default")                      # a checkpoint or a run folder
    scores = File2Scores(detector)("street.wav")                      # scores.frames (frames, classes), scores.clip (classes,)
    for event in File2Events(detector)("street.wav").events:          # onset and offset in s, class
        ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.embeddings import embed, film_of
from datamodules.recordings import read
from models.sed.crnn import Detection
from tasks.metrics.events.decode import decode, median_filter, stack

WINDOW_S, STEP_S = 10.0, 5.0
WINDOWS_AT_ONCE = 8


class Scores(NamedTuple):
    """What a network hears in a recording."""

    frames: np.ndarray  # (frames, classes) probabilities; frame k covers [k, k + 1) * frame_s
    clip: np.ndarray  # (classes,) probability that the class occurs at all
    frame_s: float
    duration_s: float


class Event(NamedTuple):
    """A sound event, times in s."""

    onset: float
    offset: float
    label: str


class FileEvents(NamedTuple):
    """A recording's events in order, the classes that occur, and what they were read off."""

    path: str
    events: list[Event]
    tags: list[str]
    scores: Scores


def load_detector(path: str | Path, device: str = "cpu") -> nn.Module:
    """LightningModule of a checkpoint file or run folder, in evaluation mode, plain weights only.

    Raises:
        DataError: no such checkpoint, or one of another task.
    """
    from tasks.checkpoints import load_module
    from tasks.sed.module import SoundEventDetector

    return load_module(SoundEventDetector, "sed", path, device)


class Audio2Scores:
    """Waveform step: audio of any length, by windows of 10 s every 5 s whose scores are averaged where they overlap.

    A frame counts the more the nearer it lies to the middle of its window. The probability of a class in the whole is the
    highest in any window. What a window hears is as loud as in the whole recording, whose peak is taken for all.
    """

    def __init__(self, detector: nn.Module, window_s: float = WINDOW_S, step_s: float = STEP_S) -> None:
        if not 0 < step_s <= window_s:
            raise ValueError(f"windows must follow each other by more than 0 s and at most their length: {step_s}, {window_s}")
        self.detector, self.grid = detector, detector.grid
        frame = self.grid.hop * self.grid.pool
        self.window, self.step = (max(1, round(s * self.grid.sample_rate / frame)) * frame for s in (window_s, step_s))

    def __call__(self, audio: Tensor, embeddings: Mapping[str, np.ndarray] | None = None) -> Scores:
        """Scores of audio (samples,) at the network's rate, with embeddings (frames, dim) on the network's frames."""
        net, frame, samples = self.detector.evaluated, self.grid.hop * self.grid.pool, len(audio)
        starts = self._starts(samples, frame)
        frames, clip = np.zeros((self.grid.count(samples), len(self.detector.classes))), None
        weight = np.zeros((len(frames), 1))
        peak = audio.abs().max() if samples else torch.zeros(())
        for first in range(0, len(starts), WINDOWS_AT_ONCE):
            some = starts[first : first + WINDOWS_AT_ONCE]
            pieces = [audio[s : samples if s == starts[-1] else s + self.window] for s in some]
            detection = self._detect(net, pieces, peak, [s // frame for s in some], embeddings or {})
            for k, (start, piece) in enumerate(zip(some, pieces, strict=True)):
                count, at = self.grid.count(len(piece)), start // frame
                count = min(count, len(frames) - at)
                ramp = 1.0 - np.abs(2.0 * (np.arange(count) + 0.5) / count - 1.0) + 1e-3
                frames[at : at + count] += ramp[:, None] * detection.frames[k, :count].double().cpu().numpy()
                weight[at : at + count] += ramp[:, None]
            highest = detection.clip.float().cpu().numpy().max(0)
            clip = highest if clip is None else np.maximum(clip, highest)
        return Scores((frames / weight).astype(np.float32), clip, self.grid.step, samples / self.grid.sample_rate)

    def _starts(self, samples: int, frame: int) -> list[int]:
        """Samples at which windows begin, on whole frames; the last goes to the end."""
        last = max(0, samples // frame * frame - self.window)
        return [*range(0, last, self.step), last]

    @torch.no_grad()
    def _detect(
        self, net: nn.Module, pieces: list[Tensor], peak: Tensor, at: list[int], embeddings: Mapping[str, np.ndarray]
    ) -> Detection:
        device = next(net.parameters()).device
        lengths = torch.tensor([len(piece) for piece in pieces])
        audio = nn.utils.rnn.pad_sequence(pieces, batch_first=True).to(device)
        mel, valid = net.features(audio, lengths.to(device), peak.expand(len(pieces)).to(device))
        frames = self.grid.count(audio.shape[1])
        cut = {name: np.stack([_cut(values, k, frames) for k in at]) for name, values in embeddings.items()}
        return net(mel, valid, {name: torch.from_numpy(values).to(device) for name, values in cut.items()})


def _cut(values: np.ndarray, start: int, frames: int) -> np.ndarray:
    """Rows start .. start + frames, zeros beyond the end."""
    piece = values[start : start + frames]
    return np.concatenate([piece, np.zeros((frames - len(piece), values.shape[1]), values.dtype)])


class File2Scores:
    """File step: sound and, where the network wants them, embeddings of a recording or film of any rate and length."""

    def __init__(self, detector: nn.Module, window_s: float = WINDOW_S, step_s: float = STEP_S) -> None:
        self.detector, self.scores = detector, Audio2Scores(detector, window_s, step_s)

    def __call__(self, path: str | Path) -> Scores:
        """Scores of one file.

        Raises:
            DataError: it does not decode, or lacks the sound or the images that the network needs.
        """
        return self.heard(path, torch.from_numpy(read(path, self.detector.grid.sample_rate)))

    def heard(self, path: str | Path, audio: Tensor) -> Scores:
        """Scores of a file whose sound (samples,) at the network's rate is at hand."""
        centres, path = self.detector.grid.centres(len(audio)), Path(path)
        embeddings = {}
        for name, extractor in self.detector.extractors.items():
            source = film_of(path, path.parent) if extractor.kind == "video" else path
            embeddings[name] = self.detector.align(*embed(extractor, source), centres)
        return self.scores(audio, embeddings)


class File2Events:
    """Decision step: a recording's events and tags, by the thresholds and filters that were best in validation.

    thresholds: `tuned`, or `fixed` at 0.5 and 7 frames as in the paper.
    """

    def __init__(
        self, detector: nn.Module, thresholds: str = "tuned", window_s: float = WINDOW_S, step_s: float = STEP_S
    ) -> None:
        self.detector, self.decision = detector, detector.decision(thresholds)
        self.scores = File2Scores(detector, window_s, step_s)

    def __call__(self, path: str | Path) -> FileEvents:
        """Events of one file. Raises DataError as `File2Scores`."""
        return self.decided(path, self.scores(path))

    def decided(self, path: str | Path, scores: Scores) -> FileEvents:
        """Events of scores."""
        decision, classes = self.decision, self.detector.classes
        smooth = median_filter(stack([scores.frames], [scores.duration_s], scores.frame_s), decision.event.filters)
        found = decode(smooth, decision.event.thresholds)
        events = [
            Event(float(on), float(off), classes[k]) for on, off, k in zip(found.onset, found.offset, found.label, strict=True)
        ]
        tags = [name for name, score, least in zip(classes, scores.clip, decision.clip, strict=True) if score >= least]
        return FileEvents(str(path), events, tags, scores)
