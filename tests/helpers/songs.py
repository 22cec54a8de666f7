"""Songs on disk, and `predict` on them as the command line runs it."""

import numpy as np
import soundfile
import torch

from datamodules.separation.songs import Songs
from tasks.cli.trainer import Trainer
from tasks.separation.inference import File2Stems
from tasks.separation.writer import StemWriter
from tasks.writers.output_files import slug
from tests.helpers.layouts import tone
from tests.helpers.stub_separators import SOURCES, StandIn


def song(path, rate=8000, channels=2, seconds=1.7, seed=0, **how):
    """A song of tones and noise, every channel another."""
    tones = [tone(seconds, seed + c, rate) for c in range(channels)]
    how.setdefault("subtype", "FLOAT" if path.suffix == ".wav" else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack(tones, axis=1), rate, **how)
    return path


def stems_of(path, module=None):
    stems = File2Stems(module or StandIn())(path)
    return torch.cat(list(stems), dim=-1), stems


def predict(inputs, folder, module=None, strict=False, **how):
    """Run the verb as the command line does; returns the writer."""
    writer = StemWriter(str(folder), **{"picture": False} | how)
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False, enable_model_summary=False)
    data = Songs([str(one) for one in inputs], SOURCES, strict=strict)
    super(Trainer, trainer).predict(module or StandIn(), datamodule=data, return_predictions=False)
    return writer


def place(folder, path):
    """Folder of a song's stems, where no other song has its name."""
    return folder / slug(path.stem)
