"""The separator that Lightning trains: any separation network, its loss in either domain, its exact scores."""

import copy
from collections.abc import Callable, Collection
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric

from datamodules.common.errors import DataError
from datamodules.common.input_spec import SeparationSpec
from datamodules.separation.data import SeparationDataModule, StemBatch, TrackBatch
from datamodules.separation.songs import SongBatch
from losses import Domains
from models.blocks.stft import STFT
from models.separation.coverage import covers_by_name, remark, settings_of
from models.separation.masking import masked
from models.separation.separator import MaskSeparator
from tasks.cli.lightning_internals import end_training
from tasks.separation.inference import Audio2Stems, File2Stems, SeparationOptions
from tasks.separation.metrics import FrameSDR
from tasks.separation.song_stems import SongStems
from tasks.suite_module import ExportProgram, SuiteModule

# What `export` freezes of a separator: one program from a chunk of waveform to its stems, transform and inverse inside.

SECONDS = 10.0


class StemProgram(nn.Module):
    """Mixture (channels, samples) of 10 s at the network's rate to stems (sources, channels, samples), without Wiener filter.

    torch.export fixes the length of recurrent layers and of the inverse transform, so the program takes chunks of one
    length: fill up a shorter one with zeros, cut a longer recording with some seconds of overlap that are thrown away.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, audio: Tensor) -> Tensor:
        return self.net.separate(audio[None])[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """The program, an example input, no free dimension, further inputs to check: other noise, and a filled up chunk."""
        noise = torch.Generator().manual_seed(0)
        shape = self.net.channels, round(SECONDS * self.net.sample_rate)
        example, other, short = (0.1 * torch.randn(shape, generator=noise) for _ in range(3))
        short[:, shape[1] // 3 :] = 0
        return self, (example,), None, [(other,), (short,)]


# Training each source on its own, as open-unmix does: its own optimizer, schedule, early stop and best weights.


class BestOfEachSource(nn.Module):
    """The network in which every source has the weights of its own best epoch, and when a source stops training.

    Part of the checkpoint, so that a resumed run goes on exactly and every checkpoint separates with the best weights
    that each source had until then. `net` gives the part of one source as `net.branch(j)`.

    net: network that is trained; patience: validations without improvement after which a source stops, None: never.
    """

    loss: Tensor
    waited: Tensor

    def __init__(self, net: nn.Module, n_sources: int, patience: int | None) -> None:
        super().__init__()
        if not hasattr(net, "branch"):
            raise ValueError(f"{type(net).__name__} is one network for all sources: set --model.one_optimizer true")
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.patience = patience
        self.register_buffer("loss", torch.full((n_sources,), torch.inf))
        self.register_buffer("waited", torch.zeros(n_sources, dtype=torch.long))

    def running(self) -> list[bool]:
        """Whether each source is still trained."""
        return [self.patience is None or waited < self.patience for waited in self.waited.tolist()]

    @torch.no_grad()
    def update(self, net: nn.Module, losses: Tensor) -> None:
        """Keep the weights of the sources whose validation loss (sources,) is their lowest so far."""
        better = losses < self.loss
        for j in better.nonzero().flatten().tolist():
            self.net.branch(j).load_state_dict(net.branch(j).state_dict())
        self.loss.copy_(torch.where(better, losses, self.loss))
        self.waited.copy_(torch.where(better, 0, self.waited + 1))


# What a separation loss compares: a network's estimates and the true sources, in the domains that the loss looks at.


def domains(
    net: nn.Module, stems: Tensor, mixture: Tensor, loss: nn.Module, stft: STFT, always_waveforms: bool = False
) -> tuple[Domains, Domains]:
    """Estimates of the sources in a mixture and the sources themselves, float32 whatever the network's precision.

    Args:
        net: a MaskSeparator, which brings its own transform, or a WaveSeparator
        stems: true sources (batch, sources, channels, samples)
        mixture: what the network hears (batch, channels, samples)
        loss: says by `needs_magnitudes` and `needs_waveforms` which domains to fill
        stft: transform after a network on waveforms (the paper's Figure 1b)
        always_waveforms: fill the waveforms in any case, for scores in time; a transform without centre is centred for it
    """
    waveforms = loss.needs_waveforms or always_waveforms
    if isinstance(net, MaskSeparator):
        transform = net.stft
        if always_waveforms and not transform.center:
            transform = STFT(transform.n_fft, transform.hop).to(mixture.device)
        target = Domains(_magnitudes(stems, transform) if loss.needs_magnitudes else None, stems)
        return _by_masks(net, mixture, transform, waveforms), target
    target = Domains(_magnitudes(stems, stft) if loss.needs_magnitudes else None, stems)
    if getattr(loss, "needs_stages", False):
        if not hasattr(net, "training_outputs"):
            raise ValueError(f"{type(loss).__name__} needs a network with stages, not {type(net).__name__}: change --model.loss")
        return net.training_outputs(mixture, stems), target
    heard = net(mixture)
    heard = heard if heard.dtype == torch.float64 else heard.float()
    return Domains(stft(heard).abs() if loss.needs_magnitudes else None, heard), target


def _by_masks(net: MaskSeparator, mixture: Tensor, stft: STFT, waveforms: bool) -> Domains:
    spectrum = stft(mixture)
    magnitude = spectrum.abs()
    masks = net(magnitude).to(magnitude.dtype)
    if not waveforms:
        return Domains(masks * magnitude.unsqueeze(1), None)
    return Domains(*masked(masks, spectrum, magnitude, stft, mixture.shape[-1]))


@torch.no_grad()
def _magnitudes(signals: Tensor, stft: STFT) -> Tensor:
    """(batch, sources, channels, bins, frames), one batch element after the other: a spectrum is twice its magnitude."""
    return torch.stack([stft(one).abs() for one in signals])


class SeparationModule(SuiteModule):
    """One network for all sources of a mixture, trained by one loss, scored per track.

    Args:
        sources: names of the stems, in order (comes from the data set)
        net: network class; called with the number of sources (`models.separation`)
        loss: compares estimates and sources as magnitudes, as waveforms or as both (`losses`)
        optimizer: optimizer of all parameters, or of each source's; the paper's is Adam at 1e-3
        scheduler: learning-rate scheduler; one that waits for a plateau follows the validation loss
        scheduler_interval: when any other steps: after every optimizer `step` or every `epoch`
        one_optimizer: one for the whole network; false: one per source, each with its own schedule and best weights
        patience: without one_optimizer: validations without improvement after which a source stops
        stft: transform after a network on waveforms, for losses on magnitudes (Figure 1b)
        inference: how whole recordings are separated in `test` and `predict`
        covers_mixture: whether the sources are all of a recording (default: as the training data say, else by their names)
    """

    def __init__(
        self,
        sources: list[str],
        net: Callable[[int], nn.Module],
        loss: nn.Module,
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: str = "step",
        one_optimizer: bool = True,
        patience: int | None = None,
        stft: STFT | None = None,
        inference: SeparationOptions | None = None,
        covers_mixture: bool | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, scheduler_interval)
        self.save_hyperparameters(logger=False)  # the run record logs the whole config
        self.sources = list(sources)
        self.net = net(len(self.sources))
        self.loss, self.stft = loss, getattr(self.net, "stft", None) or stft or STFT()
        self.inference = inference or SeparationOptions()
        self.covers_mixture = covers_by_name(sources) if covers_mixture is None else covers_mixture
        self._plateaus: list[ReduceLROnPlateau] = []
        self._skipped: frozenset[str] = frozenset()
        self.automatic_optimization = one_optimizer
        self.best = None if one_optimizer else BestOfEachSource(self.net, len(self.sources), patience)
        self.validation_losses = nn.ModuleList([MeanMetric() for _ in range(1 if one_optimizer else len(self.sources))])
        self.frame_sdr = FrameSDR(len(self.sources), self.net.sample_rate)

    @property
    def separating(self) -> nn.Module:
        """The network that separates: the trained one, or each source's best where sources are trained apart."""
        return self.net if self.best is None else self.best.net

    def input_spec(self) -> SeparationSpec:
        """Magnitudes whose statistics the network starts from, where it starts from any."""
        if not hasattr(self.net, "set_statistics"):
            return SeparationSpec()
        stft = STFT(self.stft.n_fft, self.stft.hop)
        return SeparationSpec(lambda audio: stft(audio).abs(), f"stft {stft.n_fft} {stft.hop} hann")

    def check_data(self, datamodule: SeparationDataModule) -> None:
        """Refuse data of other stems, rate or channels."""
        for what, theirs, ours in (
            ("sources", list(datamodule.sources), self.sources),
            ("sample_rate", datamodule.sample_rate, self.net.sample_rate),
            ("channels", datamodule.channels, self.net.channels),
        ):
            if theirs != ours:
                raise DataError(
                    f"the network separates {what} {ours}, the data have {theirs}: use data as it was trained on, or train "
                    f"with --model.net.{what} and --data.{what} alike"
                )

    def initialize_from(self, datamodule: SeparationDataModule) -> None:
        """Take the statistics of the training set, and whether its stems are all of a mixture."""
        if self.hparams.get("covers_mixture") is None:
            self.covers_mixture = self.hparams["covers_mixture"] = datamodule.covers_mixture
        if hasattr(self.net, "set_statistics"):
            statistics = datamodule.statistics()
            for net in {id(net): net for net in (self.net, self.separating)}.values():
                net.set_statistics(*statistics)

    def epoch_metrics(self) -> list[Metric]:
        """SDR of frames, and the losses."""
        return [self.frame_sdr, *self.validation_losses]

    def forward(self, mixture: Tensor) -> Tensor:
        """Stems (batch, sources, channels, samples) of mixtures (batch, channels, samples), without Wiener filter."""
        return self.separating.separate(mixture)

    def training_step(self, batch: StemBatch) -> Tensor | None:
        """Loss of one batch of random mixtures; with one optimizer per source also their steps."""
        stems, mixture = batch.waveforms()
        estimate, target = domains(self.net, stems, mixture, self.loss, self.stft)
        if self.automatic_optimization:
            loss = self.loss(estimate, target, mixture)
        else:
            losses = self.loss.per_source(estimate, target, mixture)
            loss = losses.mean().detach()
            self._step_each_source(losses)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(stems))
        return loss if self.automatic_optimization else None

    def _step_each_source(self, losses: Tensor) -> None:
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for optimizer in optimizers:
            optimizer.zero_grad()
        # Sources share no weights, so one backward pass of the sum is that of each.
        self.manual_backward(losses.sum())
        for optimizer, running in zip(optimizers, self.best.running(), strict=True):
            if running:
                optimizer.step()
        if not any(self.best.running()):
            end_training(self.trainer)

    def validation_step(self, batch: StemBatch) -> None:
        """Loss of pieces of whole tracks with the data set's own mixture, weighted by length; SDR without Wiener filter."""
        if not len(batch.stems):  # none of its tracks could be read
            return
        stems, mixture = batch.waveforms()
        estimate, target = domains(self.net, stems, mixture, self.loss, self.stft, always_waveforms=True)
        losses = (self.loss if self.best is None else self.loss.per_source)(estimate, target, mixture)
        for metric, loss in zip(self.validation_losses, losses.reshape(-1), strict=True):
            metric.update(loss, stems.shape[-1] * len(stems))
        self.frame_sdr.update(estimate.waveforms, stems, batch.names, batch.start)

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the SDR per source, the same on every rank; schedules that wait for a plateau take their step."""
        losses = torch.stack([metric.compute() for metric in self.validation_losses])
        values = {f"val/{name}": value for name, value in self.frame_sdr.compute(self.sources).items()}
        training = self.learns_from_validation
        if training:
            for plateau, loss in zip(self._plateaus, losses, strict=len(self._plateaus) > 0):
                plateau.step(float(loss))
        if self.best is None:
            values["val/loss"] = losses[0]
        else:
            if training:
                self.best.update(self.net, losses.to(self.best.loss))
            values |= {f"val/loss_{name}": loss for name, loss in zip(self.sources, losses, strict=True)}
            # What is kept is each source's best, so this falls whenever any source improves.
            values["val/loss"] = (self.best.loss if training else losses).mean()
        if training:
            self.validated = {name.removeprefix("val/"): float(value) for name, value in values.items()}
        self.log_dict(values, rank_zero_only=False)

    def test_step(self, batch: TrackBatch) -> Tensor | None:
        """Stems (sources, channels, samples) of a whole track as `predict` separates it; None: not read, or skipped."""
        if batch.error or batch.name in self._skipped:
            return None
        # A mixture that is the sum of these sources holds nothing else, even where a song does.
        covered = self.covers_mixture or not len(batch.mixture)
        return Audio2Stems(self.separating, self.inference.decided(covered)).native(batch.waveforms()[1])

    def skip_tracks(self, names: Collection[str]) -> None:
        """Leave out tracks in `test`, of which the report of a run that goes on has the scores."""
        self._skipped = frozenset(names)

    def on_predict_start(self) -> None:
        """Say that the network lacks sources, and what becomes of the rest of the song."""
        settings = settings_of(self)
        if settings.residual and settings.niter and isinstance(self.separating, MaskSeparator) and self.trainer.is_global_zero:
            print(remark(self.sources), flush=True)

    def predict_input(self, batch: SongBatch) -> SongStems:
        """Stems of one of the user's files, as a stream that the writer drains."""
        return File2Stems(self)(batch.path)

    def export_program(self) -> ExportProgram:
        """Program from a chunk of waveform to its stems, without Wiener filter."""
        return StemProgram(self.separating).exported()

    def configure_optimizers(self) -> Any:
        """One optimizer, or one per source; the module itself drives schedules that wait for a plateau."""
        if self.best is None:
            optimizers = [self._optimizer(self.net.parameters())]
        else:
            optimizers = [self._optimizer(self.net.branch(j).parameters()) for j in range(len(self.sources))]
        schedulers = [] if self._scheduler is None else [self._scheduler(optimizer) for optimizer in optimizers]
        if not schedulers or isinstance(schedulers[0], ReduceLROnPlateau):
            self._plateaus = schedulers
            return optimizers
        if self.best is not None:
            raise DataError("with one optimizer per source --model.scheduler must be ReduceLROnPlateau or null")
        return {"optimizer": optimizers[0], "lr_scheduler": {"scheduler": schedulers[0], "interval": self._interval}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep how long each plateau lasts already: Lightning steps such schedules only after it has saved."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["plateaus"] = [plateau.state_dict() for plateau in self._plateaus]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the plateaus until the optimizers they belong to are there."""
        super().on_load_checkpoint(checkpoint)
        self._restored = checkpoint.get("plateaus", [])

    def on_fit_start(self) -> None:
        """Hand restored plateaus to their schedules."""
        for plateau, state in zip(self._plateaus, getattr(self, "_restored", []), strict=False):
            plateau.load_state_dict(state)
