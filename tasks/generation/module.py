"""LightningModule of music generation: frames of a view -> loss of a system; exact likelihoods; generated pieces."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from datamodules.common.errors import DataError
from datamodules.generation.data import GenerationDataModule
from datamodules.generation.encoded import SymbolicBatch
from datamodules.generation.user_pieces import Question
from datamodules.generation.views import View, read_view
from models.generation.frame_spec import FrameBatch, FrameSpec
from models.generation.generative_model import Adversarial, GenerativeModel
from tasks.generation.evaluation import update_likelihood
from tasks.generation.inference import GeneratedPiece, Writer
from tasks.generation.metrics.likelihood import FrameLikelihood, summary
from tasks.generation.options import GenerationOptions
from tasks.generation.tables import Survey
from tasks.suite_module import ExportProgram, SuiteModule

FRAMES = 64
"""Frames in the input of an exported program."""


class FrameNats(nn.Module):
    """Export program: frames (1, frames, columns), conditions (1, frames, conditions) -> nats, or a surrogate (1, frames)."""

    def __init__(self, net: GenerativeModel) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor, conditions: Tensor) -> Tensor:
        """`GenerativeModel.nll` of one piece without padding."""
        valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        batch = FrameBatch(frames, conditions, valid)
        return self.net.surrogate(batch) if self.net.likelihood == "none" else self.net.nll(batch)

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """Program, example inputs, no dynamic dimension, and further inputs to compare.

        Raises:
            DataError: the system has no deterministic network.
        """
        if self.net.likelihood in ("bound", "estimate") or not any(True for _ in self.net.parameters()):
            raise DataError(
                f"{type(self.net).__name__} cannot be exported as a program: its likelihood is sampled or counted, not computed "
                "by a network. Use its checkpoint instead."
            )
        return self, self._inputs(0), None, [self._inputs(1)]

    def _inputs(self, seed: int) -> tuple[Tensor, Tensor]:
        random, form = torch.Generator().manual_seed(seed), self.net.form
        columns = [torch.randint(size, (1, FRAMES), generator=random) for size in form.sizes]
        frames = torch.stack(columns, -1)
        conditions = torch.randint(2, (1, FRAMES, form.conditions), generator=random).float()
        return frames if form.kind == "categories" else frames.float(), conditions


def alternating_step(composer: "GenerationModule", batch: SymbolicBatch) -> dict[str, Tensor]:
    """Alternating updates of the networks of an adversarial system, each with its own optimizer.

    Returns:
        Last loss terms of each network, and `loss`, the sum of their losses.
    """
    net = composer.net
    optimizers = dict(zip(net.networks(), composer.optimizers(), strict=True))
    losses: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    for network in net.schedule:
        optimizer = optimizers[network]
        terms = net.network_loss(network, batch)
        optimizer.zero_grad()
        # All parameters take part in each backward pass, because DDP would wait for gradients of the others.
        composer.manual_backward(terms["loss"] + 0.0 * sum(parameter.sum() for parameter in net.parameters()))
        optimizer.step()
        losses[network] = terms["loss"].detach()
        parts |= {f"{network}_{name}": part.detach() for name, part in terms.items()}
    return parts | {"loss": sum(losses.values())}


class GenerationModule(SuiteModule):
    """Train a generative system, and generate music with it.

    Args:
        view: encoding of pieces as frames, with its statistics of the training pieces (linked from the data)
        net: class of the system, called with the specification of frames (`models.generation`)
        optimizer: optimizer of the system, or of each network of an adversarial system
        scheduler: learning-rate scheduler, stepped after every optimizer step; not for adversarial systems
        survey: row of the system in the survey's Table 8.4
        inference: options of `predict`
    """

    def __init__(
        self,
        view: dict[str, Any],
        net: Callable[[FrameSpec], GenerativeModel],
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        survey: Survey | None = None,
        inference: GenerationOptions | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.save_hyperparameters(logger=False)  # the run record logs the whole config
        self.view = read_view(view)
        self.net = net(FrameSpec(**self.view.form()))
        self.survey, self.inference = survey or Survey(), inference or GenerationOptions()
        self.automatic_optimization = not isinstance(self.net, Adversarial)
        if not self.automatic_optimization and scheduler is not None:
            raise ValueError("scheduler: not supported for adversarial systems")
        self.scores = FrameLikelihood()
        self.shared = None if self.learns else DummyParameter()

    @property
    def learns(self) -> bool:
        """True if the system has trainable parameters; n-gram models have none."""
        return any(parameter.requires_grad for parameter in self.net.parameters())

    def epoch_metrics(self) -> tuple[FrameLikelihood]:
        """Likelihoods of pieces."""
        return (self.scores,)

    def trained_parameters(self) -> list[torch.nn.Parameter]:
        """Trainable parameters of the system."""
        return [parameter for parameter in self.net.parameters() if parameter.requires_grad]

    def initialize_from(self, datamodule: GenerationDataModule) -> None:
        """Let the system count or measure the training set."""
        self.net.prepare(datamodule.everything())

    def training_step(self, batch: SymbolicBatch) -> Tensor | None:
        """Loss of a batch; zero without trainable parameters; None for adversarial systems, after their updates."""
        if self.shared is not None:
            return self.shared.zero
        if not self.automatic_optimization:
            self._log_parts(alternating_step(self, batch), len(batch.names))
            return None
        parts = self.net.loss(batch)
        self._log_parts({name: part.detach() for name, part in parts.items()}, len(batch.names))
        return parts["loss"]

    def _log_parts(self, parts: dict[str, Tensor], items: int) -> None:
        self.log("train/loss", parts["loss"], prog_bar=True, batch_size=items)
        self.log_dict({f"train/{name}": part for name, part in parts.items() if name != "loss"}, batch_size=items)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Remove gradients of parameters that this step must not update, not even by momentum."""
        for parameter in self.net.idle():
            parameter.grad = None

    def validation_step(self, batch: SymbolicBatch) -> None:
        """Update nats per frame, or the surrogate of a system without likelihood."""
        update_likelihood(self.scores, self.net, batch)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the exact scores, equal on every rank."""
        scores = self._log_scores("val")
        if self.learns_from_validation:
            self.validated = scores

    def on_test_epoch_end(self) -> None:
        """Log the exact scores of the test split; the report reads `self.rows` and `self.summary` after this."""
        self._log_scores("test")

    def _log_scores(self, prefix: str) -> dict[str, float]:
        self.rows = self.scores.rows()
        self.summary = summary(self.rows)
        scores = {name: float(value) for name, value in self.summary.items()}
        self.log_dict({f"{prefix}/{name}": value for name, value in scores.items()}, rank_zero_only=False)
        self.log(f"{prefix}/loss", scores["nll_frame"], prog_bar=True, rank_zero_only=False)
        return scores

    def predict_input(self, batch: Question) -> list[GeneratedPiece]:
        """Generate the pieces that a user requested."""
        try:
            return Writer(self)(batch, self.trainer.datamodule.seed)
        except DataError as error:
            raise DataError(f"{batch.path}: {error}") from error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the validated scores.

        Raises:
            DataError: the view encodes pieces differently than in training.
        """
        super().on_load_checkpoint(checkpoint)
        state = checkpoint.get("hyper_parameters", {}).get("view")
        if state and (fields := incompatible_fields(read_view(state), self.view)):
            raise DataError(
                f"The network was trained on a different {state['name'].replace('_', ' ')} ({fields}) than these data have: "
                "use the corpus and the view of its training."
            )

    def export_program(self) -> ExportProgram:
        """Program from frames to their nats."""
        return FrameNats(self.net).exported()

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler; for adversarial systems one optimizer per network."""
        if not self.learns:
            return None
        if isinstance(self.net, Adversarial):
            return [self._optimizer(network.parameters()) for network in self.net.networks().values()]
        return super().configure_optimizers()


def incompatible_fields(trained: View, current: View) -> str:
    """Names of the fields in which two views encode pieces differently, regardless of the key; empty if there are none."""
    forms = trained.form(), current.form()
    learned = [view.state()["learned"] | {"centre": None} for view in (trained, current)]
    names = [name for then, now in (forms, learned) for name in then if then[name] != now.get(name)]
    return ", ".join(names)


class DummyParameter(torch.nn.Module):
    """Constant parameter outside of checkpoints, because DDP refuses modules without parameters, such as n-gram models."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = torch.nn.Parameter(torch.zeros(()))

    def _save_to_state_dict(self, *_: Any) -> None:
        pass

    def _load_from_state_dict(self, *_: Any) -> None:
        pass
