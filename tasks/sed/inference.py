"""Inference of sound event detection: audio of any length, or a file -> scores -> events; one step a class.

    detector = tasks.load("runs/sed/default")  # a checkpoint or a run folder

| step                     | called with        | result                                                                |
| ------------------------ | ------------------ | --------------------------------------------------------------------- |
| `Audio2EventScores(detector)` | audio, sample_rate | `Scores`: `.frames` (frames, classes), `.clip` (classes,)             |
| `File2Scores(detector)`  | path               | `Scores`                                                              |
| `File2Events(detector)`  | path               | `FileEvents`: `.events` with onset and offset in s and class, `.tags` |

Audio is (samples,) or (channels, samples). Options are those of the detector (`detector.inference`), or the argument `inference`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from datamodules.audio.level import CLICK_DB, INAUDIBLE_DB, click_db, is_inaudible
from datamodules.audio.reading import AudioBlocks, mono
from datamodules.sed.embeddings import embed, video_path
from datamodules.sed.events import Events, take
from models.sed.crnn import Detection
from tasks.metrics.events.decode import decode, median_filter, stack
from tasks.sed.options import DetectionOptions

# Overlapping windows of a recording that comes in blocks, and the average of their frames' scores.


class Windows:
    """Blocks (samples,) -> (start, window (samples,)), a window every `step` samples; the last goes to the end.

    Holds a window, a step and a block. `samples` counts what came.

    Args:
        blocks: of one recording, in order
        window: samples of a window, whole frames
        step: samples from one window to the next, whole frames, at most `window`
        frame: samples of a frame; windows begin on whole frames
    """

    def __init__(self, blocks: Iterable[np.ndarray], window: int, step: int, frame: int) -> None:
        self.blocks, self.window, self.step, self.frame = blocks, window, step, frame
        self.samples = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        held, offset, start = np.zeros(0, np.float32), 0, 0  # `held` begins at sample `offset`; `start` is the next window's
        for block in self.blocks:
            held = np.concatenate([held, block])
            self.samples += len(block)
            while start < self._last():
                yield start, held[start - offset : start - offset + self.window].copy()
                # The last window begins after this one and maybe before the next.
                held, offset, start = held[start - offset :], start, start + self.step
        last = self._last()
        yield last, held[last - offset :].copy()

    def _last(self) -> int:
        """Where the last window begins if no more comes."""
        return max(0, self.samples // self.frame * self.frame - self.window)


class FrameAverage:
    """Mean of the scores of overlapping windows, weighted towards the middle of each.

    `spans` lists the first frame of each window and the one after its last.
    """

    def __init__(self, classes: int) -> None:
        self.sums, self.weights = np.zeros((0, classes)), np.zeros(0)
        self.spans: list[tuple[int, int]] = []

    def add(self, first: int, frames: np.ndarray) -> None:
        """Add a window's scores (frames, classes), which begin at frame `first`."""
        count, stop = len(frames), first + len(frames)
        if stop > len(self.sums):
            size = max(stop, 2 * len(self.sums))
            self.sums = np.concatenate([self.sums, np.zeros((size - len(self.sums), self.sums.shape[1]))])
            self.weights = np.concatenate([self.weights, np.zeros(size - len(self.weights))])
        ramp = 1.0 - np.abs(2.0 * (np.arange(count) + 0.5) / count - 1.0) + 1e-3
        self.sums[first:stop] += ramp[:, None] * frames
        self.weights[first:stop] += ramp
        self.spans.append((first, stop))

    def mean(self, frames: int) -> np.ndarray:
        """Scores (frames, classes) float32 of the first `frames` frames."""
        return (self.sums[:frames] / self.weights[:frames, None]).astype(np.float32)


WINDOWS_AT_ONCE = 8
SILENT = f"it is silent: no window lies above {INAUDIBLE_DB:.0f} dB of full scale, so that it holds no event."

Embeddings = Mapping[str, np.ndarray]


class Scores(NamedTuple):
    """Probabilities of a recording's frames and windows."""

    frames: np.ndarray  # (frames, classes) probabilities; frame k covers [k, k + 1) * frame_s
    clip: np.ndarray  # (classes,) probability that the class occurs at all
    frame_s: float
    duration_s: float
    windows: np.ndarray  # (windows, classes) probability that the class occurs in the window
    spans: np.ndarray  # (windows, 2) first frame of each window and the one after its last
    remarks: tuple[str, ...] = ()  # sentences for the user on the recording


class SoundEvent(NamedTuple):
    """A sound event, times in s."""

    onset: float
    offset: float
    label: str


class FileEvents(NamedTuple):
    """A recording's events in order, the classes that occur, and what they were read off."""

    path: str
    events: list[SoundEvent]
    tags: list[str]
    scores: Scores


class Audio2EventScores:
    """Waveform step: audio of any length, by windows (10 s every 5 s) whose scores are averaged where they overlap.

    A frame counts the more the nearer it lies to the middle of its window. The probability of a class in the whole is the
    highest in any window. Each window is brought to its own robust level (`datamodules.audio.level`), whatever level the network
    was trained at, so that neither a click nor a loud passage elsewhere hides an event. A window below -75 dB of full scale
    holds no event.

    Args:
        detector: LightningModule of the task
        inference: options (default: those of the detector)
    """

    def __init__(self, detector: nn.Module, inference: DetectionOptions | None = None) -> None:
        self.detector, self.grid = detector, detector.grid
        options, frame = inference or detector.inference, self.grid.hop * self.grid.pool
        lengths = (options.window, options.step)
        self.window, self.step = (max(1, round(s * self.grid.sample_rate / frame)) * frame for s in lengths)

    def __call__(self, audio: ArrayLike, sample_rate: int, embeddings: Embeddings | None = None) -> Scores:
        """Scores of a recording.

        Args:
            audio: (samples,) or (channels, samples)
            sample_rate: of the audio, Hz
            embeddings: (frames, dim) on the network's frames, by stream

        Raises:
            ValueError: no samples, another shape, or integers but int16.
        """
        return self.streamed([mono(audio, sample_rate, self.grid.sample_rate)], embeddings)

    def streamed(self, blocks: Iterable[np.ndarray], embeddings: Embeddings | None = None) -> Scores:
        """The same of audio that comes in blocks (samples,), in memory that holds some windows and the scores."""
        windows = Windows(blocks, self.window, self.step, self.grid.hop * self.grid.pool)
        average = FrameAverage(len(self.detector.classes))
        clips: list[np.ndarray] = []
        clicks: list[float] = []
        any_audible = False
        for some in _batched(windows, WINDOWS_AT_ONCE):
            spans = [self._span(start, len(piece)) for start, piece in some]
            audible = [k for k, (_, piece) in enumerate(some) if not is_inaudible(piece)]
            for (first, _), (frames, clip) in zip(spans, self._scored(some, spans, audible, embeddings or {}), strict=True):
                average.add(first, frames)
                clips.append(clip)
            any_audible |= bool(audible)
            clicked = [some[k] for k in audible if click_db(some[k][1]) > CLICK_DB]
            clicks += [(start + int(np.abs(piece).argmax())) / self.grid.sample_rate for start, piece in clicked]
        total, probabilities = self.grid.count(windows.samples), np.array(clips)
        starts = np.array([span[0] for span in average.spans])
        return Scores(
            average.mean(total),
            probabilities.max(0),
            self.grid.step,
            windows.samples / self.grid.sample_rate,
            probabilities,
            np.stack([starts, np.minimum([span[1] for span in average.spans], total)], axis=1),
            _click_remarks(clicks) if any_audible else (SILENT,),
        )

    def _span(self, start: int, samples: int) -> tuple[int, int]:
        first = start // (self.grid.hop * self.grid.pool)
        return first, first + self.grid.count(samples)

    def _scored(
        self, windows: list[tuple[int, np.ndarray]], spans: list[tuple[int, int]], audible: list[int], embeddings: Embeddings
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Probabilities (frames, classes) and (classes,) of each window; 0 in windows that are not `audible`."""
        classes = len(self.detector.classes)
        scored = [(np.zeros((last - first, classes)), np.zeros(classes, np.float32)) for first, last in spans]
        if audible:
            pieces = [torch.from_numpy(windows[k][1]) for k in audible]
            detection = self._detect(pieces, [spans[k][0] for k in audible], embeddings)
            frames, clip = detection.frames.double().cpu().numpy(), detection.clip.float().cpu().numpy()
            for row, k in enumerate(audible):
                scored[k] = frames[row, : spans[k][1] - spans[k][0]], clip[row]
        return scored

    @torch.no_grad()
    def _detect(self, pieces: list[Tensor], at: list[int], embeddings: Embeddings) -> Detection:
        net = self.detector.evaluated
        device = next(net.parameters()).device
        lengths = torch.tensor([len(piece) for piece in pieces])
        audio = nn.utils.rnn.pad_sequence(pieces, batch_first=True).to(device)
        mel, valid = net.features(audio, lengths.to(device), "robust")
        frames = self.grid.count(audio.shape[1])
        cut = {name: np.stack([_cut(values, k, frames) for k in at]) for name, values in embeddings.items()}
        return net(mel, valid, {name: torch.from_numpy(values).to(device) for name, values in cut.items()})


def _batched(windows: Iterable[tuple[int, np.ndarray]], size: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    batch = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _cut(values: np.ndarray, start: int, frames: int) -> np.ndarray:
    """Rows start .. start + frames, zeros beyond the end."""
    piece = values[start : start + frames]
    return np.concatenate([piece, np.zeros((frames - len(piece), values.shape[1]), values.dtype)])


def _click_remarks(clicks: list[float]) -> tuple[str, ...]:
    """A sentence on peaks far over the rest of their windows, by their times in s."""
    times = sorted(set(clicks))
    if not times:
        return ()
    more = f" and at {len(times) - 1} other times" if len(times) > 1 else ""
    return (f"a peak at {times[0]:.1f} s{more} lies over {CLICK_DB:.0f} dB above the rest of its window and is clipped.",)


class File2Scores:
    """File step: sound and, where the network wants them, embeddings of a recording or film of any rate and length.

    Args:
        detector: LightningModule of the task
        inference: options (default: those of the detector)
    """

    def __init__(self, detector: nn.Module, inference: DetectionOptions | None = None) -> None:
        self.detector, self.scores = detector, Audio2EventScores(detector, inference)

    def __call__(self, path: str | Path) -> Scores:
        """Scores of one file, which is never held whole unless the network takes embeddings.

        Raises:
            DataError: it does not decode, or lacks the sound or the images that the network needs.
        """
        stream = AudioBlocks(path, self.detector.grid.sample_rate)
        if self.detector.extractors:
            audio = np.concatenate(list(stream))
            scores = self.scores.streamed([audio], self._embeddings(Path(path), len(audio)))
        else:
            scores = self.scores.streamed(stream)
        damage = (f"it {stream.damage}: the events are those of what is there.",) if stream.damage else ()
        mixed = (f"{stream.remark}.",) if stream.remark else ()
        return scores._replace(remarks=(*damage, *mixed, *scores.remarks))

    def _embeddings(self, path: Path, samples: int) -> dict[str, np.ndarray]:
        centres = self.detector.grid.centres(samples)
        embeddings = {}
        for name, extractor in self.detector.extractors.items():
            source = video_path(path, path.parent) if extractor.kind == "video" else path
            embeddings[name] = self.detector.align(*embed(extractor, source), centres)
        return embeddings


class File2Events:
    """Decision step: a recording's events and tags, by the thresholds and filters that were best in validation.

    Args:
        detector: LightningModule of the task
        inference: options (default: those of the detector)
    """

    def __init__(self, detector: nn.Module, inference: DetectionOptions | None = None) -> None:
        options = inference or detector.inference
        self.detector, self.decision = detector, detector.decision(options.thresholds)
        self.scores = File2Scores(detector, options)

    def __call__(self, path: str | Path) -> FileEvents:
        """Events of one file.

        Raises:
            DataError: as `File2Scores` raises it.
        """
        return self.decided(path, self.scores(path))

    def decided(self, path: str | Path, scores: Scores) -> FileEvents:
        """Events of scores."""
        decision, classes = self.decision, self.detector.classes
        smooth = median_filter(stack([scores.frames], [scores.duration_s], scores.frame_s), decision.event.filters)
        found = decode(smooth, decision.event.thresholds)
        if decision.event_masked:
            found = take(found, _tagged(found, scores, decision.clip))
        events = [
            SoundEvent(float(on), float(off), classes[k])
            for on, off, k in zip(found.onset, found.offset, found.label, strict=True)
        ]
        tags = [name for name, score, least in zip(classes, scores.clip, decision.clip, strict=True) if score >= least]
        return FileEvents(str(path), events, tags, scores)


def _tagged(events: Events, scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Whether the class of each event (events,) is a tag of a window that the event lies in."""
    tags = scores.windows >= thresholds
    begin, end = scores.spans.T * scores.frame_s
    inside = (begin < events.offset[:, None]) & (events.onset[:, None] < end)
    return (inside & tags[:, events.label].T).any(1)
