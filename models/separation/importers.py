"""Published weights of Open-Unmix and of asteroid's X-UMX as state dicts of our UMX."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.separation.umx import UMX, max_bin

RATE = 44_100  # of all published weights that do not say otherwise
# What older versions of Open-Unmix saved beside the layers: the transform's window and the rate.
BESIDE = {"sample_rate", "stft.window", "transform.0.window"}
WINDOWS = {"encoder.0.window", "decoder.window"}
ASTEROID_LAYERS = {
    "layer_enc.{}.enc.0": "fc1",
    "layer_enc.{}.enc.1": "bn1",
    "layer_lstm.{}": "lstm",
    "layer_dec.{}.dec.0": "fc2",
    "layer_dec.{}.dec.1": "bn2",
    "layer_dec.{}.dec.3": "fc3",
    "layer_dec.{}.dec.4": "bn3",
}
SCALES = ("input_mean", "input_scale", "output_mean", "output_scale")


class ImportedSeparator(NamedTuple):
    """All that makes a network of ours from weights of others: UMX(len(sources), **init_args).load_state_dict(state_dict)."""

    state_dict: dict[str, Tensor]
    sources: list[str]
    init_args: dict[str, Any]


def from_openunmix(
    states: Mapping[str, Mapping[str, Tensor]],
    sources: Sequence[str] | None = None,
    sample_rate: int | None = None,
    hop: int | None = None,
) -> ImportedSeparator:
    """One state dict per target (`vocals.pth`, ... of umx, umxhq, umxl, umxse or a training) -> a UMX without bridge.

    `sources`: the targets in the order wanted, by default as they are given. What the weights do not tell is 44,100 Hz and a
    hop of a quarter of the transform unless said otherwise (umxse: 16,000 and 512).

    Raises ValueError, naming target and parameter, unless every parameter is there once, with its shape, and no other.
    """
    if not all(isinstance(state, Mapping) for state in states.values()):
        raise ValueError("Expected one state dict per target, such as {'vocals': ..., 'drums': ...}, not a single one.")
    ordered = _ordered(states, sources)
    rates = [int(state["sample_rate"]) for state in ordered.values() if "sample_rate" in state]
    layers = {target: {name: value for name, value in state.items() if name not in BESIDE} for target, state in ordered.items()}
    return _join(layers, False, sample_rate or (rates[0] if rates else RATE), hop)


def from_asteroid(
    state: Mapping[str, Any],
    sources: Sequence[str] | None = None,
    sample_rate: int | None = None,
    hop: int | None = None,
) -> ImportedSeparator:
    """State dict of asteroid's XUMX, or its published file (`state_dict` with `model_args` beside) -> a UMX with bridge.

    `sources`, `sample_rate`, `hop`: as in `from_openunmix`, and as in `model_args` where they are there.

    Raises ValueError, naming source and parameter, unless every parameter is there once, with its shape, and no other.
    """
    given = dict(state.get("model_args") or {})
    state = state.get("state_dict", state)
    if given.get("spec_power", 1) != 1:
        raise ValueError(f"spec_power is {given['spec_power']}: only networks on magnitudes (spec_power 1) can be imported.")
    names = list(dict.fromkeys(name.split(".")[1] for name in state if name.startswith("layer_enc.")))
    if not names:
        raise ValueError("There is no parameter layer_enc.<source>...: this is not the state dict of asteroid's XUMX.")
    layers: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, value in state.items():
        if key not in WINDOWS:
            source, name = _from_asteroid_name(key, names)
            layers[source][name] = value
    return _join(_ordered(layers, sources), True, sample_rate or int(given.get("sample_rate", RATE)), hop or given.get("n_hop"))


def _from_asteroid_name(key: str, sources: Sequence[str]) -> tuple[str, str]:
    """Source and Open-Unmix's name of one of XUMX's parameters."""
    for source in sources:
        for theirs, ours in ASTEROID_LAYERS.items():
            prefix = theirs.format(source) + "."
            if key.startswith(prefix):
                return source, f"{ours}.{key.removeprefix(prefix)}"
        for scale in SCALES:
            if key == f"mean_scale.{scale}_{source}":
                return source, scale
    raise ValueError(f"{key} is none of the parameters of asteroid's XUMX with the sources {', '.join(sources)}.")


def _ordered(states: Mapping[str, Any], sources: Sequence[str] | None) -> dict[str, Any]:
    sources = list(states) if sources is None else list(sources)
    if not sources or set(sources) != set(states):
        raise ValueError(f"There are weights for {', '.join(states) or 'no source'}, expected {', '.join(sources) or 'some'}.")
    return {source: states[source] for source in sources}


def _join(layers: Mapping[str, Mapping[str, Tensor]], bridge: bool, sample_rate: int, hop: int | None) -> ImportedSeparator:
    """Layers of all sources by Open-Unmix's names, checked against a network of the size that the first of them has."""
    first, state = next(iter(layers.items()))
    init_args = {"bridge": bridge, **_sizes(first, state, sample_rate)}
    init_args["hop"] = hop or init_args["n_fft"] // 4
    with torch.device("meta"):
        expected = UMX(1, **init_args).branch(0).state_dict()
    for source, state in layers.items():
        _check(source, state, expected)
    joined = {
        f"branches.{index}.{name}": state[name].detach().to("cpu", expected[name].dtype).clone()
        for index, state in enumerate(layers.values())
        for name in expected
    }
    return ImportedSeparator(joined, list(layers), init_args)


def _check(source: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing:
        raise ValueError(f"{source}: parameter {missing[0]} is missing, {len(expected)} are expected ({len(missing)} missing).")
    if extra:
        raise ValueError(f"{source}: {extra[0]} is none of the {len(expected)} parameters expected ({len(extra)} unknown).")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            wanted = tuple(expected[name].shape)
            raise ValueError(f"{source}: parameter {name} has the shape {tuple(value.shape)}, expected {wanted}.")
        if not value.isfinite().all():
            raise ValueError(f"{source}: parameter {name} holds values that are not finite.")


def _sizes(source: str, state: Mapping[str, Tensor], sample_rate: int) -> dict[str, Any]:
    """Arguments of UMX that the shapes of one source's parameters tell."""
    needed = {"fc1.weight": 2, "input_mean": 1, "output_mean": 1, "lstm.weight_ih_l0": 2}
    for name, axes in needed.items():
        if name not in state:
            raise ValueError(f"{source}: parameter {name} is missing: these are not the weights of an Open-Unmix network.")
        if state[name].dim() != axes or not state[name].numel():
            raise ValueError(f"{source}: parameter {name} has the shape {tuple(state[name].shape)}, expected {axes} axes.")
    hidden, heard = state["fc1.weight"].shape
    bins_in, bins = len(state["input_mean"]), len(state["output_mean"])
    return {
        "hidden": hidden,
        "layers": sum(name.startswith("lstm.weight_ih_l") and not name.endswith("_reverse") for name in state),
        "unidirectional": "lstm.weight_ih_l0_reverse" not in state,
        "channels": max(heard // bins_in, 1),
        "sample_rate": sample_rate,
        "n_fft": 2 * (bins - 1),
        "bandwidth": _bandwidth(bins_in, bins, sample_rate),
    }


def _bandwidth(bins_in: int, bins: int, sample_rate: int) -> float | None:
    """The bandwidth in whole Hz, if there is one, that makes a network hear this number of bins."""
    if bins_in >= bins:
        return None
    exact = (bins_in - 1) * sample_rate / (2 * (bins - 1))
    rounded = float(math.ceil(exact))
    return rounded if max_bin(rounded, sample_rate, 2 * (bins - 1)) == bins_in else exact
