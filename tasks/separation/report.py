"""Report of separation after `test` and `validate`: scores per track in museval's schema, metrics.json, tables, figures."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from datamodules.common.errors import DataError, counted
from datamodules.separation.data import TrackBatch
from models.separation.coverage import settings_of
from tasks.callbacks import log_media
from tasks.cli.run_info import run_info
from tasks.reporting.results import Report, number
from tasks.reporting.results import heading as shared_heading
from tasks.reporting.results import write_metrics as write_shared_metrics
from tasks.reporting.tables import write_csv
from tasks.separation.figures import levels
from tasks.separation.metrics import METRICS, SeparationScores, TrackScores
from tasks.separation.oracles import baselines, interleaved
from tasks.separation.track_evaluator import Scoring, TrackEvaluator
from tasks.writers.output_files import write_figure, write_json

POLICY = "bsseval v4, median of frames, median of tracks"


def log_examples(trainer: Trainer, separator: LightningModule, count: int) -> None:
    """Log stems and estimates of `count` validation pieces, spread evenly over the tracks."""
    data = trainer.datamodule
    pieces = data.validation_set()
    step = max(1, len(pieces) // count)
    for example in range(min(count, len(pieces))):
        piece = pieces[example * step]
        if piece is None:  # the validation has reported this track
            continue
        batch = data.collate([piece])
        stems, mixture = (part.to(separator.device) for part in batch.waveforms())
        estimates = separator(mixture)
        title = f"{batch.names[0]}, {float(batch.start[0]):.0f} s"
        _log(trainer, separator, f"val/example_{example}", title, stems[0].cpu(), estimates[0].float().cpu())


def _log(trainer: Trainer, separator: LightningModule, name: str, title: str, stems: Tensor, estimates: Tensor) -> None:
    from tasks.separation.figures import estimate_grid

    sample_rate = separator.net.sample_rate
    (targets, mel_hertz, hop_s), (estimated, *_) = levels(stems, sample_rate), levels(estimates, sample_rate)
    axes = {"mel_hertz": mel_hertz, "hop_s": hop_s, "title": f"{title}: targets and estimates"}
    figure = estimate_grid(targets, estimated, names=separator.sources, **axes)
    log_media(trainer, name, figure=figure, caption=title)
    for source, estimate in zip(separator.sources, estimates, strict=True):
        log_media(trainer, f"{name}_{source}", audio=(estimate.T, sample_rate), caption=f"{title}: {source}")


def about(trainer: Trainer) -> dict[str, str]:
    """Protocol of the scores: data, subset, split, policy and mixture."""
    data = trainer.datamodule
    return {"name": data.name, "subset": data.subset, "split": "test", "policy": POLICY, "mixture": data.mixture}


def write_tracks(path: Path, rows: TrackScores, names: Mapping[int, str], sources: Sequence[str]) -> None:
    """Write one row per track and source: medians over windows, and uSDR, in dB."""
    table = [
        {
            "track": names[int(track)],
            "source": source,
            **dict(zip(METRICS, rows.medians[i, j].tolist(), strict=True)),
            "usdr": float(rows.usdr[i, j]),
        }
        for i, track in enumerate(rows.track)
        for j, source in enumerate(sources)
    ]
    write_csv(path, table)


def write_metrics(
    trainer: Trainer, separator: LightningModule, metrics: Mapping[str, float], baselines: Mapping[str, np.ndarray]
) -> None:
    """Write metrics.json with the baselines and the sources."""
    rows = {name: [number(value) for value in values] for name, values in baselines.items()}
    write_shared_metrics(trainer, separator, about(trainer), metrics, baselines=rows, sources=list(separator.sources))


def write_validation(path: Path, trainer: Trainer) -> None:
    """Write and print the scores of the validation split: loss, and SDR of pieces without Wiener filter."""
    values = {name.removeprefix("val/"): float(value) for name, value in sorted(trainer.callback_metrics.items())}
    write_json(path, {"task": "separation", "data": about(trainer) | {"split": "validation"}, "metrics": values})
    print("\n".join(f"{name:16} {value:8.3f}" for name, value in values.items()) + f"\nscores  {path}", flush=True)


def draw_tracks(path: Path, rows: TrackScores, sources: Sequence[str], title: str) -> None:
    """Draw the SDR of every track per source."""
    from tasks.separation.figures import score_boxes

    write_figure(path, score_boxes(dict(zip(sources, rows.medians[:, :, 0].T, strict=True)), title=title))


def print_table(
    sources: Sequence[str], metrics: Mapping[str, float], baselines: Mapping[str, np.ndarray], heading: str, folder: Path
) -> None:
    """Print SDR per source of the network and the baselines, then the other measures."""
    rows = {"this network": [metrics[f"sdr_{source}"] for source in sources]} | {k: list(v) for k, v in baselines.items()}
    scored = [name for name in METRICS[1:] if f"{name}_{sources[0]}" in metrics]
    extra = {name.upper(): [metrics[f"{name}_{source}"] for source in sources] for name in scored}
    extra["uSDR (mean of tracks)"] = [metrics[f"usdr_{source}"] for source in sources]
    width = max(map(len, [*rows, *extra]))
    columns = [*sources, "mean"]
    lines = [f"\n{heading}", f"{'SDR in dB':{width}}  " + "".join(f"{name:>9}" for name in columns)]
    lines += [_line(name, values, width) for name, values in rows.items()]
    lines += ["", *(_line(name, values, width) for name, values in extra.items())]
    lines += ["", f"per track    {folder / 'tracks.csv'}, in museval's schema {folder / 'tracks' / 'test'}"]
    lines += [f"picture      {folder / 'figures' / 'tracks.png'}", f"scores       {folder / 'metrics.json'}"]
    print("\n".join(lines), flush=True)


def _line(name: str, values: Sequence[float], width: int) -> str:
    return f"{name:{width}}  " + "".join(f"{value:9.2f}" for value in [*values, float(np.mean(values))])


class SeparationReport(Report):
    """Score every test track by BSSEval v4, write and print tables; tracks with stored scores are skipped.

    Args:
        bss: `sdr`, or `full` with ISR, SIR and SAR, which takes some seconds per minute of audio
        evaluator: own implementation, or the official package `museval`
        processes: worker processes that score tracks while the next is separated; 0: none
        baselines: `test` also scores silence, the mixture, equal shares of the mixture, and ideal ratio masks
        examples: validation pieces logged to W&B or TensorBoard after each validation (audio and spectrograms)
    """

    def __init__(
        self,
        bss: Literal["sdr", "full"] = "full",
        evaluator: Literal["quintet", "museval"] = "quintet",
        processes: int = 0,
        baselines: bool = False,
        examples: int = 2,
    ) -> None:
        if processes < 0 or examples < 0:
            raise ValueError(f"--report.processes and --report.examples must not be negative: {processes}, {examples}")
        self.bss, self.evaluator, self.processes = bss, evaluator, processes
        self.baselines, self.examples = baselines, examples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the folder of scores; tracks scored with the same weights and settings are skipped."""
        scoring = Scoring(
            tuple(pl_module.sources), pl_module.net.sample_rate, self.bss, self.evaluator, system=_fingerprint(pl_module)
        )
        self.tracks = TrackEvaluator(Path(trainer.default_root_dir) / "tracks", scoring, self.processes)
        self.unread: dict[str, str] = {}
        self.baseline_sdr: dict[str, list[np.ndarray]] = {}
        tracks = () if run_info(trainer).overwrite else trainer.datamodule.tracks("test")
        pl_module.skip_tracks({track.name for track in tracks if self.tracks.done(track.name)})

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TrackBatch, *_: Any) -> None:
        """Score the separated track."""
        if batch.error:
            self.unread[batch.name] = batch.error
            return
        stems, mixture = batch.waveforms()
        if outputs is None:
            self.tracks.keep(batch.name, batch.index)
        else:
            self.tracks.submit(batch.name, batch.index, interleaved(stems), interleaved(outputs))
        if self.baselines:
            for name, sdr in baselines(stems, mixture, pl_module).items():
                self.baseline_sdr.setdefault(name, []).append(sdr)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for all tracks and log the scores of all ranks."""
        self.results = self.tracks.finish()
        self.scores = SeparationScores(pl_module.sources).to(pl_module.device)
        for result in self.results:
            if result.error is None:
                self.scores.update(result.index, result.medians, result.usdr)
        self.metrics = self.scores.compute()
        if not self.metrics["n_tracks"]:
            raise DataError(f"no track of the test split could be scored ({self._first_error()}): {trainer.datamodule.advice()}")
        pl_module.log_dict({f"test/{name}": value for name, value in self.metrics.items()}, rank_zero_only=False)

    def report(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        """Write and print the scores: of whole tracks in `test`, of pieces without Wiener filter in `validate`."""
        if split == "validation":
            if trainer.is_global_zero and not trainer.fast_dev_run:
                write_validation(Path(trainer.default_root_dir) / "metrics_validation.json", trainer)
            return
        rows = self.scores.scores()  # gathers: every rank takes part
        failed = {result.name: result.error for result in self.results if result.error}
        own = ({result.index: result.name for result in self.results}, {**self.unread, **failed}, self.baseline_sdr)
        ranks = _gather(trainer, own)
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        names, errors = ({key: value for rank in ranks for key, value in rank[i].items()} for i in (0, 1))
        gathered = {name: np.concatenate([rank[2].get(name, []) for rank in ranks]) for name in self.baseline_sdr}
        baselines = {name: np.nanmedian(values, axis=0) for name, values in gathered.items()}
        folder, sources = Path(trainer.default_root_dir), pl_module.sources
        heading = f"{shared_heading(about(trainer), counted(len(rows.track), 'track'))}, {POLICY}"
        write_tracks(folder / "tracks.csv", rows, names, sources)
        write_metrics(trainer, pl_module, self.metrics, baselines)
        draw_tracks(folder / "figures" / "tracks.png", rows, sources, heading)
        print_table(sources, self.metrics, baselines, heading, folder)
        for name, error in errors.items():
            print(f"not scored: {name}: {error}", flush=True)

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log stems and estimates of validation pieces."""
        log_examples(trainer, pl_module, self.examples)

    def _first_error(self) -> str:
        errors = [*self.unread.values(), *(result.error for result in self.results if result.error)]
        return errors[0] if errors else "the split is empty"


def _fingerprint(separator: LightningModule) -> str:
    """Hash of weights and inference options, 16 hex digits."""
    settings = settings_of(separator)
    # The residual is hashed only if used, so that scores from before this option stay valid.
    digest = hashlib.sha256(f"{settings!r}{' residual' if settings.residual else ''}".encode())
    for name, value in separator.separating.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _gather(trainer: Trainer, value: Any) -> list[Any]:
    """Objects of all ranks."""
    if trainer.world_size == 1:
        return [value]
    ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(ranks, value)
    return ranks
