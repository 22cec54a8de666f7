"""Inference of tagging: audio of any length, or a file -> tags. One class per step.

    tagger = tasks.load("runs/tagging/default")  # a checkpoint or a run folder

| step                               | called with        | result                                                            |
| ---------------------------------- | ------------------ | ----------------------------------------------------------------- |
| `Audio2TagScores(tagger)`          | audio, sample_rate | `ChunkScores`: probabilities (chunks, tags)                       |
| `Audio2Embeddings(tagger, layers)` | audio, sample_rate | outputs (chunks, ...) of each layer                               |
| `Audio2Tags(tagger)`               | audio, sample_rate | `TaggingResult`: `.decided()` by the inference options, `.top(5)` |
| `File2Tags(tagger)`                | path               | `TaggingResult`                                                   |

Audio is (samples,) or (channels, samples). Options are those of the tagger (`tagger.inference`), or the argument `inference`.
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from datamodules.audio.reading import decode, mono
from datamodules.audio.windows import Window, cover, every, won16
from tasks.tagging.decisions import Decision, is_usable, make_decision, notes_on
from tasks.tagging.options import TaggingOptions

POLICIES = {"cover": cover, "won16": won16}


class ChunkScores(NamedTuple):
    """Probabilities of the chunks of one recording."""

    start_s: np.ndarray  # (chunks,) s
    weight: np.ndarray  # (chunks,) sums to 1
    scores: np.ndarray  # (chunks, tags) in [0, 1]

    def clip(self) -> np.ndarray:
        """Weighted mean over the chunks, (tags,)."""
        return self.weight @ self.scores


class TaggingResult(NamedTuple):
    """Tags of one recording."""

    tags: tuple[str, ...]  # names of all tags
    scores: np.ndarray  # (tags,) probabilities
    chunks: ChunkScores
    decision: Decision
    duration_s: float
    notes: tuple[str, ...] = ()  # such as `silent`, too short, channels that cancel each other
    usable: bool = True  # False: silent or too short to tag
    path: str | None = None  # None: audio in memory

    def top(self, n: int) -> list[tuple[str, float]]:
        """The n most probable tags, best first."""
        order = np.argsort(-self.scores, kind="stable")[:n]
        return [(self.tags[i], float(self.scores[i])) for i in order]

    def decided(self, threshold: float | None = None) -> list[tuple[str, float]]:
        """Tags and scores selected by the inference options, best first; empty for silence.

        Args:
            threshold: minimum score of a tag, instead of the options `threshold` and `top`
        """
        decision = self.decision
        if threshold is not None:
            decision = Decision(self.tags, np.full(len(self.tags), threshold), calibration=decision.calibration)
        return decision(self.scores, self.usable)


class Chunks2Scores:
    """Tensor step: audio chunks (chunks, samples) -> probabilities (chunks, tags), in batches of bounded memory."""

    def __init__(self, tagger: nn.Module, batch_size: int = 32) -> None:
        self.net, self.batch_size = tagger.net, batch_size

    @torch.no_grad()
    def __call__(self, chunks: Iterable[Tensor], level: Tensor | None) -> np.ndarray:
        """Probabilities of the chunks of one clip, which share its reference level (1,) in dB."""
        device, chunks = next(self.net.parameters()).device, iter(chunks)
        out = []
        while batch := list(islice(chunks, self.batch_size)):
            audio = torch.stack(batch).to(device)
            logits = self.net(audio, None if level is None else level.to(device).expand(len(audio)))
            out.append(torch.sigmoid(logits.float()).cpu())
        return torch.cat(out).numpy()


class Audio2TagScores:
    """Waveform step: audio of any length -> chunk probabilities.

    Args:
        tagger: LightningModule of the task
        policy: chunks of a recording: `cover` (all of it) or `won16` (the paper's sixteen chunks)
        hop_s: time between chunks in s, instead of the policy
        batch_size: chunks per forward pass
    """

    def __init__(self, tagger: nn.Module, policy: str = "cover", hop_s: float | None = None, batch_size: int = 32) -> None:
        self.chunk_scores = Chunks2Scores(tagger, batch_size)
        self.window = tagger_window(tagger)
        self.policy, self.hop_s = policy, hop_s

    def __call__(self, audio: ArrayLike, sample_rate: int) -> ChunkScores:
        """Chunk probabilities of audio (samples,) or (channels, samples) at `sample_rate` Hz.

        Raises:
            ValueError: no samples, another shape, or integers other than int16.
        """
        return self.native(torch.from_numpy(mono(audio, sample_rate, self.window.sample_rate)))

    def native(self, audio: Tensor) -> ChunkScores:
        """Chunk probabilities of audio (samples,) at the network's sample rate."""
        if self.hop_s is None:
            starts, weights = POLICIES[self.policy](self.window, len(audio))
        else:
            starts, weights = every(self.window, len(audio), self.hop_s)
        level = clip_level(self.chunk_scores.net, audio)
        scores = self.chunk_scores((cut(audio, self.window, int(s)) for s in starts), level)
        return ChunkScores(np.asarray(starts) / self.window.sample_rate, np.asarray(weights), scores)


class Audio2Tags:
    """Result step: audio of any length -> tags of the recording.

    Args:
        tagger: LightningModule of the task
        policy: as in `Audio2TagScores`
        inference: options (default: those of the tagger)

    Raises:
        DataError: options that do not fit the tagger, such as thresholds of other tags.
    """

    def __init__(self, tagger: nn.Module, policy: str = "cover", inference: TaggingOptions | None = None) -> None:
        self.scores, self.tags = Audio2TagScores(tagger, policy), tuple(tagger.tags)
        self.decision = make_decision(tagger, inference)

    def __call__(self, audio: ArrayLike, sample_rate: int) -> TaggingResult:
        """Tags of audio (samples,) or (channels, samples) at `sample_rate` Hz.

        Raises:
            ValueError: no samples, another shape, or integers other than int16.
        """
        return self.native(torch.from_numpy(mono(audio, sample_rate, self.scores.window.sample_rate)))

    def native(self, audio: Tensor, path: str | None = None, remark: str | None = None) -> TaggingResult:
        """Tags of audio (samples,) at the network's sample rate; remark: how its channels were mixed to mono."""
        chunks, window = self.scores.native(audio), self.scores.window
        notes, usable = notes_on(audio, window, remark), is_usable(audio, window)
        duration_s = len(audio) / window.sample_rate
        return TaggingResult(self.tags, chunks.clip(), chunks, self.decision, duration_s, notes, usable, path)


class File2Tags:
    """File step: path of an audio file of any format, sample rate, channels and length -> tags.

    Args:
        tagger: LightningModule of the task
        policy: as in `Audio2TagScores`
        inference: options (default: those of the tagger)

    Raises:
        DataError: options that do not fit the tagger.
    """

    def __init__(self, tagger: nn.Module, policy: str = "cover", inference: TaggingOptions | None = None) -> None:
        self.audio_tags = Audio2Tags(tagger, policy, inference)

    def __call__(self, path: str | Path) -> TaggingResult:
        """Tags of one file.

        Raises:
            DataError: the file cannot be decoded.
        """
        decoded = decode(path, self.audio_tags.scores.window.sample_rate)
        return self.audio_tags.native(torch.as_tensor(decoded.audio), str(path), decoded.remark)


class Audio2Embeddings:
    """Waveform step: audio of any length -> outputs of named layers."""

    def __init__(self, tagger: nn.Module, layers: list[str], policy: str = "cover") -> None:
        self.scores, self.net, self.layers = Audio2TagScores(tagger, policy), tagger.net, layers

    def __call__(self, audio: ArrayLike, sample_rate: int) -> dict[str, np.ndarray]:
        """Outputs (chunks, ...) of each layer, and `start_s` (chunks,) of the chunks.

        Args:
            audio: (samples,) or (channels, samples), floats in [-1, 1) or int16
            sample_rate: of the audio, Hz
        """
        return self.native(torch.from_numpy(mono(audio, sample_rate, self.scores.window.sample_rate)))

    def native(self, audio: Tensor) -> dict[str, np.ndarray]:
        """Outputs for audio (samples,) at the network's sample rate."""
        outputs: dict[str, list[Tensor]] = {layer: [] for layer in self.layers}
        hooks = [
            self.net.get_submodule(layer).register_forward_hook(lambda _m, _i, out, rows=rows: rows.append(out.float().cpu()))
            for layer, rows in outputs.items()
        ]
        try:
            start_s = self.scores.native(audio).start_s
        finally:
            for hook in hooks:
                hook.remove()
        return {"start_s": start_s} | {layer: torch.cat(rows).numpy() for layer, rows in outputs.items()}


def tagger_window(tagger: nn.Module) -> Window:
    """Chunk length, hop and context of the tagger's network."""
    net = tagger.net
    return Window(net.sample_rate, net.samples, net.hop, net.lead)


def clip_level(net: nn.Module, audio: Tensor) -> Tensor | None:
    """Reference level (1,) in dB of a whole recording (samples,); None if the network uses none."""
    device = next(net.parameters()).device
    with torch.no_grad():
        return net.clip_level(audio.to(device)[None])


def cut(audio: Tensor, window: Window, start: int) -> Tensor:
    """Chunk (window.samples,) at sample `start` of the grid, with context before it and zeros outside the recording."""
    begin = start - window.lead
    inside = audio[max(begin, 0) : max(begin + window.samples, 0)]
    return nn.functional.pad(inside, (max(-begin, 0), window.samples - max(-begin, 0) - len(inside)))
