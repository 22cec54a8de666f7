"""The aligner that Lightning trains: a network that says how alike two frames are, DTW, exact scores."""

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
from datamodules.common.input_spec import AlignmentSpec
from datamodules.common.workers import mix
from losses import ContrastiveLoss, SoftCrossEntropy
from models.alignment.dtw import STEPS
from models.alignment.similarity import Similarity
from tasks.alignment import evaluate
from tasks.alignment.aligned import Aligned
from tasks.alignment.inference import File2Alignment
from tasks.alignment.metrics import AlignmentRows, AlignmentScores, PairDistances, summary
from tasks.alignment.options import AlignmentOptions
from tasks.suite_module import ExportProgram, SuiteModule

# What `export` freezes of an aligner: one program from a waveform to its frames' embeddings, front end inside.

SECONDS = 10.0


class FrameProgram(nn.Module):
    """Audio (samples,) float32 of 10 s at the network's rate -> embeddings (frames, d), those of a performance.

    Cut a longer recording with a second of overlap on both sides that is thrown away. The level is that of the chunk: level a
    recording as a whole first, where its front end levels.
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
        """The program, an example input, no free dimension, further inputs to check: other noise, and a filled up chunk."""
        noise = torch.Generator().manual_seed(0)
        example, other, short = (0.1 * torch.randn(self.samples, generator=noise) for _ in range(3))
        short[len(short) // 3 :] = 0
        return self, (example,), None, [(other,), (short,)]


# What training minimises, of pairs of frames or of pitches.


class PairObjective(nn.Module):
    """A loss of the distances of labelled pairs: the paper's is contrastive (equation 1), a perceptron's cross entropy.

    Args:
        loss: called with distances and labels, 0 for a match (`losses`)
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
        """The loss of a batch."""
        return self.loss(self.distances(net, batch), batch.label)


class SalienceObjective(nn.Module):
    """Cross entropy (equation 4) of a salience network's map and the pitches that sound, softened in frequency."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = SoftCrossEntropy()

    def forward(self, net: nn.Module, batch: PairBatch) -> Tensor:
        """The loss of a batch, of the performances alone."""
        return self.loss(net.salience(batch.performance), net.targets(batch.pitches))


PAIRS = 64
"""Pairs of each validation recording that the threshold is measured on, of either kind."""


class AlignmentModule(SuiteModule):
    """Trains a network on pairs of frames and lays recordings on scores by it.

    Args:
        net: network class with its front end, called without arguments (`models.alignment`)
        objective: what is minimised, called with network and batch (`tasks.alignment.module`)
        steps: of DTW in evaluation: `unit` as in the paper, `constrained`, `synctoolbox`
        reduce: where several frames of a recording belong to one of the score: their mean, median or first
        optimizer: optimizer of the network
        scheduler: learning-rate scheduler, stepped after every optimizer step
        inference: how `predict` lays a user's recording on its score
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
        self.pairs = PairDistances()
        # Beyond it two frames are different, measured on the validation split; part of the checkpoint.
        self.register_buffer("threshold", torch.tensor(self.net.threshold or 0.5))

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return any(parameter.requires_grad for parameter in self.net.parameters())

    def input_spec(self) -> AlignmentSpec:
        """Features that the network reads."""
        return evaluate.input_spec(self.net)

    def epoch_metrics(self) -> tuple[Metric, ...]:
        """Scores of each mode, and distances of pairs."""
        return *self.scores.values(), self.pairs

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the network that are not frozen."""
        return [parameter for parameter in self.net.parameters() if parameter.requires_grad]

    def setup(self, stage: str) -> None:
        """Connect the data; in `predict` prepare the alignment of files."""
        super().setup(stage)
        if stage == "predict":
            self.lay = File2Alignment(self)

    def forward(self, audio: Tensor) -> Tensor:
        """Embeddings (frames, d) of audio (samples,)."""
        return self.net.frames(self.net.features(audio), "performance")

    def training_step(self, batch: PairBatch) -> Tensor | None:
        """The objective of a batch; None where there is nothing to train."""
        if not self.learns:
            return None
        loss = self.objective(self.net, batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.names))
        return loss

    def validation_step(self, batch: WholeBatch) -> None:
        """Lay a recording on its score by the network's first mode; keep distances to measure the threshold by."""
        costs, truth = evaluate.costs_of(self.net, batch), batch.truth.cpu().numpy()
        mode = self.net.modes[0]
        laid = evaluate.lay(costs, self.net.frame_s, self.steps, self.reduce, self._threshold(mode))
        evaluate.score_into(self.scores[mode], laid.time_map, batch.index, truth)
        if self.net.threshold is None and "binary" in self.net.modes:
            self.pairs.update(*sample_distances(costs, truth, self.net.frame_s, batch.index))

    def test_step(self, batch: WholeBatch) -> None:
        """Lay a recording on its score by every mode."""
        costs, truth = evaluate.costs_of(self.net, batch), batch.truth.cpu().numpy()
        for mode, scores in self.scores.items():
            laid = evaluate.lay(costs, self.net.frame_s, self.steps, self.reduce, self._threshold(mode))
            evaluate.score_into(scores, laid.time_map, batch.index, truth)

    def _threshold(self, mode: str) -> float | None:
        return float(self.threshold) if mode == "binary" else None

    def on_validation_epoch_end(self) -> None:
        """Log the exact scores, the same on every rank; keep the threshold."""
        self._log_scores("val", self.net.modes[:1])
        if self.learns_from_validation:
            mode = self.net.modes[0]
            self.validated = {f"{mode}_{key}": value for key, value in summary(self.found[mode]).items()}
        if self.net.threshold is None and "binary" in self.net.modes:
            threshold, error = self.pairs.threshold()
            self.log("val/pair_error", error, rank_zero_only=False)
            if self.learns_from_validation and np.isfinite(threshold):
                self.threshold.fill_(threshold)

    def on_test_epoch_end(self) -> None:
        """Log the exact scores of the test split; the report reads `self.found` after this."""
        self._log_scores("test", self.net.modes)

    def _log_scores(self, prefix: str, modes: tuple[str, ...]) -> None:
        self.found: dict[str, AlignmentRows] = {mode: self.scores[mode].rows() for mode in modes}
        for mode, rows in self.found.items():
            values = {f"{mode}_{key}": value for key, value in summary(rows).items()}
            self.log_dict({f"{prefix}/{key}": float(value) for key, value in values.items()}, rank_zero_only=False)
        self.log(f"{prefix}/within_50", summary(self.found[modes[0]])["within_50"], rank_zero_only=False)

    def predict_input(self, batch: ScoredBatch) -> Aligned:
        """One of the user's recordings aligned to its score."""
        audio, rate = batch.audio.cpu().numpy(), self.net.sample_rate
        return self.lay.heard(batch.path, audio, rate, batch.ways, batch.remark)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the scores of the last validation, and no file of weights that the checkpoint holds itself."""
        super().on_save_checkpoint(checkpoint)
        # A front end's own network is in the checkpoint: the file it once came from need not be there any more.
        if any(name.startswith("net.front.") for name in checkpoint["state_dict"]):
            checkpoint["hyper_parameters"] = without_files(checkpoint["hyper_parameters"])

    def export_program(self) -> ExportProgram:
        """Program from audio to embeddings of frames."""
        return FrameProgram(self.net).exported()

    def configure_optimizers(self) -> Any:
        """Optimizer of the network, and its scheduler; None where there is nothing to train."""
        return super().configure_optimizers() if self.learns else None


def sample_distances(costs, truth: np.ndarray, frame_s: float, seed: int) -> tuple[Tensor, Tensor]:
    """Distances (2 * PAIRS,) of frames that belong together and of as many that do not, and labels 0 and 1."""
    random = np.random.default_rng(mix(seed))
    rows, columns = costs.shape
    score, heard = (np.round(truth / frame_s).astype(int)).T
    chosen = random.integers(len(truth), size=PAIRS)
    heard, score = np.clip(heard[chosen], 0, rows - 1), np.clip(score[chosen], 0, columns - 1)
    apart = random.integers(4, max(5, columns - 4), size=PAIRS)
    others = (score + apart) % columns
    matches, differs = (np.array([costs.block(i, i + 1)[0, j] for i, j in zip(heard, to, strict=True)]) for to in (score, others))
    label = torch.cat([torch.zeros(PAIRS), torch.ones(PAIRS)])
    return torch.from_numpy(np.concatenate([matches, differs])), label


def without_files(settings: Any) -> Any:
    """Settings in which no front end names a file of weights."""
    if isinstance(settings, dict):
        return {name: None if name == "weights" else without_files(value) for name, value in settings.items()}
    return settings
