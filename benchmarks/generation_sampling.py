"""Frames a second that a GRU with four voices writes, against reading all that is written anew for each frame; one thread."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.paired import HEADER, paired
from models.generation import NextStep
from models.generation.cores import RNNCore
from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.heads import VoiceHead
from models.generation.sampling import Sampling, draw

FORM = FrameSpec("categories", (24, 26, 27, 34), conditions=8)  # voices of chorales with REST and HOLD
SIZES = ((1, 256, 2_000), (64, 64, 20_000))  # batch, frames, frames a second that are asked for


def run() -> None:
    """Print frames of a CPU second at batch 1 and 64, and the ratios against the naive loop and against nn.GRU called a frame."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = NextStep(FORM, partial(RNNCore, width=256), VoiceHead, embedding=32).eval()
    for batch, frames, goal in SIZES:
        ask = asked(batch, frames)
        seconds = min(_cpu(lambda ask=ask: net.generate(ask)) for _ in range(5))
        rate = batch * frames / seconds
        print(f"batch {batch}: {rate:,.0f} frames/s, {FORM.columns * rate:,.0f} notes/s (goal {goal:,} frames/s)")
    print(f"\n{HEADER}")
    for batch, frames, _ in SIZES:
        ask = asked(batch, frames)
        ours = partial(net.generate, ask)
        print(paired(partial(anew, net, ask), ours, 3).row(f"batch {batch}: all {frames} frames read anew for each"))
        print(paired(partial(by_module, net, ask), ours, 3).row(f"batch {batch}: nn.GRU called a frame at a time"))


def asked(batch: int, frames: int) -> Ask:
    """A question in which nothing is fixed."""
    values = torch.zeros(batch, frames, FORM.columns, dtype=torch.long)
    conditions = torch.zeros(batch, frames, FORM.conditions)
    return Ask(values, torch.zeros_like(values, dtype=torch.bool), conditions, torch.Generator().manual_seed(0))


@torch.no_grad()
def anew(net: NextStep, ask: Ask) -> Tensor:
    """Every frame from a pass over all that is written so far."""
    out = ask.values.clone()
    for frame in range(out.shape[1]):
        so_far = FrameBatch(
            out[:, : frame + 1], ask.conditions[:, : frame + 1], torch.ones(len(out), frame + 1, dtype=torch.bool)
        )
        out[:, frame] = voices(net, net(so_far)[:, -1], ask.generator)
    return out


@torch.no_grad()
def by_module(net: NextStep, ask: Ask) -> Tensor:
    """The same with the state carried, but through modules made for whole sequences."""
    out, state = ask.values.clone(), None
    before = net.embed.first.expand(len(out), 1, -1)
    for frame in range(out.shape[1]):
        h, state = net.core.rnn(torch.cat([before, ask.conditions[:, frame : frame + 1]], -1), state)
        out[:, frame] = voices(net, h[:, 0], ask.generator)
        before = net.embed(out[:, frame : frame + 1])
    return out


def voices(net: NextStep, h: Tensor, generator: torch.Generator) -> Tensor:
    """A frame (batch, voices), one call of `draw` a voice."""
    known, drawn = net.head.begin(h), {}
    for place, column in enumerate(net.head.order):
        drawn[column] = draw(net.head.logits(place, known), Sampling(), generator)
        known = net.head.told(place, known, drawn[column])
    return torch.stack([drawn[column] for column in sorted(drawn)], -1)


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
