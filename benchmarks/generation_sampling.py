"""Sampling speed of a GRU with four voices vs. recomputing the whole sequence for each frame; one thread."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.paired import HEADER, paired
from models.generation import NextStep
from models.generation.cores import RNNCore
from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.heads import VoiceHead
from models.generation.sampling import Sampling, draw

FORM = FrameSpec("categories", (24, 26, 27, 34), conditions=8)  # voices of chorales with REST and HOLD
SIZES = ((1, 256, 2_000), (64, 64, 20_000))  # batch, frames, target in frames/s


def run() -> None:
    """Print frames per CPU second at batch 1 and 64, and ratios to the naive loop and to nn.GRU per frame."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = NextStep(FORM, partial(RNNCore, width=256), VoiceHead, embedding=32).eval()
    for batch, frames, goal in SIZES:
        request = unconstrained(batch, frames)
        seconds = min(_cpu(lambda request=request: net.generate(request)) for _ in range(5))
        rate = batch * frames / seconds
        print(f"batch {batch}: {rate:,.0f} frames/s, {FORM.columns * rate:,.0f} notes/s (goal {goal:,} frames/s)")
    print(f"\n{HEADER}")
    for batch, frames, _ in SIZES:
        request = unconstrained(batch, frames)
        ours = partial(net.generate, request)
        print(paired(partial(recomputed, net, request), ours, 3).row(f"batch {batch}: all {frames} frames read anew for each"))
        print(paired(partial(with_modules, net, request), ours, 3).row(f"batch {batch}: nn.GRU called a frame at a time"))


def unconstrained(batch: int, frames: int) -> SamplingRequest:
    """Sampling request without fixed cells."""
    values = torch.zeros(batch, frames, FORM.columns, dtype=torch.long)
    conditions = torch.zeros(batch, frames, FORM.conditions)
    return SamplingRequest(values, torch.zeros_like(values, dtype=torch.bool), conditions, torch.Generator().manual_seed(0))


@torch.no_grad()
def recomputed(net: NextStep, request: SamplingRequest) -> Tensor:
    """Sample every frame from a pass over all previous ones."""
    out = request.values.clone()
    for frame in range(out.shape[1]):
        so_far = FrameBatch(
            out[:, : frame + 1], request.conditions[:, : frame + 1], torch.ones(len(out), frame + 1, dtype=torch.bool)
        )
        out[:, frame] = voices(net, net(so_far)[:, -1], request.generator)
    return out


@torch.no_grad()
def with_modules(net: NextStep, request: SamplingRequest) -> Tensor:
    """Sample with a recurrent state, by the modules for whole sequences."""
    out, state = request.values.clone(), None
    before = net.embed.first.expand(len(out), 1, -1)
    for frame in range(out.shape[1]):
        h, state = net.core.rnn(torch.cat([before, request.conditions[:, frame : frame + 1]], -1), state)
        out[:, frame] = voices(net, h[:, 0], request.generator)
        before = net.embed(out[:, frame : frame + 1])
    return out


def voices(net: NextStep, h: Tensor, generator: torch.Generator) -> Tensor:
    """Frame (batch, voices), with one call of `draw` per voice."""
    context, drawn = net.head.begin(h), {}
    for position, column in enumerate(net.head.order):
        drawn[column] = draw(net.head.logits(position, context), Sampling(), generator)
        context = net.head.update(position, context, drawn[column])
    return torch.stack([drawn[column] for column in sorted(drawn)], -1)


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
