"""What `test` and `validate` leave of a separator: scores per track in museval's schema, metrics.json, tables, pictures."""

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
from tasks.separation.figures import PooledSpectrograms
from tasks.separation.metrics import SeparationScores, TrackScores
from tasks.separation.oracles import baselines
from tasks.separation.track_evaluator import Scoring, TrackEvaluator
from tasks.writers.output_files import write_figure, write_json

# The same few validation pieces after every validation, to be heard and looked at in W&B or TensorBoard.


def log_examples(trainer: Trainer, separator: LightningModule, count: int) -> None:
    """Log stems and estimates of `count` validation pieces, each of another track where there are as many."""
    data = trainer.datamodule
    pieces = data.validation_set()
    step = max(1, len(pieces) // count)
    for example in range(min(count, len(pieces))):
        piece = pieces[example * step]
        if piece is None:  # the validation itself has named this track
            continue
        batch = data.collate([piece])
        stems, mixture = (part.to(separator.device) for part in batch.waveforms())
        estimates = separator(mixture)
        title = f"{batch.names[0]}, {float(batch.start[0]):.0f} s"
        _log(trainer, separator, f"val/example_{example}", title, stems[0].cpu(), estimates[0].float().cpu())


def _log(trainer: Trainer, separator: LightningModule, name: str, title: str, stems: Tensor, estimates: Tensor) -> None:
    from tasks.separation.figures import estimate_grid

    rate = separator.net.sample_rate
    levels = []
    for signals in (stems, estimates):
        columns = PooledSpectrograms(rate, len(signals))
        columns.push(signals)
        level, hop_s = columns.close()
        levels.append(level)
    figure = estimate_grid(
        *levels, names=separator.sources, mel_hertz=columns.hertz, hop_s=hop_s, title=f"{title}: true stems and estimates"
    )
    log_media(trainer, name, figure=figure, caption=title)
    for source, estimate in zip(separator.sources, estimates, strict=True):
        log_media(trainer, f"{name}_{source}", audio=(estimate.T, rate), caption=f"{title}: {source}")


# The files and the table that a scored test split leaves.

POLICY = "bsseval v4, median of frames, median of tracks"
MEASURES = ("sdr", "isr", "sir", "sar")


def about(trainer: Trainer) -> dict[str, str]:
    """What the numbers were measured on and by."""
    data = trainer.datamodule
    return {"name": data.name, "subset": data.subset, "split": "test", "policy": POLICY, "mixture": data.mixture}


def write_tracks(path: Path, rows: TrackScores, names: Mapping[int, str], sources: Sequence[str]) -> None:
    """One line per track and source: medians over its frames, and uSDR, in dB."""
    table = [
        {
            "track": names[int(track)],
            "source": source,
            **dict(zip(MEASURES, rows.medians[i, j].tolist(), strict=True)),
            "usdr": float(rows.usdr[i, j]),
        }
        for i, track in enumerate(rows.track)
        for j, source in enumerate(sources)
    ]
    write_csv(path, table)


def write_metrics(
    trainer: Trainer, separator: LightningModule, metrics: Mapping[str, float], others: Mapping[str, np.ndarray]
) -> None:
    """metrics.json with the baselines and the stems."""
    baselines = {name: [number(value) for value in values] for name, values in others.items()}
    write_shared_metrics(trainer, separator, about(trainer), metrics, baselines=baselines, sources=list(separator.sources))


def write_validation(path: Path, trainer: Trainer) -> None:
    """Write and print what the validation split gave: loss, and SDR of pieces without Wiener filter."""
    values = {name.removeprefix("val/"): float(value) for name, value in sorted(trainer.callback_metrics.items())}
    write_json(path, {"task": "separation", "data": about(trainer) | {"split": "validation"}, "metrics": values})
    print("\n".join(f"{name:16} {value:8.3f}" for name, value in values.items()) + f"\nscores  {path}", flush=True)


def draw_tracks(path: Path, rows: TrackScores, sources: Sequence[str], title: str) -> None:
    """SDR of every track, a column per source."""
    from tasks.separation.figures import score_boxes

    write_figure(path, score_boxes(dict(zip(sources, rows.medians[:, :, 0].T, strict=True)), title=title))


def print_table(
    sources: Sequence[str], metrics: Mapping[str, float], others: Mapping[str, np.ndarray], heading: str, folder: Path
) -> None:
    """SDR per stem of the network and of what it is held against; then the other measures."""
    rows = {"this network": [metrics[f"sdr_{source}"] for source in sources]} | {k: list(v) for k, v in others.items()}
    scored = [name for name in MEASURES[1:] if f"{name}_{sources[0]}" in metrics]
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
    """Score every test track by BSSEval v4, write and print the table; tracks scored before are not separated again.

    Args:
        bss: `sdr` alone, or `full`: ISR, SIR and SAR too, which take some seconds a minute of audio
        evaluator: this suite's own, or the official package `museval` for confirmation
        processes: that score tracks while the next is separated; 0: none beside this one
        baselines: `test` also scores silence, the mixture, the mixture divided by the number of stems and ideal masks
        examples: validation pieces that W&B or TensorBoard gets after each validation (audio and spectrograms)
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
        """Open the folder of scores; what it holds of the same weights and settings counts."""
        scoring = Scoring(
            tuple(pl_module.sources), pl_module.net.sample_rate, self.bss, self.evaluator, system=_fingerprint(pl_module)
        )
        self.tracks = TrackEvaluator(Path(trainer.default_root_dir) / "tracks", scoring, self.processes)
        self.unread: dict[str, str] = {}
        self.others: dict[str, list[np.ndarray]] = {}
        known = () if run_info(trainer).overwrite else trainer.datamodule.tracks("test")
        pl_module.skip_tracks({track.name for track in known if self.tracks.done(track.name)})

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TrackBatch, *_: Any) -> None:
        """Score the track that was just separated."""
        if batch.error:
            self.unread[batch.name] = batch.error
            return
        stems, mixture = batch.waveforms()
        if outputs is None:
            self.tracks.keep(batch.name, batch.index)
        else:
            self.tracks.submit(batch.name, batch.index, _interleaved(stems), _interleaved(outputs))
        if self.baselines:
            for name, sdr in baselines(stems, mixture, pl_module).items():
                self.others.setdefault(name, []).append(sdr)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last tracks and log the scores, the same on every rank."""
        self.results = self.tracks.finish()
        self.scores = SeparationScores(pl_module.sources).to(pl_module.device)
        for result in self.results:
            if result.error is None:
                self.scores.update(result.index, result.medians, result.usdr)
        self.metrics = self.scores.compute()
        if not self.metrics["n_tracks"]:
            raise DataError(f"no track of the test split could be scored ({self._first_fault()}): {trainer.datamodule.advice()}")
        pl_module.log_dict({f"test/{name}": value for name, value in self.metrics.items()}, rank_zero_only=False)

    def report(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        """The scores of whole tracks; of the validation split those of pieces, without Wiener filter."""
        if split == "validation":
            if trainer.is_global_zero and not trainer.fast_dev_run:
                write_validation(Path(trainer.default_root_dir) / "metrics_validation.json", trainer)
            return
        rows = self.scores.scores()  # gathers: every rank takes part
        failed = {result.name: result.error for result in self.results if result.error}
        mine = ({result.index: result.name for result in self.results}, {**self.unread, **failed}, self.others)
        ranks = _of_all_ranks(trainer, mine)
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        names, faults = ({key: value for rank in ranks for key, value in rank[i].items()} for i in (0, 1))
        others = {name: np.nanmedian(np.concatenate([rank[2].get(name, []) for rank in ranks]), axis=0) for name in self.others}
        folder, sources, told = Path(trainer.default_root_dir), pl_module.sources, about(trainer)
        heading = f"{shared_heading(told, counted(len(rows.track), 'track'))}, {POLICY}"
        write_tracks(folder / "tracks.csv", rows, names, sources)
        write_metrics(trainer, pl_module, self.metrics, others)
        draw_tracks(folder / "figures" / "tracks.png", rows, sources, heading)
        print_table(sources, self.metrics, others, heading, folder)
        for name, fault in faults.items():
            print(f"not scored: {name}: {fault}", flush=True)

    def show_examples(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stems and estimates of validation pieces."""
        log_examples(trainer, pl_module, self.examples)

    def _first_fault(self) -> str:
        faults = [*self.unread.values(), *(result.error for result in self.results if result.error)]
        return faults[0] if faults else "there is none"


def _fingerprint(separator: LightningModule) -> str:
    """Sixteen hex digits for weights and settings of separation."""
    settings = settings_of(separator)
    # The residual is named where there is one: scores kept before it was an option stay valid.
    digest = hashlib.sha256(f"{settings!r}{' residual' if settings.residual else ''}".encode())
    for name, value in separator.separating.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _interleaved(stems: Tensor) -> np.ndarray:
    """(sources, channels, samples) as (sources, samples, channels) float32."""
    return stems.detach().float().cpu().transpose(1, 2).contiguous().numpy()


def _of_all_ranks(trainer: Trainer, mine: Any) -> list[Any]:
    """An object of every rank."""
    if trainer.world_size == 1:
        return [mine]
    ranks: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(ranks, mine)
    return ranks
