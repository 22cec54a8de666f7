"""Spec Att vs. a plain version: training step, evaluation pass, contribution map; one thread."""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.naive_tagging import NaiveSpecAtt
from benchmarks.paired import HEADER, paired
from models.tagging import Att, Spec
from models.tagging.front_back import FrontBack

TAGS, BATCH, MAP_TOKENS = 50, 16, 16


def run() -> None:
    """Print the three ratios and differences of outputs."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    parts = (partial(Spec, channels=16), partial(Att, layers=2, heads=8))
    ours, naive = FrontBack(TAGS, *parts), NaiveSpecAtt(TAGS, *parts)
    naive.load_state_dict(ours.state_dict())
    audio = 0.1 * torch.randn(BATCH, ours.samples)
    labels = (torch.rand(BATCH, TAGS) < 0.1).float()
    print(f"Spec Att, {TAGS} tags, batch {BATCH} of {ours.samples} samples, one thread, CPU time\n{HEADER}")
    print(paired(_training(naive, audio, labels), _training(ours, audio, labels)).row("training step (Adam, dropout)"))
    naive.load_state_dict(ours.state_dict())
    ours.eval(), naive.eval()
    print(paired(_inference(naive, audio), _inference(ours, audio)).row("evaluation pass"))
    with torch.no_grad():
        print(f"  largest difference of logits: {(ours(audio) - naive(audio)).abs().max():.1e}")
    _contribution(ours, naive, audio[:1])


def _contribution(ours: FrontBack, naive: NaiveSpecAtt, audio: Tensor) -> None:
    tokens = ours.explain(audio).attention.shape[2]
    timed = range(1, tokens, tokens // MAP_TOKENS)
    with torch.no_grad():
        result = paired(lambda: naive.contributions(audio, tokens=timed), lambda: ours.explain(audio), 3)
        difference = (naive.contributions(audio)[:, 1:] - ours.explain(audio).contribution).abs().max()
    whole = tokens / len(timed)
    scaled = result._replace(peer_s=result.peer_s * whole, ratios=tuple(r * whole for r in result.ratios))
    print(scaled.row(f"contribution map, {tokens} passes ({len(timed)} timed) / 1"))
    print(f"  largest difference over all {tokens - 1} frames: {difference:.1e}")


def _training(net: nn.Module, audio: Tensor, labels: Tensor):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    net.train()

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(audio), labels).backward()
        optimizer.step()

    return step


def _inference(net: nn.Module, audio: Tensor):
    @torch.no_grad()
    def work() -> Tensor:
        return net(audio)

    return work
