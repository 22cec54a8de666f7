"""Writer of `tests/fixtures`: `python -m tests.helpers.write_fixtures [NAME ...]` trains tiny runs, stops them in mid-epoch
and stores what they left with what it gives.

A fixture is what an earlier version of the suite wrote: what is here now is written by the commit "tests: store checkpoints of
the present layout". Run this for a new fixture only; to replace one hides that it cannot be read any more.
"""

import contextlib
import copy
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml

from tests.helpers.commands import command
from tests.helpers.fixture_runs import FIXTURES, machine, outputs_of, resumed, scores_of, write_data

PREEMPTED = 138
"""Exit status of a run that SIGUSR1 stopped."""


class SpoilGradient(pl.Callback):
    """Makes the gradient of one step infinite, so that the guard's counts in the checkpoint are not those of a fresh run."""

    def __init__(self, nth: int) -> None:
        self.nth, self.calls = nth, 0

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.calls += 1
        if self.calls == self.nth:
            for parameter in pl_module.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(float("inf"))


def main(names: list[str]) -> None:
    """Write the fixtures of these names, or all."""
    torch.set_num_threads(1)
    FIXTURES.mkdir(exist_ok=True)
    for name in names or SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {"QUINTET_CACHE": str(Path(folder) / "cache"), "WANDB_MODE": "offline"}
            write(name, Path(folder))
        size = (FIXTURES / f"{name}.ckpt").stat().st_size
        print(f"{name:26} {size / 1000:6.1f} kB", flush=True)


def write(name: str, folder: Path) -> None:
    """Train, stop, store the checkpoint, its config, and what `test` and the rest of the training make of it."""
    task, stop, config, tested = SETTINGS[name]
    write_data(folder, task)
    config = merged(COMMON, config)
    callbacks = config["trainer"].setdefault("callbacks", [])
    callbacks += [
        {"class_path": "tests.helpers.write_fixtures.SpoilGradient", "init_args": {"nth": stop}},
        {"class_path": "tests.helpers.toy.Stop", "init_args": {"hook": "on_train_batch_end", "nth": stop, "how": "SIGUSR1"}},
    ]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    with contextlib.chdir(folder):
        done = command(task, "fit", "--config", f"{name}.yaml", "--test_after_fit", "false")
    assert done.code == PREEMPTED, f"{name} left with {done.code}: {done.err[-3000:]}"
    run = folder / "runs" / task / name
    shutil.copyfile(run / "checkpoints" / "last.ckpt", FIXTURES / f"{name}.ckpt")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["trainer"]["callbacks"] = [kind for kind in callbacks if not kind["class_path"].startswith("tests.")]
    (FIXTURES / f"{name}.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    facts = {
        "task": task,
        "machine": machine(),
        "outputs": outputs_of(FIXTURES / f"{name}.ckpt"),
        "test_options": tested,
        "metrics": scores_of(folder, name, task, tested),
        "resumed": resumed(folder, name, task, f"{name}_resumed"),
    }
    (FIXTURES / f"{name}.json").write_text(json_lines(facts) + "\n")


def json_lines(value: Any, depth: int = 0) -> str:
    """JSON with one line for each tensor and each list, so that a difference can be read."""
    if not isinstance(value, dict) or not value or "sha256" in value:
        return json.dumps(value)
    indent = " " * (depth + 1)
    lines = [f"{indent}{json.dumps(key)}: {json_lines(item, depth + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"


def merged(*configs: dict[str, Any]) -> dict[str, Any]:
    """Nested settings, the later ones winning."""
    result: dict[str, Any] = {}
    for config in copy.deepcopy(configs):
        for key, value in config.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


COMMON = {
    "seed_everything": 4,
    "threads": 1,
    "trainer": {
        "max_epochs": 3,
        "accelerator": "cpu",
        "devices": 1,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    },
    "data": {"init_args": {"num_workers": 0}},
}
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0e-3}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0e-3, "momentum": 0.9}}

TAGGING = {
    "model": {
        "net": {
            "class_path": "models.tagging.FrontBack",
            "init_args": {
                "front_end": {
                    "class_path": "models.tagging.Spec",
                    "init_args": {
                        "channels": 1,
                        "width": 8,
                        "frames": 64,
                        "time_stride": 4,
                        "mel": {
                            "class_path": "models.blocks.LogMel",
                            "init_args": {"n_mels": 32, "n_fft": 512, "hop": 256, "db": "power"},
                        },
                    },
                },
                "back_end": {"class_path": "models.tagging.Att", "init_args": {"layers": 1, "heads": 2, "feed_forward": 16}},
            },
        },
        "optimizer": ADAM,
    },
    "data": {
        "class_path": "datamodules.MTAT",
        "init_args": {"root": "data/tagging", "pack": "never", "batch_size": 8, "policy": "cover"},
    },
    "trainer": {
        "callbacks": [
            {
                "class_path": "tasks.callbacks.OptimizerSwitch",
                "init_args": {
                    "monitor": "val/auroc_macro",
                    "mode": "max",
                    "phases": [
                        {"epoch": 0, "optimizer": ADAM},
                        {"epoch": 1, "optimizer": SGD},
                        {"epoch": 2, "optimizer": SGD},
                    ],
                },
            }
        ],
    },
    "report": {"baselines": False, "gallery": False, "resamples": 20, "examples": 0},
}
SED = {
    "model": {
        "net": {
            "class_path": "models.sed.DetectionCRNN",
            "init_args": {
                "mel": {
                    "class_path": "models.sed.MelFrontEnd",
                    "init_args": {"sample_rate": 8000, "n_fft": 256, "hop": 160, "n_mels": 16},
                },
                "channels": [2, 4],
                "pools": [[2, 4], [2, 4]],
                "hidden": 4,
                "layers": 1,
            },
        },
        "mean_teacher": {"class_path": "tasks.callbacks.MeanTeacher", "init_args": {"decay": 0.9}},
        "augmentations": [{"class_path": "models.augment.FrameShift"}],
        "optimizer": ADAM,
        "scheduler": {"class_path": "tasks.sed.RampDecay"},
    },
    "data": {
        "class_path": "datamodules.DCASE2018",
        "init_args": {
            "root": "data/sed",
            "streams": {"weak": 2, "unlabeled": 2},
            "batches_per_epoch": 3,
            "eval_batch_size": 4,
            "pack": "never",
        },
    },
    "report": {"psds": False, "pictures": 0, "examples": 0},
}
SEPARATION = {
    "model": {
        "net": {
            "class_path": "models.separation.UMX",
            "init_args": {"hidden": 4, "layers": 1, "n_fft": 64, "hop": 32, "bandwidth": 3000.0, "sample_rate": 8000},
        },
        "loss": {"class_path": "losses.MultiDomainLoss", "init_args": {"multi_domain": True, "combination": True}},
        "optimizer": ADAM,
        "scheduler": {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {"factor": 0.3, "patience": 0}},
    },
    "data": {
        "class_path": "datamodules.MUSDBHQ",
        "init_args": {
            "root": "data/separation",
            "sources": ["drums", "vocals"],
            "sample_rate": 8000,
            "seconds": 0.5,
            "samples_per_track": 2,
            "batch_size": 2,
            "validation_seconds": 1.0,
        },
    },
    "report": {"bss": "sdr", "baselines": False, "examples": 0},
}
PER_SOURCE = {
    "model": {
        "net": {"init_args": {"bridge": False, "center": False, "unidirectional": True}},
        "loss": {"init_args": {"multi_domain": False, "combination": False}},
        "one_optimizer": False,
        "patience": 20,
        "optimizer": SGD,
    }
}
ALIGNMENT = {
    "model": {
        "net": {
            "class_path": "models.alignment.FrameNet",
            "init_args": {
                "front": {"class_path": "models.alignment.front.CQT", "init_args": {"bins": 72}},
                "channels": [2, 4, 4],
                "embedding": 8,
            },
        },
        "objective": {
            "class_path": "tasks.alignment.PairObjective",
            "init_args": {"loss": {"class_path": "losses.ContrastiveLoss", "init_args": {"margin": 1.0}}},
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0e-3}},
        "scheduler": {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": {"max_lr": 1.0e-3, "total_steps": 12}},
    },
    "data": {
        "class_path": "datamodules.MAPS",
        "init_args": {"root": "data/alignment", "split": "piece", "items": 6, "batch_size": 2, "frames": 16, "pairs": 8},
    },
    "report": {"baselines": False, "resamples": 20, "pictures": 0, "examples": 0},
}
GENERATION = {
    "model": {"optimizer": ADAM},
    "data": {
        "class_path": "datamodules.GenerationDataModule",
        "init_args": {
            "root": "data/generation",
            "corpus": {"class_path": "datamodules.generation.corpora.JSB"},
            "transpose": 1,
            "crop": 16,
            "items": 12,
            "batch_size": 4,
        },
    },
    "report": {"baseline": False, "measured": 2, "pieces": 1, "bars": 2, "resamples": 20, "sound": False, "examples": 0},
}
GRU = {
    "model": {
        "net": {
            "class_path": "models.generation.NextStep",
            "init_args": {
                "core": {"class_path": "models.generation.cores.RNNCore", "init_args": {"kind": "gru", "width": 8}},
                "head": {"class_path": "models.generation.heads.VoiceHead", "init_args": {"hidden": 8}},
                "embedding": 4,
                "dropout": 0.3,
            },
        },
        "survey": {"system": "GRU"},
    }
}
VOICES = {
    "data": {
        "init_args": {
            "view": {"class_path": "datamodules.generation.views.VoiceGrid", "init_args": {"ranges": "learned", "spread": 0}}
        }
    }
}
DEEPHEAR = {
    "model": {
        "net": {
            "class_path": "models.generation.StackedAutoencoder",
            "init_args": {"window": 8, "widths": [8, 6], "bottleneck": 4, "pretrain_steps": 2},
        },
        "survey": {"system": "DeepHear_M", "architecture": ["StAE"], "strategy": ["sfF"]},
    },
    "data": {
        "init_args": {
            "view": {"class_path": "datamodules.generation.views.PianoRoll", "init_args": {"steps": 2, "low": 36, "high": 84}},
            "crop": 8,
            "align": 8,
            "windows": True,
        }
    },
}
MIDINET = {
    "model": {
        "net": {
            "class_path": "models.generation.MidiNet",
            "init_args": {"noise": 2, "dense": 4, "channels": 1, "conditioner": 1, "judging": [1, 2]},
        },
        "optimizer": SGD,
        "survey": {"system": "MidiNet", "architecture": ["GAN"], "strategy": ["sfF"]},
    },
    "data": {"init_args": {"view": {"class_path": "datamodules.generation.views.BarImage"}, "crop": 2}},
    "trainer": {"gradient_clip_val": None},
}
DEEPBACH = {
    "model": {
        "net": {
            "class_path": "models.generation.DeepBach",
            "init_args": {"width": 4, "hidden": 4, "layers": 1, "embedding": 4, "context": 4, "chunk": 8, "iterations": 4},
        },
        "optimizer": SGD,
        "survey": {"system": "DeepBach", "architecture": ["Fd", "RNN"], "strategy": ["S"]},
    }
}


def report_options(config: dict[str, Any]) -> list[str]:
    """Options of `test` that ask for the same report as a config."""
    return [f"--report.{name}={str(value).lower()}" for name, value in config["report"].items()]


SETTINGS: dict[str, tuple[str, int, dict[str, Any], list[str]]] = {
    "tagging_spec_att": ("tagging", 3, TAGGING, report_options(TAGGING)),
    "sed_mean_teacher": ("sed", 5, SED, report_options(SED)),
    "separation_one_optimizer": ("separation", 5, SEPARATION, report_options(SEPARATION)),
    "separation_per_source": ("separation", 5, merged(SEPARATION, PER_SOURCE), report_options(SEPARATION)),
    "alignment_frame_net": ("alignment", 5, ALIGNMENT, report_options(ALIGNMENT)),
    "generation_gru": ("generation", 5, merged(GENERATION, VOICES, GRU), report_options(GENERATION)),
    "generation_deephear_m": ("generation", 5, merged(GENERATION, DEEPHEAR), report_options(GENERATION)),
    "generation_midinet": ("generation", 5, merged(GENERATION, MIDINET), report_options(GENERATION)),
    "generation_deepbach": ("generation", 5, merged(GENERATION, VOICES, DEEPBACH), report_options(GENERATION)),
}
"""Name -> task, batch after which the run is stopped, its config, and options of its `test`."""


if __name__ == "__main__":
    main(sys.argv[1:])
