"""What the tests of tagging data share: a small window, a stand-in for a network's level, batches, broken files."""

import numpy as np
import torch

from datamodules.audio.windows import Window
from datamodules.common.input_spec import TaggingSpec
from datamodules.tagging.folder import Folder
from tests.helpers.layouts import tone, write_audio, write_mtat

RATE = 16_000
WINDOW = Window(RATE, 16_384 + 512, 256, 256)


def peak_level(sound):
    return 20 * torch.log10(sound.float().abs().amax(1) / 32768 + 1e-5)


def ready(data, window=WINDOW, level=None):
    data.connect(TaggingSpec(window, level))
    return data


def crops_of(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(one, other):
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one[:6], other[:6], strict=True))


def table(root, text, files=()):
    root.mkdir(exist_ok=True)
    (root / "clips.csv").write_text(text)
    for file in files:
        write_audio(root / file, tone(0.1))
    return str(root)


def harmed(root, n=32):
    """An MTAT root with a missing, an empty, a text and a NaN file in train, and a text file in validation and test."""
    write_mtat(root, n=n, mp3=False, seconds=1.5)
    files = {path.name.split("-")[3]: path for path in root.rglob("*.wav")}
    files["piece_0"].unlink()
    files["piece_1"].write_bytes(b"")
    files["piece_2"].write_text("no sound\n" * 99)
    sound = np.full(24_000, np.nan, np.float32)
    write_audio(files["piece_3"], sound)
    files["piece_12"].write_text("no sound\n" * 99)
    files["piece_13"].write_text("no sound\n" * 99)
    return {name: str(path) for name, path in files.items()}


def lone_clip(root, sound, rate=RATE, ending="wav"):
    """A folder whose first training clip is `sound`."""
    text = f"file,split,loud\nx.{ending},train,1\ny.wav,valid,1\nz.wav,test,1\n"
    table(root, text, ["y.wav", "z.wav"])
    write_audio(root / f"x.{ending}", sound, rate)
    return ready(Folder(str(root), batch_size=1, cache_dir=str(root / "cache")), level=peak_level)
