"""Published musicnn weights (Pons and Serra 2019) -> state dict of `Musicnn`."""

import ast
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.tagging.musicnn import FORMS, Musicnn
from models.tagging.tf_bundle import variables

LABELS = "labels"
FETCH = "download the wheel by `pip download --no-deps musicnn==0.1.0`"
# State of the optimizer in a checkpoint: moments and step counts
OPTIMIZER = ("Adam", "Adam_1", "beta1_power", "beta2_power")
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
LAYER = {"kernel": "weight", "bias": "bias"}


class ImportedTagger(NamedTuple):
    """Imported weights: Musicnn(len(tags), **init_args).load_state_dict(state_dict)."""

    state_dict: dict[str, Tensor]
    tags: list[str]
    init_args: dict[str, Any]


def load_musicnn(path: str | Path, model: str = "MTT_musicnn") -> ImportedTagger:
    """Published musicnn weights for `Musicnn`, form "original".

    Nothing is executed or unpickled, and TensorFlow is not needed.

    Args:
        path: the musicnn package as a wheel or unpacked, or an .npz with its variables by TensorFlow name and the tags as
            `labels`
        model: model of the package (MTT_musicnn: MagnaTagATune, MSD_musicnn: Million Song Dataset)

    Raises:
        ValueError: missing, unknown or misshaped variables; the message names file and variable.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist: {FETCH}")
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither an .npz nor the musicnn package: {FETCH}")
    try:
        arrays, tags = _read_npz(path) if path.suffix == ".npz" else _read_package(path, model)
        return ImportedTagger(convert_musicnn(arrays, len(tags)), tags, _sizes(arrays))
    except Exception as error:  # damaged archives raise various errors of zipfile and NumPy
        raise ValueError(f"{path}: {error}") from error


def convert_musicnn(arrays: dict[str, np.ndarray], n_tags: int) -> dict[str, Tensor]:
    """Variables by TensorFlow name -> state dict of Musicnn(n_tags, "original", ...).

    Raises ValueError for a variable that is missing, unknown, of the wrong shape or not finite.
    """
    names = _names()
    missing, extra = sorted(set(names) - set(arrays)), sorted(set(arrays) - set(names))
    if missing:
        raise ValueError(f"variable {missing[0]} is missing, expected {len(names)} variables ({len(missing)} missing)")
    if extra:
        raise ValueError(f"unknown variable {extra[0]}, musicnn has {len(names)} others ({len(extra)} unknown)")
    with torch.device("meta"):
        target = Musicnn(n_tags, "original", **{k: v for k, v in _sizes(arrays).items() if k != "form"}).state_dict()
    state = {key: torch.zeros((), dtype=torch.int64) for key in target if key.endswith("num_batches_tracked")}
    for name, key in names.items():
        array, expected = arrays[name], _tf_shape(tuple(target[key].shape))
        if array.shape != expected:
            raise ValueError(f"variable {name} has shape {array.shape}, expected {expected}")
        if not np.isfinite(array).all():
            raise ValueError(f"variable {name} contains values that are not finite")
        if key.startswith("pooled.") or key == "dense.weight":
            array = _by_pooling(array)
        state[key] = torch.from_numpy(array.T.astype(np.float32)).reshape(target[key].shape).contiguous()
    return state


def _names() -> dict[str, str]:
    """TensorFlow names -> our names. Layers of a kind are numbered in the order of their construction."""
    front, middle = len(FORMS["original"].heights + FORMS["original"].lengths), 3
    layers = [f"front.{i}.conv" for i in range(front)] + [f"middle.{i}.0" for i in range(middle)]
    norms = ["norm", *(f"front.{i}.act.norm" for i in range(front)), *(f"middle.{i}.1.norm" for i in range(middle))]
    kinds = (
        ("conv2d", LAYER, layers),
        ("batch_normalization", NORM, [*norms, "pooled.0", "act.norm"]),
        ("dense", LAYER, ["dense", "head"]),
    )
    return {
        f"{kind}{f'_{i}' if i else ''}/{theirs}": f"{ours}.{parameter}"
        for kind, parameters, modules in kinds
        for i, ours in enumerate(modules)
        for theirs, parameter in parameters.items()
    }


def _sizes(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arguments of Musicnn from the shapes of the variables."""
    sizes = {"form": "original"}
    for argument, name in (("width", "conv2d_5/kernel"), ("dense", "dense/kernel")):
        if arrays[name].ndim == 0:
            raise ValueError(f"variable {name} is a single number, expected a kernel")
        sizes[argument] = arrays[name].shape[-1]
    return sizes


def _tf_shape(ours: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a kernel in TensorFlow: (time, frequency, in, out), with channels in place of frequency in the middle layers."""
    if len(ours) == 3:
        return (ours[2], ours[1], 1, ours[0])
    return ours[::-1]


def _by_pooling(array: np.ndarray) -> np.ndarray:
    """Reorder interleaved (maximum, mean) of channels to all maxima, then all means."""
    return np.concatenate([array[0::2], array[1::2]])


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    with np.load(path, allow_pickle=False) as archive:
        if LABELS not in archive.files:
            raise ValueError(f"array '{LABELS}' with the tags is missing")
        labels = archive[LABELS]
        if labels.ndim != 1 or labels.dtype.kind != "U" or not len(labels):
            raise ValueError(f"'{LABELS}' is {labels.dtype} of shape {labels.shape}, expected a list of strings, the tags")
        return {name: archive[name] for name in archive.files if name != LABELS}, labels.tolist()


def _read_package(path: Path, model: str) -> tuple[dict[str, np.ndarray], list[str]]:
    root = zipfile.Path(path) / "musicnn" if path.is_file() else path
    folder = root / model
    if not (folder / ".index").is_file():
        raise ValueError(f"model {model} not found: {FETCH}, with MTT_musicnn and MSD_musicnn")
    arrays = variables((folder / ".index").read_bytes(), (folder / ".data-00000-of-00001").read_bytes())
    constants = _constants((root / "configuration.py").read_text(encoding="utf-8"))
    return (
        {name: array for name, array in arrays.items() if name.rpartition("/")[2] not in OPTIMIZER},
        list(constants[f"{model.partition('_')[0]}_LABELS"]),
    )


def _constants(source: str) -> dict[str, Any]:
    """Assignments of list literals in a Python source, which is not executed."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.List)
    }
