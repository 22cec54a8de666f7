"""Training step of sound event detection vs. plain layers, and the share of the mean teacher's update; one thread."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.paired import HEADER, paired
from losses import clip_bce, clip_consistency, frame_consistency
from models.sed import DetectionCRNN
from models.sed.crnn import Dropout
from tasks.callbacks import MeanTeacher

BATCH, FRAMES, BANDS, CLASSES = 8, 604, 128, 10


def run() -> None:
    """Print ratios of a training step, of its dropout and of the filters, and the share of the teacher's update."""
    torch.set_num_threads(1)
    print(f"CRNN of Boes and Van hamme 2021, batch {BATCH} of 10 s; one thread, CPU time\n{HEADER}")
    torch.manual_seed(0)
    mel, labels = torch.randn(BATCH, FRAMES, BANDS), (torch.rand(BATCH, CLASSES) > 0.8).float()
    print(paired(step(mel, labels, plain=True), step(mel, labels)).row("step: student, teacher, backward, Adam, update"))
    print(paired(step(mel, labels, dropout=nn.Dropout), step(mel, labels)).row("the same step, nn.Dropout / Dropout"))
    print(paired(filters(mel, plain=True), filters(mel)).row("filters alone, forward and backward"))
    _equal(mel)
    _update(step(mel, labels))


def built(plain: bool, dropout: type[nn.Dropout] = Dropout) -> DetectionCRNN:
    """Network from a fixed seed; `plain`: default memory format and nn.Dropout."""
    torch.manual_seed(1)
    net = DetectionCRNN(CLASSES, channels_last=not plain)
    for stack in net.convolutions.stacks:
        stack.dropout = (nn.Dropout if plain else dropout)(stack.dropout.p)
    return net


def step(mel: Tensor, labels: Tensor, plain: bool = False, dropout: type[nn.Dropout] = Dropout) -> Callable[[], None]:
    """One step of mean-teacher training with half of the clips labelled."""
    net, mean = built(plain, dropout), MeanTeacher()
    teacher = mean.teacher_of(net)
    optimizer = torch.optim.Adam(net.parameters())
    labelled = torch.arange(len(mel)) < len(mel) // 2

    def work() -> None:
        with torch.no_grad():
            target = teacher(mel)
        output = net(mel)
        loss = clip_bce(output.clip, labels, labelled) + 2 * clip_consistency(output.clip, target.clip)
        loss = loss + 2 * frame_consistency(output.frames, target.frames, output.mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean.update(net, teacher)

    return work


def filters(mel: Tensor, plain: bool = False) -> Callable[[], None]:
    """Forward and backward pass of the convolutional part."""
    net = built(plain).convolutions

    def work() -> None:
        net(mel).sum().backward()
        net.zero_grad()

    return work


def _equal(mel: Tensor) -> None:
    """Print the difference of both networks in evaluation mode."""
    with torch.no_grad():
        ours, theirs = built(False).eval()(mel), built(True).eval()(mel)
    print(f"  largest difference of probabilities in evaluation: {float((ours.frames - theirs.frames).abs().max()):.1e}")


def _update(work: Callable[[], None]) -> None:
    net, mean = built(False), MeanTeacher()
    teacher = mean.teacher_of(net)
    whole, update = (min(_cpu(each) for _ in range(5)) for each in (work, lambda: mean.update(net, teacher)))
    print(f"  update of the teacher: {1e3 * update:.2f} ms of a step of {1e3 * whole:.0f} ms, {100 * update / whole:.2f} %")


def _cpu(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
