"""Published Keras weights of deep salience (.h5) -> state dict of `DeepSalience`."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.alignment.salience import DeepSalience
from models.extractors.extractor import state_dict_of

MISSING = "package h5py: pip install -e '.[h5]'"
FETCH = "the files predict/weights/*.h5 of rabitt/ismir2017-deepsalience, or a DeepSalience saved by torch.save or safetensors"
CONVS = ("bendy1", "bendy2", "smoothy1", "smoothy2", "distribute", "squishy")
NORM = "batch_normalization"
TRAINED = "net.net."
"""Prefix of the network's tensors in checkpoints of the alignment task."""
PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def salience_weights(path: str) -> dict[str, Tensor]:
    """State dict of DeepSalience from a Keras .h5, a .safetensors, a checkpoint of `SalienceMap`, or a torch.save file.

    A Keras file needs the extra `h5` (h5py). Raises ValueError for missing, repeated, extra, misshaped or infinite variables.
    """
    if Path(path).suffix in (".h5", ".hdf5"):
        return converted(_arrays(path))
    state = state_dict_of(path)
    state = state.get("state_dict", state)
    within = {name.removeprefix(TRAINED): tensor for name, tensor in state.items() if name.startswith(TRAINED)}
    return within or state


def converted(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Variables by layer and name ("bendy1/kernel") -> state dict of DeepSalience."""
    with torch.device("meta"):
        state = DeepSalience().state_dict()
    names = _names(arrays)
    for name, key in names.items():
        if name not in arrays:
            raise ValueError(f"variable {name} is missing, expected {len(names)} variables")
        array = np.asarray(arrays[name])
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array  # Keras: bins, frames, in, out
        if array.shape != state[key].shape:
            raise ValueError(f"variable {name} has shape {arrays[name].shape}, which does not fit {tuple(state[key].shape)}")
        if not np.isfinite(array).all():
            raise ValueError(f"variable {name} contains values that are not finite")
        state[key] = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    extra = sorted(set(arrays) - set(names))
    if extra:
        raise ValueError(f"unknown variable {extra[0]}, deep salience has {len(names)} others")
    counts = [key for key in state if key.endswith("num_batches_tracked")]
    return state | {key: torch.zeros((), dtype=torch.int64) for key in counts}


def _names(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Keras names -> our names. Normalisation layers are numbered in the order of their construction."""
    layers = {name.split("/")[0] for name in arrays if name.startswith(f"{NORM}_")}
    norms = sorted(layers, key=lambda layer: (len(layer), layer))
    if len(norms) != len(CONVS):
        raise ValueError(f"{len(norms)} layers are called {NORM}_..., expected {len(CONVS)}")
    kinds = ("convs", CONVS, ("kernel", "bias")), ("norms", norms, ("gamma", "beta", "moving_mean", "moving_variance"))
    return {
        f"{layer}/{theirs}": f"{ours}.{index}.{PARAMETERS[theirs]}"
        for ours, layers, parameters in kinds
        for index, layer in enumerate(layers)
        for theirs in parameters
    }


def _arrays(path: str) -> dict[str, np.ndarray]:
    """Variables of a Keras file by layer and name; "bendy1/bendy1_14/kernel:0" becomes "bendy1/kernel"."""
    try:
        import h5py
    except ImportError as error:
        raise ValueError(MISSING) from error
    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            parts = name.split("/")
            short = f"{parts[0]}/{parts[-1].removesuffix(':0')}"
            if short in arrays:
                raise ValueError(f"duplicate variable {short}")
            arrays[short] = item[()]

    try:
        with h5py.File(path) as file:
            file.visititems(take)
    except OSError as error:
        raise ValueError("not an HDF5 file, or truncated") from error
    return arrays
