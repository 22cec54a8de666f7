"""X-UMX's loss and training step vs. plain versions, then the other benchmarks of separation; one thread."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.memory import memory_mb
from benchmarks.naive_separation import NaiveUMX, naive_domains, naive_loss
from benchmarks.paired import HEADER, paired
from losses import Domains, MultiDomainLoss
from models.blocks.stft import STFT
from models.separation.umx import UMX
from tasks.separation.module import domains

BATCH, SOURCES, CHANNELS, SAMPLES = 4, 4, 2, 264_600  # 6 s at 44.1 kHz
OTHERS = ("bss_eval", "stem_loader", "separate_long")
PEAK = "import sys; from benchmarks.separation import peak; print(peak(sys.argv[1]))"


def run() -> None:
    """Print time, memory and differences of both versions, then run the other benchmarks of separation."""
    torch.set_num_threads(1)
    print(f"batch {BATCH} of 6 s, stereo, 44.1 kHz, {SOURCES} sources; one thread, CPU time\n{HEADER}")
    _loss()
    _step()
    _memory()
    for name in OTHERS:
        if find_spec(f"benchmarks.{name}"):
            print(f"\n{name}")
            importlib.import_module(f"benchmarks.{name}").run()


def _batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    stems = 0.1 * torch.randn(BATCH, SOURCES, CHANNELS, SAMPLES)
    return stems, stems.sum(1)


def _loss() -> None:
    stems, mixture = _batch()
    waveforms = stems + 0.05 * torch.randn_like(stems)
    stft = STFT()
    target, magnitudes = Domains(stft(stems).abs(), stems), stft(waveforms).abs()

    def work(loss: Callable) -> Callable[[], tuple[Tensor, Domains]]:
        def both_ways() -> tuple[Tensor, Domains]:
            estimate = Domains(magnitudes.detach().requires_grad_(), waveforms.detach().requires_grad_())
            value = loss(estimate, target, mixture)
            value.backward()
            return value.detach(), estimate

        return both_ways

    peer, ours = work(naive_loss), work(MultiDomainLoss(True, True))
    print(paired(peer, ours).row("loss: all 14 subsets, both domains, fwd + bwd"))
    (value, parts), (other, others) = peer(), ours()
    apart = [float((a.grad - b.grad).norm() / a.grad.norm()) for a, b in zip(parts, others, strict=True)]
    print(f"  relative difference of the loss: {abs(float(other / value) - 1):.1e}, of gradients: {max(apart):.1e}")


def training(kind: str) -> tuple[UMX, Callable[[], Tensor]]:
    """X-UMX and a training step on a fixed batch, for kind `ours` or `naive`."""
    stems, mixture = _batch()
    torch.manual_seed(0)
    net = (UMX if kind == "ours" else NaiveUMX)(SOURCES, bridge=True)
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=1e-3), MultiDomainLoss(True, True)

    def step() -> Tensor:
        optimizer.zero_grad()
        if kind == "ours":
            value = loss(*domains(net, stems, mixture, loss, net.stft), mixture)
        else:
            value = naive_loss(*naive_domains(net, stems, mixture), mixture)
        value.backward()
        optimizer.step()
        return value.detach()

    return net, step


def _step() -> None:
    (net, ours), (peer_net, peer) = training("ours"), training("naive")
    for network in (net, peer_net):
        for branch in network.branches:
            branch.lstm.dropout = 0.0
    first = float(ours() / peer()) - 1
    for network in (net, peer_net):
        for branch in network.branches:
            branch.lstm.dropout = 0.4
    result = paired(peer, ours, 3)
    print(result.row("training step of P (Adam, dropout)"))
    print(
        f"  ours / peer: {result.ours_s / result.peer_s:.2f} of the time; relative difference of the first loss: {abs(first):.1e}"
    )


def _memory() -> None:
    """Print the peak memory of two steps, in separate processes."""
    peaks = {kind: _peak_of_a_process(kind) for kind in ("naive", "ours")}
    print(f"{'peak memory of the step, MB above the imports':44} {peaks['naive']:9.0f} {peaks['ours']:9.0f}")
    print(f"  ours / peer: {peaks['ours'] / peaks['naive']:.2f} of the memory (weights, gradients and Adam's state in both)")


def _peak_of_a_process(kind: str) -> float:
    command = [sys.executable, "-c", PEAK, kind]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak(kind: str) -> float:
    """Peak memory (MB) of two training steps, network included, above the imports."""
    torch.set_num_threads(1)
    before = memory_mb()
    _, step = training(kind)
    step(), step()
    return memory_mb() - before
