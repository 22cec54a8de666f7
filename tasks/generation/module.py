"""The composer that Lightning trains: one system on the frames of one view, its likelihood, and the music it writes."""

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
from tasks.generation.evaluation import score_into
from tasks.generation.inference import Answer, Writer
from tasks.generation.metrics.likelihood import FrameLikelihood, summary
from tasks.generation.options import GenerationOptions
from tasks.generation.tables import Survey
from tasks.suite_module import ExportProgram, SuiteModule

# The program that `export` freezes: frames and what is known of them -> nats of every frame.

FRAMES = 64
"""Frames of an exported program's input."""


class FrameNats(nn.Module):
    """Nats (1, frames) of frames (1, frames, columns) under conditions (1, frames, conditions), or what stands for them."""

    def __init__(self, net: GenerativeModel) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor, conditions: Tensor) -> Tensor:
        """As `GenerativeModel.nll` of one piece without padding."""
        valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        batch = FrameBatch(frames, conditions, valid)
        return self.net.surrogate(batch) if self.net.likelihood == "none" else self.net.nll(batch)

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """The program, example inputs, no free dimension, further inputs. Raises DataError where nothing can be frozen."""
        if self.net.likelihood in ("bound", "estimate") or not any(True for _ in self.net.parameters()):
            raise DataError(
                f"{type(self.net).__name__} cannot be exported as a program: its numbers are drawn or counted, not computed by a "
                "network. Its checkpoint holds all there is."
            )
        return self, self._inputs(0), None, [self._inputs(1)]

    def _inputs(self, seed: int) -> tuple[Tensor, Tensor]:
        random, form = torch.Generator().manual_seed(seed), self.net.form
        columns = [torch.randint(size, (1, FRAMES), generator=random) for size in form.sizes]
        frames = torch.stack(columns, -1)
        conditions = torch.randint(2, (1, FRAMES, form.conditions), generator=random).float()
        return frames if form.kind == "categories" else frames.float(), conditions


# One training step of a system of several players: each in its turn, by its own optimizer.


def take_turns(composer: "GenerationModule", batch: SymbolicBatch) -> dict[str, Tensor]:
    """Every player's turn of the schedule; returns what each last minimised, `loss` being their sum."""
    net = composer.net
    optimizers = dict(zip(net.players(), composer.optimizers(), strict=True))
    losses: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    for player in net.schedule:
        optimizer = optimizers[player]
        found = net.turn(player, batch)
        optimizer.zero_grad()
        # All players take part in each turn, or several ranks would wait for the gradients of the others.
        composer.manual_backward(found["loss"] + 0.0 * sum(parameter.sum() for parameter in net.parameters()))
        optimizer.step()
        losses[player] = found["loss"].detach()
        parts |= {f"{player}_{name}": part.detach() for name, part in found.items()}
    return parts | {"loss": sum(losses.values())}


class GenerationModule(SuiteModule):
    """Trains a system and writes music with it.

    Args:
        view: how pieces become frames, with all that was learned of the training pieces (comes from the data)
        net: class of the system, called with the form of the frames (`models.generation`)
        optimizer: optimizer of the system; of each of its players where they are several
        scheduler: learning-rate scheduler, stepped after every optimizer step; not with several players
        survey: the system's row in the survey's Table 8.4
        inference: how music is drawn
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
            raise ValueError("scheduler: a system of several players is trained without one")
        self.scores = FrameLikelihood()
        self.shared = None if self.learns else DummyParameter()

    @property
    def learns(self) -> bool:
        """Whether there is anything to train by steps; a chain only counts."""
        return any(parameter.requires_grad for parameter in self.net.parameters())

    def epoch_metrics(self) -> tuple[FrameLikelihood]:
        """Likelihoods of pieces."""
        return (self.scores,)

    def trained_parameters(self) -> list[torch.nn.Parameter]:
        """Parameters of the system that are not frozen."""
        return [parameter for parameter in self.net.parameters() if parameter.requires_grad]

    def initialize_from(self, datamodule: GenerationDataModule) -> None:
        """Count or measure the training set, in systems that do."""
        self.net.prepare(datamodule.everything())

    def training_step(self, batch: SymbolicBatch) -> Tensor | None:
        """What the system minimises: zero where there is nothing to train; None where the players took their turns."""
        if self.shared is not None:
            return self.shared.nothing
        if not self.automatic_optimization:
            self._log_parts(take_turns(self, batch), len(batch.names))
            return None
        parts = self.net.loss(batch)
        self._log_parts({name: part.detach() for name, part in parts.items()}, len(batch.names))
        return parts["loss"]

    def _log_parts(self, parts: dict[str, Tensor], items: int) -> None:
        self.log("train/loss", parts["loss"], prog_bar=True, batch_size=items)
        self.log_dict({f"train/{name}": part for name, part in parts.items() if name != "loss"}, batch_size=items)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Parameters whose turn it is not stay where they are: an optimizer's momentum would move them without a gradient."""
        for parameter in self.net.idle():
            parameter.grad = None

    def validation_step(self, batch: SymbolicBatch) -> None:
        """Nats of every frame, or what stands for them where a system has no likelihood."""
        score_into(self.scores, self.net, batch)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the exact scores, the same on every rank."""
        scores = self._log_scores("val")
        if self.learns_from_validation:
            self.validated = scores

    def on_test_epoch_end(self) -> None:
        """Log the exact scores of the test split; the report reads `self.found` after this."""
        self._log_scores("test")

    def _log_scores(self, prefix: str) -> dict[str, float]:
        self.rows = self.scores.rows()
        self.found = summary(self.rows)
        scores = {name: float(value) for name, value in self.found.items()}
        self.log_dict({f"{prefix}/{name}": value for name, value in scores.items()}, rank_zero_only=False)
        self.log(f"{prefix}/loss", scores["nll_frame"], prog_bar=True, rank_zero_only=False)
        return scores

    def predict_input(self, batch: Question) -> list[Answer]:
        """The music that a user asked for."""
        try:
            return Writer(self)(batch, self.trainer.datamodule.seed)
        except DataError as error:
            raise DataError(f"{batch.path}: {error}") from error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the validated scores. Raises DataError where other frames stand for music now than in training."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint.get("hyper_parameters", {}).get("view")
        if state and (told := differing(read_view(state), self.view)):
            raise DataError(
                f"The network was trained on a {state['name'].replace('_', ' ')} of other {told} than these data make: "
                "name the corpus and the view that it was trained with."
            )

    def export_program(self) -> ExportProgram:
        """Program from frames to their nats."""
        return FrameNats(self.net).exported()

    def configure_optimizers(self) -> Any:
        """One optimizer, and its scheduler; for several players one each."""
        if not self.learns:
            return None
        if isinstance(self.net, Adversarial):
            return [self._optimizer(player.parameters()) for player in self.net.players().values()]
        return super().configure_optimizers()


def differing(trained: View, here: View) -> str:
    """What of two views makes other frames of a piece, in words; nothing where only the key is chosen otherwise."""
    forms = trained.form(), here.form()
    learned = [view.state()["learned"] | {"centre": None} for view in (trained, here)]
    names = [name for then, now in (forms, learned) for name in then if then[name] != now.get(name)]
    return ", ".join(names)


class DummyParameter(torch.nn.Module):
    """A parameter that nothing moves and no checkpoint holds: several processes fit nothing that has none, not even a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def _save_to_state_dict(self, *_: Any) -> None:
        pass

    def _load_from_state_dict(self, *_: Any) -> None:
        pass
