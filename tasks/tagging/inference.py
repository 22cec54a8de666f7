"""Inference of tagging: audio of any length, or a file -> tags; one step a class.

    tagger = tasks.load("runs/tagging/default")  # a checkpoint or a run folder

| step                               | called with        | result                                                       |
| ---------------------------------- | ------------------ | ------------------------------------------------------------ |
| `Audio2TagScores(tagger)`             | audio, sample_rate | `ChunkScores`: probabilities (chunks, tags)                  |
| `Audio2Tags(tagger)`               | audio, sample_rate | probabilities (tags,) of the recording                       |
| `Audio2Embeddings(tagger, layers)` | audio, sample_rate | outputs (chunks, ...) of each layer                          |
| `File2Tags(tagger)`                | path               | `FileTags`: `.decided()` by the inference options, `.top(5)` |

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


class FileTags(NamedTuple):
    """Tags of one file."""

    path: str
    duration_s: float
    tags: tuple[str, ...]
    scores: np.ndarray  # (tags,)
    chunks: ChunkScores
    decision: Decision
    notes: tuple[str, ...] = ()  # what the user must know: `silent`, `0.5 of 3 s`, channels that cancel each other
    usable: bool = True  # whether there is anything to tag

    def top(self, n: int) -> list[tuple[str, float]]:
        """The n most probable tags, best first."""
        order = np.argsort(-self.scores, kind="stable")[:n]
        return [(self.tags[i], float(self.scores[i])) for i in order]

    def decided(self, threshold: float | None = None) -> list[tuple[str, float]]:
        """Tags and scores that the inference options list, best first; silence has none.

        Args:
            threshold: least score of a tag, instead of the options `threshold` and `top`
        """
        decision = self.decision
        if threshold is not None:
            decision = Decision(self.tags, np.full(len(self.tags), threshold), calibration=decision.calibration)
        return decision(self.scores, self.usable)


class Chunks2Scores:
    """Tensor step: audio chunks (chunks, samples) to probabilities (chunks, tags), in batches of bounded memory."""

    def __init__(self, tagger: nn.Module, batch_size: int = 32) -> None:
        self.net, self.batch_size = tagger.net, batch_size

    @torch.no_grad()
    def __call__(self, chunks: Iterable[Tensor], level: Tensor | None) -> np.ndarray:
        """Probabilities of `chunks`, which share the reference level (1,) of their clip; a batch of them is held at a time."""
        device, chunks = next(self.net.parameters()).device, iter(chunks)
        out = []
        while batch := list(islice(chunks, self.batch_size)):
            audio = torch.stack(batch).to(device)
            logits = self.net(audio, None if level is None else level.to(device).expand(len(audio)))
            out.append(torch.sigmoid(logits.float()).cpu())
        return torch.cat(out).numpy()


class Audio2TagScores:
    """Waveform step: any length of audio to chunk probabilities.

    Args:
        tagger: LightningModule of the task
        policy: how chunks cover a recording: `cover` it all, or `won16`, the paper's sixteen chunks
        hop_s: s from chunk to chunk, instead of the policy
        batch_size: chunks at once
    """

    def __init__(self, tagger: nn.Module, policy: str = "cover", hop_s: float | None = None, batch_size: int = 32) -> None:
        self.chunk_scores = Chunks2Scores(tagger, batch_size)
        self.window = tagger_window(tagger)
        self.policy, self.hop_s = policy, hop_s

    def __call__(self, audio: ArrayLike, sample_rate: int) -> ChunkScores:
        """Chunk probabilities of audio (samples,) or (channels, samples) at `sample_rate` Hz.

        Raises:
            ValueError: no samples, another shape, or integers but int16.
        """
        return self.native(torch.from_numpy(mono(audio, sample_rate, self.window.sample_rate)))

    def native(self, audio: Tensor) -> ChunkScores:
        """The same of audio (samples,) at the network's own rate.

        Chunks start every `hop_s` seconds when given, else by the clip policy.
        """
        if self.hop_s is None:
            starts, weights = POLICIES[self.policy](self.window, len(audio))
        else:
            starts, weights = every(self.window, len(audio), self.hop_s)
        level = clip_level(self.chunk_scores.net, audio)
        scores = self.chunk_scores((cut(audio, self.window, int(s)) for s in starts), level)
        return ChunkScores(np.asarray(starts) / self.window.sample_rate, np.asarray(weights), scores)


class Audio2Tags:
    """Clip step: a waveform to one probability for each of `tags`."""

    def __init__(self, tagger: nn.Module, policy: str = "cover") -> None:
        self.scores, self.tags = Audio2TagScores(tagger, policy), tuple(tagger.tags)

    def __call__(self, audio: ArrayLike, sample_rate: int) -> np.ndarray:
        """Probabilities (tags,) of audio (samples,) or (channels, samples) at `sample_rate` Hz.

        Raises:
            ValueError: no samples, another shape, or integers but int16.
        """
        return self.scores(audio, sample_rate).clip()


class File2Tags:
    """File step: a path to named tags, whatever its format, rate, channels and length.

    Args:
        tagger: LightningModule of the task
        policy: as in `Audio2TagScores`
        inference: options (default: those of the tagger)

    Raises:
        DataError: options that the tagger cannot serve.
    """

    def __init__(self, tagger: nn.Module, policy: str = "cover", inference: TaggingOptions | None = None) -> None:
        self.scores, self.tags = Audio2TagScores(tagger, policy), tuple(tagger.tags)
        self.decision = make_decision(tagger, inference)

    def __call__(self, path: str | Path) -> FileTags:
        """Tags of one file.

        Raises:
            DataError: the file cannot be decoded.
        """
        decoded = decode(path, self.scores.window.sample_rate)
        return self.tagged(str(path), torch.as_tensor(decoded.audio), decoded.remark)

    def tagged(self, path: str, audio: Tensor, remark: str | None = None) -> FileTags:
        """Tags of a file that is already decoded, audio (samples,); remark: how its channels were mixed down."""
        chunks, window = self.scores.native(audio), self.scores.window
        notes, usable = notes_on(audio, window, remark), is_usable(audio, window)
        duration_s = len(audio) / window.sample_rate
        return FileTags(path, duration_s, self.tags, chunks.clip(), chunks, self.decision, notes, usable)


class Audio2Embeddings:
    """Waveform step to the outputs of named layers instead of tags."""

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
        """The same of audio (samples,) at the network's own rate."""
        seen: dict[str, list[Tensor]] = {layer: [] for layer in self.layers}
        hooks = [
            self.net.get_submodule(layer).register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out.float().cpu()))
            for layer, kept in seen.items()
        ]
        try:
            chunks = self.scores.native(audio)
        finally:
            for hook in hooks:
                hook.remove()
        return {"start_s": chunks.start_s} | {layer: torch.cat(kept).numpy() for layer, kept in seen.items()}


def tagger_window(tagger: nn.Module) -> Window:
    """Shape of one chunk as the tagger's network wants it."""
    net = tagger.net
    return Window(net.sample_rate, net.samples, net.hop, net.lead)


def clip_level(net: nn.Module, audio: Tensor) -> Tensor | None:
    """Reference level (1,) in dB of a whole recording (samples,), or None where the network needs none."""
    device = next(net.parameters()).device
    with torch.no_grad():
        return net.clip_level(audio.to(device)[None])


def cut(audio: Tensor, window: Window, start: int) -> Tensor:
    """Chunk (window.samples,) that starts at `start` on the grid: context before it, zeros outside the recording."""
    begin = start - window.lead
    inside = audio[max(begin, 0) : max(begin + window.samples, 0)]
    return nn.functional.pad(inside, (max(-begin, 0), window.samples - max(-begin, 0) - len(inside)))
