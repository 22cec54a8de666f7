"""MidiNet (Yang, Chou and Yang 2017): a convolutional GAN that draws melodies bar after bar, each from the one before."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import Ask, FrameBatch, FrameSpec
from models.generation.generative_model import Adversarial

# The two networks of MidiNet (Yang, Chou and Yang 2017, section 3): what draws a bar, and what tells it from a real one.

LEAK = 0.2
SPREAD = 0.02
DOUBLINGS = 3


class BarGenerator(nn.Module):
    """A bar from noise, its chord and the bar before it; deeper the more steps: 2 rows become 16.

    The bar before is read by a network of convolutions that mirrors this one's; each of its maps joins where this one has as
    many steps. The chord joins everywhere.
    """

    def __init__(self, steps: int, pitches: int, chord: int, noise: int, dense: int, channels: int, conditioner: int) -> None:
        super().__init__()
        self.rows = steps >> DOUBLINGS
        self.first = dense_layer(noise + chord, dense, nn.ReLU())
        self.second = dense_layer(dense + chord, channels * self.rows, nn.ReLU())
        reads = [nn.Conv2d(1, conditioner, (1, pitches))]
        reads += [nn.Conv2d(conditioner, conditioner, (2, 1), (2, 1)) for _ in range(DOUBLINGS)]
        self.reads = nn.ModuleList(nn.Sequential(read, nn.BatchNorm2d(conditioner), nn.LeakyReLU(LEAK)) for read in reads)
        joined = channels + chord + conditioner
        self.doubles = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(joined, channels, (2, 1), (2, 1)), nn.BatchNorm2d(channels), nn.ReLU())
            for _ in range(DOUBLINGS)
        )
        self.out = nn.ConvTranspose2d(joined, 1, (1, pitches))
        self.apply(started)

    def forward(self, noise: Tensor, chord: Tensor, before: Tensor) -> Tensor:
        """Noise (bars, noise), chord (bars, chord) and bars before (bars, 1, steps, pitches) to logits of the same shape."""
        maps = [before]
        for read in self.reads:
            maps.append(read(maps[-1]))
        x = self.first(torch.cat([noise, chord], -1))
        x = self.second(torch.cat([x, chord], -1)).unflatten(-1, (-1, self.rows, 1))
        for double in self.doubles:
            x = double(torch.cat([beside(x, chord), maps.pop()], 1))
        return self.out(torch.cat([beside(x, chord), maps.pop()], 1))


class BarDiscriminator(nn.Module):
    """Whether a bar over a chord is a real one. The bar before is not shown to it.

    Its batch norms keep no running statistics: it only ever judges batches of real bars or of drawn ones, which differ.
    """

    def __init__(self, steps: int, pitches: int, chord: int, channels: Sequence[int], dense: int) -> None:
        super().__init__()
        first, second = channels
        self.first = nn.Sequential(nn.Conv2d(1 + chord, first, (2, pitches), (2, 1)), nn.LeakyReLU(LEAK))
        self.second = nn.Sequential(
            nn.Conv2d(first + chord, second, (4, 1), (2, 1)),
            nn.BatchNorm2d(second, track_running_stats=False),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
        )
        rows = (steps // 2 - 4) // 2 + 1
        self.dense = dense_layer(second * rows + chord, dense, nn.LeakyReLU(LEAK), running=False)
        self.out = nn.Linear(dense + chord, 1)
        self.apply(started)

    def forward(self, bars: Tensor, chord: Tensor) -> tuple[Tensor, Tensor]:
        """Bars (bars, 1, steps, pitches) to logits (bars,) and the first layer's maps (bars, channels, steps / 2, 1)."""
        maps = self.maps(bars, chord)
        x = self.second(beside(maps, chord))
        x = self.dense(torch.cat([x, chord], -1))
        return self.out(torch.cat([x, chord], -1))[:, 0], maps

    def maps(self, bars: Tensor, chord: Tensor) -> Tensor:
        """The first layer's maps alone."""
        return self.first(beside(bars, chord))


def dense_layer(inputs: int, width: int, activation: nn.Module, running: bool = True) -> nn.Sequential:
    """A dense layer, batch norm, activation."""
    return nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width, track_running_stats=running), activation)


def beside(maps: Tensor, chord: Tensor) -> Tensor:
    """Maps (bars, channels, rows, columns) and the chord in every place, as further channels."""
    return torch.cat([maps, chord[:, :, None, None].expand(-1, -1, *maps.shape[2:])], 1)


def started(module: nn.Module) -> None:
    """Weights of a DCGAN (Radford et al. 2016): normal, 0.02 wide."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, SPREAD)
        nn.init.zeros_(module.bias)


NOISES = 8
"""Noise vectors, the same every time, that what is watched is averaged over."""
FLOOR = 1e-6


class MelodyBars(NamedTuple):
    """Bars of any pieces, each with what it is drawn from."""

    bars: Tensor  # (bars, 1, steps, pitches)
    before: Tensor  # (bars, 1, steps, pitches): silence before the first of an excerpt
    chord: Tensor  # (bars, conditions)


class MidiNet(Adversarial):
    """Frames are bars, pictures of steps x pitches; conditions are each bar's chord. Every bar of a batch is drawn and judged.

    The first bar of an excerpt follows silence, as the first one does that is written. Batch norms see the bars of their own
    process, real and drawn ones apart. A bar is written as the highest output of each step, as in the paper, so that chance
    is in the noise alone: the temperature scales it (0: the bar of no noise), top-k and top-p are without meaning.

    noise, dense, channels, conditioner: widths of the noise, the dense layers, the generator's maps, the maps of the bar before
    judging: maps of the discriminator's two convolutions
    output: how the outputs of a step become what the discriminator sees: `sigmoid` (the original), or `softmax` over pitch
    real: what the discriminator shall say of a real bar (one-sided label smoothing)
    match_features, match_bars: weights of feature matching, of the discriminator's first maps and of the mean bar: half the
        squared distance between the means of real and drawn bars
    """

    supports = frozenset({"free", "continue"})
    schedule: ClassVar[tuple[str, ...]] = ("discriminator", "generator", "generator")

    def __init__(
        self,
        form: FrameSpec,
        noise: int = 100,
        dense: int = 1024,
        channels: int = 128,
        conditioner: int = 16,
        judging: tuple[int, int] = (14, 77),
        output: Literal["sigmoid", "softmax"] = "sigmoid",
        real: float = 0.9,
        match_features: float = 0.1,
        match_bars: float = 0.01,
    ) -> None:
        super().__init__(form)
        self.steps, self.pitches = form.planes, form.columns // form.planes
        if form.kind != "binary" or self.steps < 1 << DOUBLINGS or self.steps % (1 << DOUBLINGS):
            raise ValueError("MidiNet draws bars of 8, 16 or another multiple of 8 steps, so it needs the view of bars as images")
        if output not in ("sigmoid", "softmax"):
            raise ValueError(f"output is {output!r}, expected sigmoid or softmax")
        self.noise, self.output, self.real = noise, output, real
        self.match_features, self.match_bars = match_features, match_bars
        sizes = self.steps, self.pitches, form.conditions
        self.generator = BarGenerator(*sizes, noise, dense, channels, conditioner)
        self.discriminator = BarDiscriminator(*sizes, judging, dense)

    def players(self) -> dict[str, nn.Module]:
        return {"discriminator": self.discriminator, "generator": self.generator}

    def turn(self, player: str, batch: FrameBatch) -> dict[str, Tensor]:
        bars = two(self.bars(batch))
        noise = torch.randn(len(bars.bars), self.noise, device=bars.bars.device)
        return self._judge(bars, noise) if player == "discriminator" else self._draw(bars, noise)

    def _judge(self, bars: MelodyBars, noise: Tensor) -> dict[str, Tensor]:
        """The discriminator's loss, and how much of the real and of the drawn it knows."""
        with torch.no_grad():
            drawn = self.drawn(bars, noise)
        real, fake = (self.discriminator(images, bars.chord)[0].float() for images in (bars.bars, drawn))
        said_real = F.binary_cross_entropy_with_logits(real, torch.full_like(real, self.real))
        said_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        return {
            "loss": said_real + said_fake,
            "real_known": (real.detach() > 0).float().mean(),
            "drawn_known": (fake.detach() < 0).float().mean(),
        }

    def _draw(self, bars: MelodyBars, noise: Tensor) -> dict[str, Tensor]:
        """The generator's loss: to be taken for real, and to be like the real on average."""
        drawn = self.drawn(bars, noise)
        fake, drawn_maps = self.discriminator(drawn, bars.chord)
        fake = fake.float()
        fooling = F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
        with torch.no_grad():
            real_maps = self.discriminator.maps(bars.bars, bars.chord)
        features, images = between_means(real_maps, drawn_maps), between_means(bars.bars, drawn)
        loss = fooling + self.match_features * features + self.match_bars * images
        return {"loss": loss, "fooling": fooling, "features": features, "mean_bar": images}

    def bars(self, batch: FrameBatch) -> MelodyBars:
        """The valid bars of a batch."""
        images = batch.frames.float().unflatten(-1, (self.steps, self.pitches))
        before = F.pad(images, (0, 0, 0, 0, 1, 0))[:, :-1]
        valid = batch.valid
        return MelodyBars(images[valid][:, None], before[valid][:, None], batch.conditions[valid])

    def drawn(self, bars: MelodyBars, noise: Tensor) -> Tensor:
        """What the generator makes in place of bars, (bars, 1, steps, pitches) float32 of 0 to 1."""
        logits = self.generator(noise, bars.chord, bars.before).float()
        return logits.sigmoid() if self.output == "sigmoid" else logits.softmax(-1)

    @torch.no_grad()
    def surrogate(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of the true pitches of a bar: each step's outputs, as parts of their sum, are its chances.

        They are averaged over noise that is always the same. A GAN is not trained for this; it shows one that has collapsed,
        for which most bars are dear.
        """
        bars = self.bars(batch)
        noise = self._same_noise(batch.frames.device)
        chances = torch.zeros_like(bars.bars)
        for one in noise:
            drawn = self.drawn(bars, one.expand(len(bars.bars), -1))
            chances += drawn / drawn.sum(-1, keepdim=True).clamp(min=FLOOR) / len(noise)
        nats = -(chances.clamp(min=FLOOR).log() * bars.bars).sum((1, 2, 3))
        return torch.zeros(batch.valid.shape, device=nats.device).masked_scatter(batch.valid, nats)

    @torch.no_grad()
    def statistics(self, batch: FrameBatch) -> dict[str, Tensor]:
        """How far a batch of drawn bars is from the real ones, in evaluation mode, by noise that is always the same.

        real_known, drawn_known: parts that the discriminator judges rightly; features: the distance that feature matching
        lowers; pitches: total variation between the pitches played in real bars and in drawn ones, 0 to 1
        """
        bars = two(self.bars(batch))
        generator = torch.Generator(batch.frames.device).manual_seed(0)
        noise = torch.randn(len(bars.bars), self.noise, generator=generator, device=batch.frames.device)
        drawn = self.drawn(bars, noise)
        (real, real_maps), (fake, drawn_maps) = (self.discriminator(images, bars.chord) for images in (bars.bars, drawn))
        histograms = [images.sum((0, 1, 2)) for images in (bars.bars, highest(drawn))]
        parts = [histogram / histogram.sum().clamp(min=1) for histogram in histograms]
        return {
            "real_known": (real > 0).float().mean(),
            "drawn_known": (fake < 0).float().mean(),
            "features": between_means(real_maps, drawn_maps),
            "pitches": (parts[0] - parts[1]).abs().sum() / 2,
        }

    def _same_noise(self, device: torch.device) -> Tensor:
        return torch.randn(NOISES, self.noise, generator=torch.Generator(device).manual_seed(0), device=device)

    @torch.no_grad()
    def generate(self, ask: Ask) -> Tensor:
        """As asked, a bar after the other. In a step of which pitches are given the highest output is that of those allowed."""
        shape = (self.steps, self.pitches)
        values, fixed = ask.values.unflatten(-1, shape), ask.fixed.unflatten(-1, shape)
        before = torch.zeros_like(values[:, :1]).float()
        bars = []
        for at in range(values.shape[1]):
            noise = torch.randn(len(values), self.noise, generator=ask.generator, device=values.device)
            inputs = MelodyBars(before, before, ask.conditions[:, at])
            drawn = self.drawn(inputs, ask.sampling.temperature * noise)[:, 0]
            given = torch.where(values[:, at] > 0, 2.0, -1.0)
            bar = highest(torch.where(fixed[:, at], given, drawn)).to(values)
            bar = torch.where(fixed[:, at], values[:, at], bar)
            before = bar[:, None].float()
            bars.append(bar.flatten(1))
        return torch.stack(bars, 1)


def two(bars: MelodyBars) -> MelodyBars:
    """A lone bar twice: batch norms need two."""
    return MelodyBars(*(part.repeat_interleave(2, 0) for part in bars)) if len(bars.bars) == 1 else bars


def between_means(real: Tensor, drawn: Tensor) -> Tensor:
    """Half the squared distance between the means over the bars."""
    return (real.float().mean(0) - drawn.float().mean(0)).square().sum() / 2


def highest(drawn: Tensor) -> Tensor:
    """One in each step (..., pitches) where the output is highest, else zero."""
    return F.one_hot(drawn.argmax(-1), drawn.shape[-1]).to(drawn)
