"""Sound event detection with level normalisation per window vs. per recording, for uneven levels and clicks.

The demo's test clips, concatenated and separately. Needs a run of the demo: runs/sed/default, or the folder of QUINTET_RUN.
"""

import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import tasks
from datamodules.audio.windows import FrameGrid
from datamodules.common.input_spec import SEDSpec
from datamodules.demo.data import SoundEventDemo
from datamodules.sed.events import Events, EventTable, table
from models.sed.crnn import Detection
from tasks.metrics.events import collar, counts
from tasks.sed.inference import Audio2Events, Audio2EventScores

RANGE_DB = 30.0
CLICK_S = 0.001
SOFT = 0.1  # peak of recordings with a click 20 dB above

Signal = np.ndarray


def run() -> None:
    """Print event macro F1 and segment micro F1 by condition."""
    detector = tasks.load(os.environ.get("QUINTET_RUN", "runs/sed/default"))
    clips, corpus = test_clips(detector.grid)
    random = np.random.default_rng(0)
    gains = 10 ** (-random.uniform(0, RANGE_DB, len(clips)) / 20)
    whole = np.concatenate(clips)
    uneven = np.concatenate([gain * clip for gain, clip in zip(gains, clips, strict=True)]).astype(np.float32)
    rate = detector.grid.sample_rate
    conditions = {
        "one file, clean": [whole],
        f"one file, levels of 0 to -{RANGE_DB:.0f} dB": [uneven],
        "one file, one click 20 dB above": [clicked(whole, rate)],
        "single clips, clean": clips,
        "single clips, a click 20 dB above in each": [clicked(clip, rate) for clip in clips],
    }
    print(f"{len(clips)} clips, {len(whole) / rate / 60:.0f} minutes: event macro F1 / segment micro F1")
    print(f"{'':42} {'level of the recording':>24} {'level of each window':>24}")
    for name, signals in conditions.items():
        reference = joined(corpus) if len(signals) == 1 else corpus
        cells = [scores_of(detector, kind(detector), signals, reference) for kind in (PeakOfRecording, Audio2EventScores)]
        print(f"{name:42}" + "".join(f"{event:>17.3f} / {part:.3f}" for event, part in cells), flush=True)


class PeakOfRecording(Audio2EventScores):
    """Windows of recordings normalised as a whole to full scale."""

    def __call__(self, audio: Tensor, sample_rate: int, embeddings=None):
        return super().__call__(audio / audio.abs().max().clamp(min=1e-5), sample_rate, embeddings)

    @torch.no_grad()
    def _detect(self, pieces: list[Tensor], at: list[int], embeddings) -> Detection:
        lengths = torch.tensor([len(piece) for piece in pieces])
        audio = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        return self.detector.evaluated(*self.detector.evaluated.features(audio, lengths, "none"), {})


def test_clips(grid: FrameGrid) -> tuple[list[Signal], EventTable]:
    """Samples of the demo's test clips in [-1, 1), and their events."""
    data = SoundEventDemo(streams={"weak": 1}, pack="never")
    data.connect(SEDSpec(grid))
    clips = data.clips("test")
    return [clips.item(k).audio.astype(np.float32) / 32768 for k in range(len(clips))], data.corpus("test")


def clicked(signal: Signal, rate: int) -> Signal:
    """A signal with a click of 1 ms, 20 dB above its peak, at half a second."""
    signal = (signal / np.abs(signal).max() * SOFT).astype(np.float32)
    signal[rate // 2 : rate // 2 + round(CLICK_S * rate)] = 1.0
    return signal


def joined(corpus: EventTable) -> EventTable:
    """Concatenate all clips to one."""
    starts, events = np.cumsum(corpus.durations) - corpus.durations, corpus.events
    shift = starts[events.clip]
    moved = table(np.zeros(len(shift)), events.label, events.onset + shift, events.offset + shift)
    return EventTable(("all",), corpus.durations.sum(keepdims=True), corpus.classes, moved)


def scores_of(
    detector, to_scores: Callable[[Tensor, int], object], signals: list[Signal], corpus: EventTable
) -> tuple[float, float]:
    """Event-based macro F1 and segment-based micro F1 of recordings, by the tuned decisions."""
    by_event, decide = Audio2Events(detector), Audio2Events(detector)
    tuned = decide.decision
    decide.decision = tuned._replace(event=tuned.segment, event_masked=tuned.segment_masked)
    scored = [to_scores(torch.from_numpy(signal), detector.grid.sample_rate) for signal in signals]
    events, parts = (_events(way, scored, corpus) for way in (by_event, decide))
    classes = len(corpus.classes)
    whole = collar.score(corpus.events, events, classes).counts.macro_f1
    return whole, counts.score(corpus.events, parts, classes).counts.micro_f1


def _events(way: Audio2Events, scored: list, corpus: EventTable) -> Events:
    rows = [
        (clip, corpus.classes.index(event.label), event.onset, event.offset)
        for clip, scores in enumerate(scored)
        for event in way.decided(scores).events
    ]
    return table(*zip(*rows, strict=True)) if rows else table()
