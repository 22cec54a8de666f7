"""LightningModule of music source separation (Sawata et al. 2021): mixture -> stems."""

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

SECONDS = 10.0  # length of the export program's input


class StemProgram(nn.Module):
    """Export program of the separator: mixture (channels, samples) of 10 s -> stems (sources, channels, samples).

    Without Wiener filter. torch.export fixes the length of recurrent layers and of the inverse STFT: pad a shorter chunk with
    zeros, cut a longer recording into overlapping chunks and discard the overlap.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, audio: Tensor) -> Tensor:
        return self.net.separate(audio[None])[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """Program, example input, no free dimension, and inputs for checks: other noise and a zero-padded chunk."""
        noise = torch.Generator().manual_seed(0)
        shape = self.net.channels, round(SECONDS * self.net.sample_rate)
        example, other, short = (0.1 * torch.randn(shape, generator=noise) for _ in range(3))
        short[:, shape[1] // 3 :] = 0
        return self, (example,), None, [(other,), (short,)]


class BestOfEachSource(nn.Module):
    """Best weights and early stopping per source, for sources trained separately as in open-unmix.

    Part of the checkpoint: a resumed run continues exactly, and every checkpoint separates with the best weights so far.

    Args:
        net: trained network; `net.branch(j)` is the part of source j
        n_sources: number of sources
        patience: validations without improvement after which a source stops; None: never

    Raises:
        ValueError: the network has no branches.
    """

    loss: Tensor
    waited: Tensor

    def __init__(self, net: nn.Module, n_sources: int, patience: int | None) -> None:
        super().__init__()
        if not hasattr(net, "branch"):
            raise ValueError(f"{type(net).__name__} has no branch per source: set --model.one_optimizer true")
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.patience = patience
        self.register_buffer("loss", torch.full((n_sources,), torch.inf))
        self.register_buffer("waited", torch.zeros(n_sources, dtype=torch.long))

    def running(self) -> list[bool]:
        """True for each source that is still trained."""
        return [self.patience is None or waited < self.patience for waited in self.waited.tolist()]

    @torch.no_grad()
    def update(self, net: nn.Module, losses: Tensor) -> None:
        """Store the weights of the sources whose validation loss (sources,) is their lowest so far."""
        better = losses < self.loss
        for j in better.nonzero().flatten().tolist():
            self.net.branch(j).load_state_dict(net.branch(j).state_dict())
        self.loss.copy_(torch.where(better, losses, self.loss))
        self.waited.copy_(torch.where(better, 0, self.waited + 1))


def domains(
    net: nn.Module, stems: Tensor, mixture: Tensor, loss: nn.Module, stft: STFT, always_waveforms: bool = False
) -> tuple[Domains, Domains]:
    """Estimates and targets of a loss, as magnitudes and waveforms in float32 at any precision of the network.

    Args:
        net: MaskSeparator, which has its own STFT, or WaveSeparator
        stems: target sources (batch, sources, channels, samples)
        mixture: input of the network (batch, channels, samples)
        loss: its `needs_magnitudes` and `needs_waveforms` select the domains
        stft: STFT behind a WaveSeparator (the paper's Figure 1b)
        always_waveforms: include the waveforms in any case, for scores in time, from a centred STFT

    Returns:
        estimates, targets

    Raises:
        ValueError: a loss of stages with a network without stages.
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
    estimate = net(mixture)
    estimate = estimate if estimate.dtype == torch.float64 else estimate.float()
    return Domains(stft(estimate).abs() if loss.needs_magnitudes else None, estimate), target


def _by_masks(net: MaskSeparator, mixture: Tensor, stft: STFT, waveforms: bool) -> Domains:
    spectrum = stft(mixture)
    magnitude = spectrum.abs()
    masks = net(magnitude).to(magnitude.dtype)
    if not waveforms:
        return Domains(masks * magnitude.unsqueeze(1), None)
    return Domains(*masked(masks, spectrum, magnitude, stft, mixture.shape[-1]))


@torch.no_grad()
def _magnitudes(signals: Tensor, stft: STFT) -> Tensor:
    """Magnitudes (batch, sources, channels, bins, frames), one item at a time: a complex spectrum needs twice the memory."""
    return torch.stack([stft(item).abs() for item in signals])


class SeparationModule(SuiteModule):
    """Separation of a mixture into sources; scored per track.

    Args:
        sources: names of the stems, in order (comes from the data set)
        net: network class; called with the number of sources (`models.separation`)
        loss: compares estimates and sources as magnitudes, as waveforms or as both (`losses`)
        optimizer: optimizer of all parameters, or of each source's; the paper's is Adam at 1e-3
        scheduler: learning-rate scheduler; ReduceLROnPlateau follows the validation loss
        scheduler_interval: step of other schedulers after every optimizer `step` or every `epoch`
        one_optimizer: one optimizer; false: one per source, each with its own schedule and best weights
        patience: without one_optimizer: validations without improvement after which a source stops
        stft: STFT behind a network on waveforms, for losses on magnitudes (Figure 1b)
        inference: options of `test` and `predict`
        covers_mixture: whether the sources make up a recording (default: by the training data, else by their names)
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
        """Network of inference: the trained one, or with one optimizer per source the best weights of each source."""
        return self.net if self.best is None else self.best.net

    def input_spec(self) -> SeparationSpec:
        """Magnitudes whose statistics initialize the network, if it uses statistics."""
        if not hasattr(self.net, "set_statistics"):
            return SeparationSpec()
        stft = STFT(self.stft.n_fft, self.stft.hop)
        return SeparationSpec(lambda audio: stft(audio).abs(), f"stft {stft.n_fft} {stft.hop} hann")

    def check_data(self, datamodule: SeparationDataModule) -> None:
        """Check sources, sample rate and channels. Raises DataError if they differ."""
        for name, data, network in (
            ("sources", list(datamodule.sources), self.sources),
            ("sample_rate", datamodule.sample_rate, self.net.sample_rate),
            ("channels", datamodule.channels, self.net.channels),
        ):
            if data != network:
                raise DataError(
                    f"the network has {name} {network}, the data {data}: use data like its training data, or train "
                    f"with equal --model.net.{name} and --data.{name}"
                )

    def initialize_from(self, datamodule: SeparationDataModule) -> None:
        """Set the statistics of the training set, and whether its stems make up a mixture."""
        if self.hparams.get("covers_mixture") is None:
            self.covers_mixture = self.hparams["covers_mixture"] = datamodule.covers_mixture
        if hasattr(self.net, "set_statistics"):
            statistics = datamodule.statistics()
            for net in {id(net): net for net in (self.net, self.separating)}.values():
                net.set_statistics(*statistics)

    def epoch_metrics(self) -> list[Metric]:
        """Windowed SDR and validation losses."""
        return [self.frame_sdr, *self.validation_losses]

    def forward(self, mixture: Tensor) -> Tensor:
        """Mixtures (batch, channels, samples) -> stems (batch, sources, channels, samples), without Wiener filter."""
        return self.separating.separate(mixture)

    def training_step(self, batch: StemBatch) -> Tensor | None:
        """Loss of one batch of random mixtures; with one optimizer per source also the optimizer steps."""
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
        # Sources share no weights: the gradient of the sum is that of each loss.
        self.manual_backward(losses.sum())
        for optimizer, running in zip(optimizers, self.best.running(), strict=True):
            if running:
                optimizer.step()
        if not any(self.best.running()):
            end_training(self.trainer)

    def validation_step(self, batch: StemBatch) -> None:
        """Loss of pieces of whole tracks with their own mixture, weighted by length; SDR without Wiener filter."""
        if not len(batch.stems):  # all its tracks were unreadable
            return
        stems, mixture = batch.waveforms()
        estimate, target = domains(self.net, stems, mixture, self.loss, self.stft, always_waveforms=True)
        losses = (self.loss if self.best is None else self.loss.per_source)(estimate, target, mixture)
        for metric, loss in zip(self.validation_losses, losses.reshape(-1), strict=True):
            metric.update(loss, stems.shape[-1] * len(stems))
        self.frame_sdr.update(estimate.waveforms, stems, batch.names, batch.start)

    def on_validation_epoch_end(self) -> None:
        """Log loss and SDR per source of all ranks; step ReduceLROnPlateau; update the best weights per source."""
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
            # Mean of the best losses, so that it falls whenever any source improves.
            values["val/loss"] = (self.best.loss if training else losses).mean()
        if training:
            self.validated = {name.removeprefix("val/"): float(value) for name, value in values.items()}
        self.log_dict(values, rank_zero_only=False)

    def test_step(self, batch: TrackBatch) -> Tensor | None:
        """Stems (sources, channels, samples) of a track, separated as in `predict`; None if unreadable or skipped."""
        if batch.error or batch.name in self._skipped:
            return None
        # A mixture that is the sum of these sources contains nothing else.
        covered = self.covers_mixture or not len(batch.mixture)
        return Audio2Stems(self.separating, self.inference.decided(covered)).native(batch.waveforms()[1])

    def skip_tracks(self, names: Collection[str]) -> None:
        """Skip tracks in `test` that a resumed report has already scored."""
        self._skipped = frozenset(names)

    def on_predict_start(self) -> None:
        """Print a remark if the sources do not make up a song."""
        settings = settings_of(self)
        if settings.residual and settings.niter and isinstance(self.separating, MaskSeparator) and self.trainer.is_global_zero:
            print(remark(self.sources), flush=True)

    def predict_input(self, batch: SongBatch) -> SongStems:
        """Stems of one input file, as a stream that the writer consumes."""
        return File2Stems(self)(batch.path)

    def export_program(self) -> ExportProgram:
        """`StemProgram` of the inference network, with example inputs."""
        return StemProgram(self.separating).exported()

    def configure_optimizers(self) -> Any:
        """One optimizer, or one per source; the module itself steps ReduceLROnPlateau."""
        if self.best is None:
            optimizers = [self._optimizer(self.net.parameters())]
        else:
            optimizers = [self._optimizer(self.net.branch(j).parameters()) for j in range(len(self.sources))]
        schedulers = [] if self._scheduler is None else [self._scheduler(optimizer) for optimizer in optimizers]
        if not schedulers or isinstance(schedulers[0], ReduceLROnPlateau):
            self._plateaus = schedulers
            return optimizers
        if self.best is not None:
            raise DataError("--model.one_optimizer false needs --model.scheduler ReduceLROnPlateau or null")
        return {"optimizer": optimizers[0], "lr_scheduler": {"scheduler": schedulers[0], "interval": self._interval}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the states of ReduceLROnPlateau, which Lightning steps only after saving."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["plateaus"] = [plateau.state_dict() for plateau in self._plateaus]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the states of ReduceLROnPlateau until the optimizers exist."""
        super().on_load_checkpoint(checkpoint)
        self._restored = checkpoint.get("plateaus", [])

    def on_fit_start(self) -> None:
        """Restore the states of ReduceLROnPlateau."""
        for plateau, state in zip(self._plateaus, getattr(self, "_restored", []), strict=False):
            plateau.load_state_dict(state)
