"""A tiny data set in DCASE 2018 task 4's layout, and words that train on it in seconds."""

from pathlib import Path

import numpy as np
import soundfile

from datamodules.sed.dcase import CLASSES

RATE = 8_000
STRONG = ("filename", "onset", "offset", "event_label")

NETWORK = (
    "--model.net.mel.class_path=models.sed.MelFrontEnd",
    "--model.net.mel.init_args={sample_rate: 8000, n_fft: 256, hop: 160, n_mels: 16}",
    "--model.net.channels=[2, 4]",
    "--model.net.pools=[[2, 4], [2, 4]]",
    "--model.net.hidden=4",
    "--model.net.layers=1",
)
SHORT = (
    "--data.streams={weak: 2, unlabeled: 2}",
    "--data.batches_per_epoch=3",
    "--data.num_workers=0",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--report.psds=false",
    "--report.pictures=1",
    "--report.pictures=1",
)


def write_table(path: Path, header, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")


def write_tone(path: Path, seconds: float, events=(), rate: int = RATE) -> None:
    """Noise with a tone for each (onset, offset, Hz)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.01 * np.random.default_rng(len(events)).standard_normal(len(time))
    for onset, offset, hz in events:
        sound += 0.4 * np.sin(2 * np.pi * hz * time) * ((time >= onset) & (time < offset))
    soundfile.write(path, sound, rate, subtype="PCM_16")


def write_dcase2018(root: Path, weak: int = 4, unlabeled: int = 4, tested: int = 5, seconds: float = 2.0) -> Path:
    """Every clip has a tone of its class from 0.5 s to 1.5 s; the last tested clip is silent and has no event."""
    for kind, count in (("weak", weak), ("unlabel_in_domain", unlabeled)):
        names = [f"Y{kind[:5]:_<10}{k}_0.000_2.000.wav" for k in range(count)]
        for k, name in enumerate(names):
            write_tone(root / "audio/train" / kind / name, seconds, [(0.5, 1.5, 300.0 * (1 + k % 10))])
        rows = [[name, CLASSES[k % 10]] if kind == "weak" else [name] for k, name in enumerate(names)]
        write_table(root / f"metadata/train/{kind}.csv", ["filename", "event_labels"][: len(rows[0])], rows)
    for table, folder, count in (("test/test.csv", "test", 3), ("eval/eval.csv", "eval", tested)):
        rows = []
        for k in range(count):
            events = [(0.5, 1.5, 300.0 * (1 + k % 10))] if k < count - 1 else []
            write_tone(root / "audio" / folder / f"{folder}{k}.wav", seconds + 0.3 * k, events)
            rows.append([f"{folder}{k}.wav", "0.5", "1.5", CLASSES[k % 10]] if events else [f"{folder}{k}.wav", "", "", ""])
        write_table(root / "metadata" / table, STRONG, rows)
    return root
