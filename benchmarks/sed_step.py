"""Sound event detection's training step against the plain one, and what the mean teacher's update takes of it; one thread."""

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
    """Print the ratios of a student's and a teacher's pass, of the filters alone, and the share of the update."""
    torch.set_num_threads(1)
    print(f"CRNN of Boes and Van hamme 2021, batch {BATCH} of 10 s; one thread, CPU time\n{HEADER}")
    torch.manual_seed(0)
    mel, labels = torch.randn(BATCH, FRAMES, BANDS), (torch.rand(BATCH, CLASSES) > 0.8).float()
    print(paired(step(mel, labels, plain=True), step(mel, labels)).row("step: student, teacher, backward, Adam, update"))
    print(paired(filters(mel, plain=True), filters(mel)).row("filters alone, forward and backward"))
    _equal(mel)
    _update(step(mel, labels))


def built(plain: bool) -> DetectionCRNN:
    """The network from one seed; `plain`: torch's own memory format and dropout."""
    torch.manual_seed(1)
    net = DetectionCRNN(CLASSES, channels_last=not plain)
    if plain:
        for stack in net.convolutions.stacks:
            stack.dropout = nn.Dropout(stack.dropout.p)
            stack.activation = nn.ReLU()
    assert plain or isinstance(net.convolutions.stacks[0].dropout, Dropout)
    return net


def step(mel: Tensor, labels: Tensor, plain: bool = False) -> Callable[[], None]:
    """One step of mean-teacher training on half labelled clips."""
    net, mean = built(plain), MeanTeacher()
    teacher = mean.teacher_of(net)
    optimizer = torch.optim.Adam(net.parameters())
    labelled = torch.arange(len(mel)) < len(mel) // 2

    def work() -> None:
        with torch.no_grad():
            told = teacher(mel)
        heard = net(mel)
        loss = clip_bce(heard.clip, labels, labelled) + 2 * clip_consistency(heard.clip, told.clip)
        loss = loss + 2 * frame_consistency(heard.frames, told.frames, heard.mask)
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
    """In evaluation, where nothing is random, both are the same network."""
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
