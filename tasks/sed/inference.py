"""Inference of sound event detection: audio of any length, or a file -> scores -> events. One class per step.

    detector = tasks.load("runs/sed/default")  # a checkpoint or a run folder

| step                          | called with        | result                                                               |
| ----------------------------- | ------------------ | -------------------------------------------------------------------- |
| `Audio2EventScores(detector)` | audio, sample_rate | `DetectionScores`: `.frames` (frames, classes), `.clip` (classes,)   |
| `Audio2Events(detector)`      | audio, sample_rate | `DetectionResult`: `.events` (onset, offset in s, label) and `.tags` |
| `File2Scores(detector)`       | path               | `DetectionScores`                                                    |
| `File2Events(detector)`       | path               | `DetectionResult`                                                    |

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

WINDOWS_PER_PASS = 8
SILENT = f"it is silent: no window is above {INAUDIBLE_DB:.0f} dB of full scale, so it contains no events."

Embeddings = Mapping[str, np.ndarray]


class Windows:
    """Overlapping windows of a stream: blocks (samples,) -> (start sample, window (samples,)).

    The last window extends to the end. Memory holds one window, one step and one block. `samples` counts the samples so far.

    Args:
        blocks: blocks of one recording in order
        window: length of a window in samples, a multiple of `frame`
        step: samples between windows, a multiple of `frame`, at most `window`
        frame: length of a frame in samples
    """

    def __init__(self, blocks: Iterable[np.ndarray], window: int, step: int, frame: int) -> None:
        self.blocks, self.window, self.step, self.frame = blocks, window, step, frame
        self.samples = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        held, offset, start = np.zeros(0, np.float32), 0, 0  # `held` begins at sample `offset`; the next window at `start`
        for block in self.blocks:
            held = np.concatenate([held, block])
            self.samples += len(block)
            while start < self._last():
                yield start, held[start - offset : start - offset + self.window].copy()
                # Keep samples from this start: the last window may begin before the next regular one.
                held, offset, start = held[start - offset :], start, start + self.step
        last = self._last()
        yield last, held[last - offset :].copy()

    def _last(self) -> int:
        """Start of the last window if the stream ends here."""
        return max(0, self.samples // self.frame * self.frame - self.window)


class FrameAverage:
    """Weighted mean of frame scores over overlapping windows; triangular weights peak at the centre of a window.

    `spans` lists the first frame of each window and the frame after its last.
    """

    def __init__(self, classes: int) -> None:
        self.sums, self.weights = np.zeros((0, classes)), np.zeros(0)
        self.spans: list[tuple[int, int]] = []

    def add(self, first: int, frames: np.ndarray) -> None:
        """Add the scores (frames, classes) of a window that begins at frame `first`."""
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


class DetectionScores(NamedTuple):
    """Probabilities of the frames and windows of a recording."""

    frames: np.ndarray  # (frames, classes) probabilities; frame k covers [k, k + 1) * frame_s
    clip: np.ndarray  # (classes,) probability that the class occurs in the recording
    frame_s: float
    duration_s: float
    windows: np.ndarray  # (windows, classes) probability that the class occurs in the window
    spans: np.ndarray  # (windows, 2) first frame of each window and the frame after its last
    remarks: tuple[str, ...] = ()  # sentences on the recording for the user


class SoundEvent(NamedTuple):
    """Sound event: onset and offset in s, and class."""

    onset: float
    offset: float
    label: str


class DetectionResult(NamedTuple):
    """Events and tags of one recording, and their scores."""

    events: list[SoundEvent]
    tags: list[str]  # classes that occur
    scores: DetectionScores
    path: str | None = None  # None: audio in memory


class Audio2EventScores:
    """Waveform step: audio of any length -> frame and clip scores, averaged over overlapping windows (10 s every 5 s).

    Frames are weighted by their distance from the edges of their window. The clip probability of a class is its maximum over
    windows. Each window is scaled by its own robust level (`datamodules.audio.level`), so that neither a click nor a loud
    passage elsewhere hides an event. Windows below -75 dB of full scale contain no events.

    Args:
        detector: LightningModule of the task
        inference: options (default: those of the detector)
    """

    def __init__(self, detector: nn.Module, inference: DetectionOptions | None = None) -> None:
        self.detector, self.grid = detector, detector.grid
        options, frame = inference or detector.inference, self.grid.hop * self.grid.pool
        lengths = (options.window, options.step)
        self.window, self.step = (max(1, round(s * self.grid.sample_rate / frame)) * frame for s in lengths)

    def __call__(self, audio: ArrayLike, sample_rate: int, embeddings: Embeddings | None = None) -> DetectionScores:
        """Scores of a recording.

        Args:
            audio: (samples,) or (channels, samples)
            sample_rate: sample rate of the audio, Hz
            embeddings: (frames, dim) on the network's frames, by stream

        Raises:
            ValueError: no samples, another shape, or integers other than int16.
        """
        return self.streamed([mono(audio, sample_rate, self.grid.sample_rate)], embeddings)

    def streamed(self, blocks: Iterable[np.ndarray], embeddings: Embeddings | None = None) -> DetectionScores:
        """Scores of a stream of blocks (samples,) at the network's sample rate; memory holds a few windows and the scores."""
        windows = Windows(blocks, self.window, self.step, self.grid.hop * self.grid.pool)
        average = FrameAverage(len(self.detector.classes))
        clips: list[np.ndarray] = []
        clicks: list[float] = []
        any_audible = False
        for batch in _batched(windows, WINDOWS_PER_PASS):
            spans = [self._span(start, len(piece)) for start, piece in batch]
            audible = [k for k, (_, piece) in enumerate(batch) if not is_inaudible(piece)]
            for (first, _), (frames, clip) in zip(spans, self._scored(batch, spans, audible, embeddings or {}), strict=True):
                average.add(first, frames)
                clips.append(clip)
            any_audible |= bool(audible)
            clicked = [batch[k] for k in audible if click_db(batch[k][1]) > CLICK_DB]
            clicks += [(start + int(np.abs(piece).argmax())) / self.grid.sample_rate for start, piece in clicked]
        total, probabilities = self.grid.count(windows.samples), np.array(clips)
        starts = np.array([span[0] for span in average.spans])
        return DetectionScores(
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
    def _detect(self, pieces: list[Tensor], first_frames: list[int], embeddings: Embeddings) -> Detection:
        net = self.detector.evaluated
        device = next(net.parameters()).device
        lengths = torch.tensor([len(piece) for piece in pieces])
        audio = nn.utils.rnn.pad_sequence(pieces, batch_first=True).to(device)
        mel, valid = net.features(audio, lengths.to(device), "robust")
        frames = self.grid.count(audio.shape[1])
        cut = {name: np.stack([_cut(values, k, frames) for k in first_frames]) for name, values in embeddings.items()}
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
    """Rows start .. start + frames, zero-padded beyond the end."""
    piece = values[start : start + frames]
    return np.concatenate([piece, np.zeros((frames - len(piece), values.shape[1]), values.dtype)])


def _click_remarks(clicks: list[float]) -> tuple[str, ...]:
    """Remark on clicks, by their times in s."""
    times = sorted(set(clicks))
    if not times:
        return ()
    others = f" and at {len(times) - 1} other times" if len(times) > 1 else ""
    return (f"a peak at {times[0]:.1f} s{others} is over {CLICK_DB:.0f} dB above the rest of its window and is clipped.",)


class File2Scores:
    """File step: audio or video file of any sample rate and length -> scores, with embeddings if the network takes them.

    Args:
        detector: LightningModule of the task
        inference: options (default: those of the detector)
    """

    def __init__(self, detector: nn.Module, inference: DetectionOptions | None = None) -> None:
        self.detector, self.scores = detector, Audio2EventScores(detector, inference)

    def __call__(self, path: str | Path) -> DetectionScores:
        """Scores of one file; it is streamed unless the network takes embeddings.

        Raises:
            DataError: the file cannot be decoded, or has no sound or images that the network needs.
        """
        stream = AudioBlocks(path, self.detector.grid.sample_rate)
        if self.detector.extractors:
            audio = np.concatenate(list(stream))
            scores = self.scores.streamed([audio], self._embeddings(Path(path), len(audio)))
        else:
            scores = self.scores.streamed(stream)
        damage = (f"it {stream.damage}: the events are of the decoded part.",) if stream.damage else ()
        mixed = (f"{stream.remark}.",) if stream.remark else ()
        return scores._replace(remarks=(*damage, *mixed, *scores.remarks))

    def _embeddings(self, path: Path, samples: int) -> dict[str, np.ndarray]:
        centres = self.detector.grid.centres(samples)
        embeddings = {}
        for name, extractor in self.detector.extractors.items():
            source = video_path(path, path.parent) if extractor.kind == "video" else path
            embeddings[name] = self.detector.align(*embed(extractor, source), centres)
        return embeddings


class Audio2Events:
    """Result step: audio of any length -> events and tags, by thresholds and filters tuned in validation.

    Args:
        detector: LightningModule of the task
        inference: options (default: those of the detector)
    """

    def __init__(self, detector: nn.Module, inference: DetectionOptions | None = None) -> None:
        options = inference or detector.inference
        self.classes, self.decision = list(detector.classes), detector.decision(options.thresholds)
        self.scores = Audio2EventScores(detector, options)

    def __call__(self, audio: ArrayLike, sample_rate: int, embeddings: Embeddings | None = None) -> DetectionResult:
        """Events of a recording; arguments and errors as in `Audio2EventScores`."""
        return self.decided(self.scores(audio, sample_rate, embeddings))

    def decided(self, scores: DetectionScores, path: str | None = None) -> DetectionResult:
        """Decode scores into events and tags."""
        decision = self.decision
        smooth = median_filter(stack([scores.frames], [scores.duration_s], scores.frame_s), decision.event.filters)
        decoded = decode(smooth, decision.event.thresholds)
        if decision.event_masked:
            decoded = take(decoded, _tagged(decoded, scores, decision.clip))
        spans = zip(decoded.onset, decoded.offset, decoded.label, strict=True)
        events = [SoundEvent(float(onset), float(offset), self.classes[k]) for onset, offset, k in spans]
        tags = [name for name, is_tag in zip(self.classes, scores.clip >= decision.clip, strict=True) if is_tag]
        return DetectionResult(events, tags, scores, path)


class File2Events:
    """File step: audio or video file -> events and tags.

    Args:
        detector: LightningModule of the task
        inference: options (default: those of the detector)
    """

    def __init__(self, detector: nn.Module, inference: DetectionOptions | None = None) -> None:
        self.scores, self.audio_events = File2Scores(detector, inference), Audio2Events(detector, inference)

    def __call__(self, path: str | Path) -> DetectionResult:
        """Events of one file.

        Raises:
            DataError: as in `File2Scores`.
        """
        return self.audio_events.decided(self.scores(path), str(path))


def _tagged(events: Events, scores: DetectionScores, thresholds: np.ndarray) -> np.ndarray:
    """Mask (events,): True if the class of the event is a tag of a window that overlaps the event."""
    tags = scores.windows >= thresholds
    begin, end = scores.spans.T * scores.frame_s
    inside = (begin < events.offset[:, None]) & (events.onset[:, None] < end)
    return (inside & tags[:, events.label].T).any(1)
