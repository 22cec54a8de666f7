"""Whether the seams between chunks can be heard: the stems of chunks against those of the whole at once."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.audio import resampler
from datamodules.songs import open_song
from models.separation.separator import WaveSeparator
from tasks.separation.coverage import settings_of
from tasks.separation.inference import Inference
from tasks.separation.ladder import Audio2Stems

FRAME_S = 0.1
EQUAL = -200.0  # dB


def check_seams(separator: nn.Module, audio: Tensor, inference: Inference | None = None) -> float:
    """Worst difference in dB between stems separated in chunks and at once, of audio (channels, samples).

    The energy of the difference in the worst tenth of a second, over the mean energy of that stem: -60 dB is a thousandth
    of its amplitude. Minus infinity where nothing differs. `audio` should be longer than two chunks, and short enough
    to be separated at once (a minute or two).
    """
    net = getattr(separator, "separating", separator.net)
    inference = inference or settings_of(separator)
    whole = Audio2Stems(net, dataclasses.replace(inference, chunk=math.inf)).native(audio)
    parts = Audio2Stems(net, inference).native(audio)
    frame = round(FRAME_S * net.sample_rate)
    difference = nn.functional.pad((parts - whole).double().square().mean(dim=1), (0, -audio.shape[-1] % frame))
    worst = difference.unflatten(-1, (-1, frame)).mean(dim=-1).amax(dim=-1)
    level = whole.double().square().mean(dim=(1, 2))
    # A stem that is silent as a whole has nothing to compare with.
    ratio = (worst / level)[level > level.amax() * 1e-9]
    return float(10 * torch.log10(ratio.amax())) if len(ratio) else -math.inf


def file_seams(separator: nn.Module, path: str | Path) -> float | None:
    """`check_seams` of a file's first two and a half chunks; None for a file that is one chunk; -200 dB means equal."""
    net, inference = getattr(separator, "separating", separator.net), settings_of(separator)
    chunk_s = net.segment / net.sample_rate if isinstance(net, WaveSeparator) else inference.chunk
    blocks, seconds = [], 0.0
    with open_song(path) as song:
        for block in song.blocks():
            blocks.append(block[:, : net.channels])
            seconds += len(block) / song.rate
            if seconds > 2.5 * chunk_s + inference.context:
                break
        audio = resampler(song.rate, net.sample_rate, blocks[0].shape[1], song.path)(np.concatenate(blocks), True)
    if seconds <= chunk_s:
        return None
    worst = check_seams(separator, torch.from_numpy(np.ascontiguousarray(audio.T)).expand(net.channels, -1), inference)
    return max(round(worst, 1), EQUAL)
