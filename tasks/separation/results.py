"""The files and the table that a scored test split leaves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from tasks.metrics.separation import TrackScores
from tasks.results import number
from tasks.results import write_metrics as write_shared_metrics
from tasks.tables import write_csv
from tasks.writers.whole import write_figure, write_json

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
    from tasks.figures.separation import score_boxes

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
