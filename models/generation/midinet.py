"""MidiNet (Yang, Chou and Yang 2017): convolutional GAN, noise, chord and previous bar -> bar of melody."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generation.frame_spec import FrameBatch, FrameSpec, SamplingRequest
from models.generation.generative_model import Adversarial

LEAK = 0.2
SPREAD = 0.02
DOUBLINGS = 3


class BarGenerator(nn.Module):
    """Generator (section 3): noise, chord and previous bar -> bar, by transposed convolutions from steps / 8 rows.

    A mirrored stack of convolutions (the conditioner) reads the previous bar; its feature maps are concatenated at equal
    resolution, the chord at every layer.
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
        """Logits (bars, 1, steps, pitches) of noise (bars, noise), chords (bars, chord) and previous bars of that shape."""
        maps = [before]
        for read in self.reads:
            maps.append(read(maps[-1]))
        x = self.first(torch.cat([noise, chord], -1))
        x = self.second(torch.cat([x, chord], -1)).unflatten(-1, (-1, self.rows, 1))
        for double in self.doubles:
            x = double(torch.cat([with_chord(x, chord), maps.pop()], 1))
        return self.out(torch.cat([with_chord(x, chord), maps.pop()], 1))


class BarDiscriminator(nn.Module):
    """Discriminator (section 3): bar and chord -> logit of being real. It does not read the previous bar.

    Its batch norms keep no running statistics: batches consist of either real or generated bars, which differ.
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
        """Logits (bars,) of bars (bars, 1, steps, pitches), and first feature maps (bars, channels, steps / 2, 1)."""
        maps = self.maps(bars, chord)
        x = self.second(with_chord(maps, chord))
        x = self.dense(torch.cat([x, chord], -1))
        return self.out(torch.cat([x, chord], -1))[:, 0], maps

    def maps(self, bars: Tensor, chord: Tensor) -> Tensor:
        """Feature maps of the first layer."""
        return self.first(with_chord(bars, chord))


def dense_layer(inputs: int, width: int, activation: nn.Module, running: bool = True) -> nn.Sequential:
    """Linear layer, batch norm, activation."""
    return nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width, track_running_stats=running), activation)


def with_chord(maps: Tensor, chord: Tensor) -> Tensor:
    """Feature maps (bars, channels, rows, columns) with the chord broadcast as further channels."""
    return torch.cat([maps, chord[:, :, None, None].expand(-1, -1, *maps.shape[2:])], 1)


def started(module: nn.Module) -> None:
    """Initialise weights as in DCGAN (Radford et al. 2016): normal with deviation 0.02."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, SPREAD)
        nn.init.zeros_(module.bias)


NOISES = 8
"""Number of fixed noise vectors over which `surrogate` averages."""
FLOOR = 1e-6


class MelodyBars(NamedTuple):
    """Bars and the inputs of the generator."""

    bars: Tensor  # (bars, 1, steps, pitches)
    before: Tensor  # (bars, 1, steps, pitches) previous bars, silence for the first of an excerpt
    chord: Tensor  # (bars, conditions)


class MidiNet(Adversarial):
    """GAN of bars: frames are bars as images (steps x pitches), conditions are the chords of the bars.

    The previous bar of the first one is silence, in training and in generation. Batch norms are per process, for real and
    generated bars separately. Each step of a generated bar is the pitch with the highest output, as in the paper, so only
    the noise is random: the temperature scales it (0: no noise), top-k and top-p have no effect.

    noise, dense, channels, conditioner: widths of noise, linear layers, generator maps and conditioner maps
    judging: channels of the discriminator's two convolutions
    output: activation of the generator: `sigmoid` (the original), or `softmax` over pitch
    real: target of the discriminator for real bars (one-sided label smoothing)
    match_features, match_bars: weights of feature matching, on the discriminator's first feature maps and on bars: half
        the squared distance between the means of real and generated bars
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
            raise ValueError("MidiNet needs the view of bars as images, with a multiple of 8 steps")
        if output not in ("sigmoid", "softmax"):
            raise ValueError(f"output is {output!r}, expected sigmoid or softmax")
        self.noise, self.output, self.real = noise, output, real
        self.match_features, self.match_bars = match_features, match_bars
        sizes = self.steps, self.pitches, form.conditions
        self.generator = BarGenerator(*sizes, noise, dense, channels, conditioner)
        self.discriminator = BarDiscriminator(*sizes, judging, dense)

    def networks(self) -> dict[str, nn.Module]:
        return {"discriminator": self.discriminator, "generator": self.generator}

    def network_loss(self, name: str, batch: FrameBatch) -> dict[str, Tensor]:
        bars = two(self.bars(batch))
        noise = torch.randn(len(bars.bars), self.noise, device=bars.bars.device)
        return self._discriminator_loss(bars, noise) if name == "discriminator" else self._generator_loss(bars, noise)

    def _discriminator_loss(self, bars: MelodyBars, noise: Tensor) -> dict[str, Tensor]:
        """Loss of the discriminator, and its accuracy on real and generated bars."""
        with torch.no_grad():
            drawn = self.drawn(bars, noise)
        real, fake = (self.discriminator(images, bars.chord)[0].float() for images in (bars.bars, drawn))
        loss_real = F.binary_cross_entropy_with_logits(real, torch.full_like(real, self.real))
        loss_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        return {
            "loss": loss_real + loss_fake,
            "real_known": (real.detach() > 0).float().mean(),
            "drawn_known": (fake.detach() < 0).float().mean(),
        }

    def _generator_loss(self, bars: MelodyBars, noise: Tensor) -> dict[str, Tensor]:
        """Loss of the generator: adversarial loss and feature matching."""
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
        """Valid bars of a batch."""
        images = batch.frames.float().unflatten(-1, (self.steps, self.pitches))
        before = F.pad(images, (0, 0, 0, 0, 1, 0))[:, :-1]
        valid = batch.valid
        return MelodyBars(images[valid][:, None], before[valid][:, None], batch.conditions[valid])

    def drawn(self, bars: MelodyBars, noise: Tensor) -> Tensor:
        """Generated bars (bars, 1, steps, pitches) float32 in [0, 1]."""
        logits = self.generator(noise, bars.chord, bars.before).float()
        return logits.sigmoid() if self.output == "sigmoid" else logits.softmax(-1)

    @torch.no_grad()
    def surrogate(self, batch: FrameBatch) -> Tensor:
        """Nats (batch, frames) of the true pitches of a bar under the generator's outputs, normalised in each step.

        Probabilities are averaged over fixed noise. A GAN is not trained for this; high values indicate mode collapse.
        """
        bars = self.bars(batch)
        noise = self._same_noise(batch.frames.device)
        chances = torch.zeros_like(bars.bars)
        for vector in noise:
            drawn = self.drawn(bars, vector.expand(len(bars.bars), -1))
            chances += drawn / drawn.sum(-1, keepdim=True).clamp(min=FLOOR) / len(noise)
        nats = -(chances.clamp(min=FLOOR).log() * bars.bars).sum((1, 2, 3))
        return torch.zeros(batch.valid.shape, device=nats.device).masked_scatter(batch.valid, nats)

    @torch.no_grad()
    def statistics(self, batch: FrameBatch) -> dict[str, Tensor]:
        """Distances between generated and real bars in evaluation mode, with fixed noise.

        real_known, drawn_known: accuracy of the discriminator on real and generated bars; features: distance of feature
        matching; pitches: total variation between the pitch histograms of real and generated bars, 0 to 1
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
    def generate(self, request: SamplingRequest) -> Tensor:
        """See `GenerativeModel.generate`; bar by bar. In a step with fixed pitches the maximum is over the permitted ones."""
        shape = (self.steps, self.pitches)
        values, fixed = request.values.unflatten(-1, shape), request.fixed.unflatten(-1, shape)
        before = torch.zeros_like(values[:, :1]).float()
        bars = []
        for at in range(values.shape[1]):
            noise = torch.randn(len(values), self.noise, generator=request.generator, device=values.device)
            inputs = MelodyBars(before, before, request.conditions[:, at])
            drawn = self.drawn(inputs, request.sampling.temperature * noise)[:, 0]
            bounds = torch.where(values[:, at] > 0, 2.0, -1.0)
            bar = highest(torch.where(fixed[:, at], bounds, drawn)).to(values)
            bar = torch.where(fixed[:, at], values[:, at], bar)
            before = bar[:, None].float()
            bars.append(bar.flatten(1))
        return torch.stack(bars, 1)


def two(bars: MelodyBars) -> MelodyBars:
    """Repeat a single bar, since batch norms need two."""
    return MelodyBars(*(part.repeat_interleave(2, 0) for part in bars)) if len(bars.bars) == 1 else bars


def between_means(real: Tensor, drawn: Tensor) -> Tensor:
    """Half the squared distance between the means over bars."""
    return (real.float().mean(0) - drawn.float().mean(0)).square().sum() / 2


def highest(drawn: Tensor) -> Tensor:
    """One-hot maximum of each step (..., pitches)."""
    return F.one_hot(drawn.argmax(-1), drawn.shape[-1]).to(drawn)
