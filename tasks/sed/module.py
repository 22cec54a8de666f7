"""LightningModule of sound event detection with a mean teacher (Boes and Van hamme 2021): waveform -> event scores."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, Metric

from datamodules.audio.files import FileBatch
from datamodules.audio.windows import FrameGrid
from datamodules.common.errors import DataError
from datamodules.common.input_spec import SEDSpec
from datamodules.sed.data import SEDDataModule
from datamodules.sed.event_clips import SoundBatch
from losses.mean_teacher import clip_bce, clip_consistency, frame_bce, frame_consistency
from models.augment import Augmentation, AugmentedBatch, two_views
from models.extractors.extractor import Extractor
from models.sed import Detection
from models.sed.front import align as align_to_frames
from tasks.callbacks import MeanTeacher
from tasks.sed.inference import DetectionResult, File2Events
from tasks.sed.metrics import HEADLINE, SedScores, Tuned, Tuning, fixed, tune
from tasks.sed.metrics import summary as summarise
from tasks.sed.options import DetectionOptions
from tasks.suite_module import ExportProgram, SuiteModule, refuse_other_labels

SECONDS = 10.0  # length of the export program's input


class DetectionProgram(nn.Module):
    """Export program of the detector: waveform (samples,) float32 of 10 s and embeddings (frames, dim) per stream -> scores.

    The scores are probabilities of frames (frames, classes) and of the clip (classes,). The clip is scaled by its robust
    level, as a window in `predict`. torch.export fixes the length of recurrent layers: pad a shorter clip with zeros, cut a
    longer recording into windows.
    """

    def __init__(self, net: nn.Module, grid: FrameGrid) -> None:
        super().__init__()
        self.net, self.samples = net, round(SECONDS * net.sample_rate)
        self.frames = grid.count(self.samples)
        self.dims = {name: branch[0].in_features for name, branch in net.fusion.branches.items()}

    def forward(self, audio: Tensor, *embeddings: Tensor) -> tuple[Tensor, Tensor]:
        mel, _ = self.net.features(audio[None], level="robust")
        detection = self.net(mel, None, {name: values[None] for name, values in zip(self.dims, embeddings, strict=True)})
        return detection.frames[0], detection.clip[0]

    def exported(self) -> tuple[nn.Module, tuple[Tensor, ...], None, list[tuple[Tensor, ...]]]:
        """Program, example inputs, no free dimension, and inputs for checks: other noise and a zero-padded clip."""
        noise = torch.Generator().manual_seed(0)

        def inputs() -> tuple[Tensor, ...]:
            audio = 0.1 * torch.randn(self.samples, generator=noise)
            return audio, *(torch.randn(self.frames, dim, generator=noise) for dim in self.dims.values())

        example, other, short = (inputs() for _ in range(3))
        short[0][len(short[0]) // 3 :] = 0
        return self, example, None, [other, short]


def supervised(student: Detection, view: AugmentedBatch, batch: SoundBatch) -> dict[str, Tensor]:
    """Supervised loss (section 2.3): cross entropy of weakly labelled clips and of frames of strongly labelled ones, else 0."""
    weak = batch.tagged & ~batch.timed
    return {
        "weak": clip_bce(student.clip, view.clip, weak),
        "strong": frame_bce(student.frames, view.frames, batch.timed, student.mask),
    }


def consistency_terms(student: Detection, teacher: Detection, weight: float) -> dict[str, Tensor]:
    """Consistency loss (section 2.3): weighted squared differences between student and teacher over all clips."""
    return {
        "clip_consistency": weight * clip_consistency(student.clip, teacher.clip),
        "frame_consistency": weight * frame_consistency(student.frames, teacher.frames, student.mask),
    }


class RampDecay(LambdaLR):
    """Learning rate factor exp(-5 (1 - t / ramp)^2) up to step `ramp`, then decay^(t - ramp) (section 4.3.1).

    With the paper's learning rate of 1e-3: 6.74e-6 at step 0, 2.865e-4 at 6,250, 1e-3 at 12,500, 1.533e-4 at 50,000.
    """

    def __init__(self, optimizer: Optimizer, ramp: int = 12_500, decay: float = 0.99995) -> None:
        super().__init__(optimizer, lambda step: factor(step, ramp, decay))


def factor(step: int, ramp: int, decay: float = 1.0) -> float:
    """Share of the full value at an optimizer step: exponential ramp over `ramp` steps, then `decay` per step."""
    if step < ramp:
        return math.exp(-5.0 * (1.0 - step / ramp) ** 2)
    return decay ** (step - ramp)


class SEDModule(SuiteModule):
    """Tags and times of sound events; trained on weakly labelled, strongly labelled and unlabelled clips.

    Args:
        classes: names of the outputs, in order (comes from the data set)
        net: network class; called with the number of classes (`models.sed`)
        extractors: pretrained networks by stream, called with the path of their weights (`models.extractors`)
        weights: paths of the extractors' weights, by stream; a checkpoint stores only the paths
        align: alignment of embeddings with the network's frames: by `index` as in the paper, by `time`, or `nearest` in time
        mean_teacher: moving average of the network's weights for the consistency loss; null: none
        consistency: weight of the consistency loss of clips and of frames
        consistency_ramp: steps over which that weight rises like the learning rate; 0: constant, as in the paper
        augmentations: random augmentations of training batches (`models.augment`), in order
        independent: augment student and teacher independently, if labels do not move
        evaluate: network of `val/f1`, tuning, `predict` and `export`; both are scored
        optimizer: optimizer of the student; the paper's is Adam at 1e-3
        scheduler: learning-rate scheduler, stepped after every optimizer step
        mask_events: let tuning drop events of classes that are not tags of their clip, if that raises F1 in validation
        inference: options of `predict`
    """

    def __init__(
        self,
        classes: list[str],
        net: Callable[[int], nn.Module],
        extractors: dict[str, Callable[[str | None], Extractor]] | None = None,
        weights: dict[str, str] | None = None,
        align: Literal["index", "time", "nearest"] = "time",
        mean_teacher: MeanTeacher | None = None,
        consistency: float = 2.0,
        consistency_ramp: int = 0,
        augmentations: list[Augmentation] | None = None,
        independent: bool = True,
        evaluate: Literal["student", "teacher"] = "student",
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        mask_events: bool = True,
        inference: DetectionOptions | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.save_hyperparameters(logger=False)  # the run record logs the whole config
        self.classes = list(classes)
        self.net = net(len(self.classes))
        # Not registered as submodules: pretrained weights stay in their own files.
        paths = weights or {}
        if unknown := set(paths) - set(extractors or {}):
            raise ValueError(f"--model.weights: no extractor for {', '.join(sorted(unknown))}; set --model.extractors")
        object.__setattr__(self, "extractors", {name: make(paths.get(name)) for name, make in (extractors or {}).items()})
        self.align = partial(align_to_frames, method=align)
        self.mean_teacher = mean_teacher
        self.teacher = mean_teacher.teacher_of(self.net) if mean_teacher else None
        self.consistency, self.consistency_ramp = consistency, consistency_ramp
        self.augmentations, self.independent = list(augmentations or []), independent
        if evaluate == "teacher" and mean_teacher is None:
            raise ValueError("--model.evaluate teacher needs a teacher: set --model.mean_teacher")
        self.evaluate = evaluate
        self.mask_events, self.inference = mask_events, inference or DetectionOptions()
        networks = ("student", "teacher") if mean_teacher else ("student",)
        self.scores = nn.ModuleDict({name: SedScores(self.grid.step) for name in networks})
        self.validation_loss = MeanMetric()
        self.tuned = Tuned(len(self.classes))  # on the validation split, stored in the checkpoint

    def configure_callbacks(self) -> list[pl.Callback]:
        """Callback that updates the teacher."""
        return [self.mean_teacher] if self.mean_teacher else []

    @property
    def grid(self) -> FrameGrid:
        """Frame grid of the network."""
        return FrameGrid(self.net.sample_rate, self.net.hop, self.net.factor)

    def input_spec(self) -> SEDSpec:
        """Frame grid, extractors, and the features whose statistics standardise the network's input."""
        net = self.net

        def features(audio: Tensor) -> Tensor:
            return net.mel.log_mel(audio)[0][0]

        is_standardised = net.spectral and net.mel.by == "dataset"
        return SEDSpec(self.grid, self.align, self.extractors, features if is_standardised else None)

    def check_data(self, datamodule: SEDDataModule) -> None:
        """Check that names and order of the classes match. Raises DataError if not."""
        refuse_other_labels("classes", self.classes, datamodule.classes)

    def initialize_from(self, datamodule: SEDDataModule) -> None:
        """Set the statistics of the training set for standardisation."""
        if datamodule.spec.features is not None:
            self.net.set_statistics(*datamodule.statistics())

    def epoch_metrics(self) -> list[Metric]:
        """Scores of student and teacher, and validation loss."""
        return [*self.scores.values(), self.validation_loss]

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the student."""
        return list(self.net.parameters())

    def forward(self, audio: Tensor, lengths: Tensor | None = None, embeddings: dict[str, Tensor] | None = None) -> Detection:
        """Audio (batch, samples), lengths (batch,) in samples and embeddings (batch, frames, dim) by stream -> detection."""
        return self.net(*self.net.features(audio, lengths), embeddings)

    def training_step(self, batch: SoundBatch, batch_idx: int) -> Tensor:
        """Supervised loss of the student plus consistency with the teacher."""
        view, teacher_view = two_views(self._view(batch), self.augmentations, self.independent)
        student = self.net(view.mel, view.valid, view.embeddings)
        parts = supervised(student, view, batch)
        if self.teacher is not None:
            with torch.no_grad():
                teacher = self.teacher(teacher_view.mel, teacher_view.valid, teacher_view.embeddings)
            ramp = factor(self.global_step, self.consistency_ramp) if self.consistency_ramp else 1.0
            parts |= consistency_terms(student, teacher, self.consistency * ramp)
        loss = sum(parts.values())
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.names))
        self.log_dict({f"train/{name}": part.detach() for name, part in parts.items()}, batch_size=len(batch.names))
        return loss

    def _view(self, batch: SoundBatch) -> AugmentedBatch:
        mel, valid = self.net.features(batch.audio, batch.length)
        gain = self.net.mel.gain if self.net.spectral else None
        group = batch.tagged.long() + 2 * batch.timed.long()
        return AugmentedBatch(mel, valid, batch.embeddings, batch.tags, batch.activity, group, gain, self.net.factor)

    def validation_step(self, batch: SoundBatch) -> None:
        """Collect the scores of whole clips by student and teacher."""
        if not len(batch.names):  # all its clips were unreadable
            return
        mel, valid = self.net.features(batch.audio, batch.length)
        for name, scores in self.scores.items():
            detection = self._network(name)(mel, valid, batch.embeddings)
            scores.update(detection.frames, detection.mask, detection.clip, batch.clip)
            if name == "student":
                self.validation_loss.update(clip_bce(detection.clip, batch.tags, batch.tagged), len(batch.names))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all ranks; in `fit` tune thresholds and filters."""
        scores = self._log_scores("validation", "val")
        if self.learns_from_validation:
            self.tuned.keep(tune(self.rows[self.evaluate], self.mask_events))
            self.validated = scores

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test split; the report reads `self.rows` afterwards."""
        self._log_scores("test", "test")

    def _log_scores(self, split: str, prefix: str) -> dict[str, float]:
        """Log the scores of both networks with the fixed decision; return those of the evaluated network."""
        corpus = self.trainer.datamodule.corpus(split)
        self.rows = {name: scores.rows(corpus) for name, scores in self.scores.items()}
        if not len(self.rows["student"].clip):
            raise DataError(f"no clip of the {split} split could be read: {self.trainer.datamodule.advice()}")
        scores = {name: summarise(rows, self.decision("fixed")) for name, rows in self.rows.items()}
        prefixes = {"student": "", "teacher": "teacher_"}
        values = {f"{prefixes[name]}{key}": value for name, row in scores.items() for key, value in row.items()}
        values["loss"] = self.validation_loss.compute()
        values["f1"] = sum(scores[self.evaluate][key] for key in HEADLINE) / len(HEADLINE)
        self.log_dict({f"{prefix}/{key}": float(value) for key, value in values.items()}, rank_zero_only=False)
        return {key: float(value) for key, value in scores[self.evaluate].items()}

    def decision(self, thresholds: Literal["tuned", "fixed"]) -> Tuning:
        """Thresholds and filters: `tuned` in validation, or `fixed` as in the paper."""
        return self.tuned.tuning() if thresholds == "tuned" else fixed(len(self.classes))

    def on_predict_start(self) -> None:
        """Create the inference step with the thresholds of the loaded weights."""
        self.file_events = File2Events(self)

    def predict_input(self, batch: FileBatch) -> DetectionResult:
        """Events of one input file, which is decoded here."""
        return self.file_events(batch.path)

    def _network(self, name: str) -> nn.Module:
        return self.net if name == "student" else self.teacher

    @property
    def evaluated(self) -> nn.Module:
        """Network of `predict` and `export`: student or teacher."""
        return self._network(self.evaluate)

    def export_program(self) -> ExportProgram:
        """`DetectionProgram` of the evaluated network, with example inputs."""
        return DetectionProgram(self.evaluated, self.grid).exported()
