"""LightningModule of audio-to-score alignment: pairs of frames -> similarity network; DTW and exact scores in evaluation."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from datamodules.alignment.crops import PairBatch
from datamodules.alignment.data import WholeBatch
from datamodules.alignment.user_pairs import ScoredBatch
from datamodules.common.errors import DataError
from datamodules.common.input_spec import AlignmentSpec
from losses import ContrastiveLoss, SoftCrossEntropy
from models.alignment.calibration import Calibration
from models.alignment.dtw import STEPS
from models.alignment.similarity import Similarity
from tasks.alignment import evaluate
from tasks.alignment.aligned import Aligned
from tasks.alignment.calibration import PlacedEvents, add_degraded
from tasks.alignment.inference import File2Alignment
from tasks.alignment.metrics import AlignmentRows, AlignmentScores, PairDistances, summary
from tasks.alignment.options import AlignmentOptions
from tasks.suite_module import ExportProgram, SuiteModule

SECONDS = 10.0
"""Duration of the exported program's input, s."""


class FrameProgram(nn.Module):
    """Export program of the aligner: audio (samples,) float32 of 10 s at the network's rate -> embeddings (frames, d).

    Split a longer recording with an overlap of 1 s on both sides and discard the overlap. Front ends that normalise the level
    use that of the chunk, so normalise a recording as a whole first.
    """

    def __init__(self, net: Similarity) -> None:
        super().__init__()
        self.net, self.samples = net, round(SECONDS * net.sample_rate)

    def forward(self, audio: Tensor) -> Tensor:
        front, context = self.net.front, self.net.context
        audio = front.levelled(audio[None])
        features = front.span(audio, 0, front.n_frames(self.samples))[0]
        padded = F.pad(features, (context // 2, context - 1 - context // 2), mode="replicate")
        return self.net.embed(padded[None], "performance")[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """Program, example input, no dynamic dimension, and further inputs to compare: other noise and a padded chunk."""
        noise = torch.Generator().manual_seed(0)
        example, other, short = (0.1 * torch.randn(self.samples, generator=noise) for _ in range(3))
        short[len(short) // 3 :] = 0
        return self, (example,), None, [(other,), (short,)]


class PairObjective(nn.Module):
    """Loss of the distances of labelled pairs: contrastive in the paper (equation 1), cross entropy for a perceptron.

    Args:
        loss: function of distances and labels, 0 for a match (`losses`)
    """

    def __init__(self, loss: nn.Module | None = None) -> None:
        super().__init__()
        self.loss = loss or ContrastiveLoss()

    def distances(self, net: Similarity, batch: PairBatch) -> Tensor:
        """Distance of each pair of a batch: (batch, pairs)."""
        performance, score = net.embed(batch.performance, "performance"), net.embed(batch.score, "score")
        left, right = (
            side.gather(1, places[..., None].expand(-1, -1, side.shape[-1]))
            for side, places in ((performance, batch.places[..., 0]), (score, batch.places[..., 1]))
        )
        return net.between(left, right)

    def forward(self, net: Similarity, batch: PairBatch) -> Tensor:
        """Loss of a batch."""
        return self.loss(self.distances(net, batch), batch.label)


class SalienceObjective(nn.Module):
    """Cross entropy (equation 4) between a salience map and the sounding pitches, smoothed in frequency."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = SoftCrossEntropy()

    def forward(self, net: nn.Module, batch: PairBatch) -> Tensor:
        """Loss of the performances of a batch."""
        return self.loss(net.salience(batch.performance), net.targets(batch.pitches))


class AlignmentModule(SuiteModule):
    """Train a network on pairs of frames, and align recordings with scores.

    Args:
        net: network class with its front end, called without arguments (`models.alignment`)
        objective: training objective, called with network and batch (`tasks.alignment`)
        steps: DTW steps in evaluation: `unit` as in the paper, `constrained`, `synctoolbox`
        reduce: time of a score frame that several recording frames match: their mean, median or first
        optimizer: optimizer of the network
        scheduler: learning-rate scheduler, stepped after every optimizer step
        inference: options of `predict`
    """

    def __init__(
        self,
        net: Callable[[], Similarity],
        objective: nn.Module | None = None,
        steps: Literal["unit", "constrained", "synctoolbox"] = "unit",
        reduce: Literal["mean", "median", "first"] = "mean",
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        inference: AlignmentOptions | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.save_hyperparameters(logger=False)  # the run record logs the whole config
        self.net, self.objective = net(), objective or PairObjective()
        self.steps, self.reduce = STEPS[steps], reduce
        self.inference = inference or AlignmentOptions()
        self.scores = nn.ModuleDict({mode: AlignmentScores() for mode in self.net.modes})
        self.pairs, self.events = PairDistances(), PlacedEvents()
        # Distance above which frames differ, measured on the validation split; part of the checkpoint.
        self.register_buffer("threshold", torch.tensor(self.net.threshold or 0.5))
        # Scale and offset of confidences (`models.alignment.calibration`), measured there too.
        self.register_buffer("calibration", torch.tensor(Calibration()))

    @property
    def learns(self) -> bool:
        """True if the network has trainable parameters."""
        return any(parameter.requires_grad for parameter in self.net.parameters())

    def input_spec(self) -> AlignmentSpec:
        """Features of the network's input."""
        return evaluate.input_spec(self.net)

    def epoch_metrics(self) -> tuple[Metric, ...]:
        """Scores of each mode, distances of pairs, and confidences of events."""
        return *self.scores.values(), self.pairs, self.events

    def trained_parameters(self) -> list[nn.Parameter]:
        """Trainable parameters of the network."""
        return [parameter for parameter in self.net.parameters() if parameter.requires_grad]

    def setup(self, stage: str) -> None:
        """Connect the data; prepare inference in `predict`. Raises DataError for anchors of several recordings."""
        super().setup(stage)
        if stage == "predict":
            count = len(self.trainer.datamodule.items()) if self.inference.anchors else 1
            if count > 1:
                raise DataError(f"--model.inference.anchors: they are times of one recording, but --data.inputs holds {count}")
            self.aligner = File2Alignment(self)

    def forward(self, audio: Tensor) -> Tensor:
        """Embeddings (frames, d) of audio (samples,)."""
        return self.net.frames(self.net.features(audio), "performance")

    def training_step(self, batch: PairBatch) -> Tensor | None:
        """Loss of a batch; None without trainable parameters."""
        if not self.learns:
            return None
        loss = self.objective(self.net, batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.names))
        return loss

    def validation_step(self, batch: WholeBatch) -> None:
        """Align a recording with its score in the network's first mode; collect distances and confidences of `fit`."""
        costs, truth = evaluate.costs_of(self.net, batch), batch.truth.cpu().numpy()
        mode = self.net.modes[0]
        alignment = evaluate.align_frames(costs, self.net.frame_s, self.steps, self.reduce, self._threshold(mode))
        evaluate.update_scores(self.scores[mode], alignment.time_map, batch.index, truth)
        if self.net.threshold is None and "binary" in self.net.modes:
            self.pairs.update(*evaluate.sample_distances(costs, truth, self.net.frame_s, batch.index))
        if self.learns_from_validation:
            self.events.update(batch, costs, alignment, self.net.frame_s)
            add_degraded(self.events, self.net, batch, self.steps, self.reduce, self._threshold(mode))

    def test_step(self, batch: WholeBatch) -> None:
        """Align a recording with its score in every mode."""
        costs, truth = evaluate.costs_of(self.net, batch), batch.truth.cpu().numpy()
        for mode, scores in self.scores.items():
            alignment = evaluate.align_frames(costs, self.net.frame_s, self.steps, self.reduce, self._threshold(mode))
            evaluate.update_scores(scores, alignment.time_map, batch.index, truth)

    def _threshold(self, mode: str) -> float | None:
        return float(self.threshold) if mode == "binary" else None

    def on_validation_epoch_end(self) -> None:
        """Log the exact scores, equal on every rank; in `fit` store the threshold and the calibration of confidences."""
        self._log_scores("val", self.net.modes[:1])
        if self.learns_from_validation:
            mode = self.net.modes[0]
            self.validated = {f"{mode}_{key}": value for key, value in summary(self.rows[mode]).items()}
            self.calibration.copy_(torch.tensor(self.events.calibration()))
        if self.net.threshold is None and "binary" in self.net.modes:
            threshold, error = self.pairs.threshold()
            self.log("val/pair_error", error, rank_zero_only=False)
            if self.learns_from_validation and np.isfinite(threshold):
                self.threshold.fill_(threshold)

    def on_test_epoch_end(self) -> None:
        """Log the exact scores of the test split; the report reads `self.rows` after this."""
        self._log_scores("test", self.net.modes)

    def _log_scores(self, prefix: str, modes: tuple[str, ...]) -> None:
        self.rows: dict[str, AlignmentRows] = {mode: self.scores[mode].rows() for mode in modes}
        for mode, rows in self.rows.items():
            values = {f"{mode}_{key}": value for key, value in summary(rows).items()}
            self.log_dict({f"{prefix}/{key}": float(value) for key, value in values.items()}, rank_zero_only=False)
        self.log(f"{prefix}/within_50", summary(self.rows[modes[0]])["within_50"], rank_zero_only=False)

    def predict_input(self, batch: ScoredBatch) -> Aligned:
        """Align a user's recording with its score."""
        audio, rate = batch.audio.cpu().numpy(), self.net.sample_rate
        return self.aligner.align(batch.path, audio, rate, batch.ways, batch.remark)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load the state; earlier checkpoints have no `calibration`."""
        state_dict.setdefault(f"{prefix}calibration", torch.tensor(Calibration()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the scores of the last validation, and remove the front end's weights file from the settings."""
        super().on_save_checkpoint(checkpoint)
        # The weights of a front end's network are in the checkpoint, so that their file is no longer needed.
        if any(name.startswith("net.front.") for name in checkpoint["state_dict"]):
            checkpoint["hyper_parameters"] = without_files(checkpoint["hyper_parameters"])

    def export_program(self) -> ExportProgram:
        """Program from audio to embeddings of frames."""
        return FrameProgram(self.net).exported()

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler of the network; None without trainable parameters."""
        return super().configure_optimizers() if self.learns else None


def without_files(settings: Any) -> Any:
    """Remove files of weights from settings of front ends."""
    if isinstance(settings, dict):
        return {name: None if name == "weights" else without_files(value) for name, value in settings.items()}
    return settings
