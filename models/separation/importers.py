"""Published weights of Open-Unmix and of asteroid's X-UMX -> state dict of `UMX`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.separation.umx import UMX, max_bin

RATE = 44_100  # Hz, default of published weights
# Further entries of older versions of Open-Unmix: window of the transform and sample rate
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
    """Imported weights: UMX(len(sources), **init_args).load_state_dict(state_dict)."""

    state_dict: dict[str, Tensor]
    sources: list[str]
    init_args: dict[str, Any]


def from_openunmix(
    states: Mapping[str, Mapping[str, Tensor]],
    sources: Sequence[str] | None = None,
    sample_rate: int | None = None,
    hop: int | None = None,
) -> ImportedSeparator:
    """Open-Unmix -> UMX without bridge.

    Args:
        states: one state dict per target (`vocals.pth`, ... of umx, umxhq, umxl, umxse or a training)
        sources: targets in the order of the result, by default as in `states`
        sample_rate: Hz, by default from the weights or 44,100 (umxse: 16,000)
        hop: samples, by default a quarter of the transform (umxse: 512)

    Raises:
        ValueError: missing, unknown or misshaped parameters; the message names target and parameter.
    """
    if not all(isinstance(state, Mapping) for state in states.values()):
        raise ValueError("Expected one state dict per target, such as {'vocals': ..., 'drums': ...}, got a single one.")
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
    """X-UMX of asteroid -> UMX with bridge.

    Args:
        state: state dict of XUMX, or its published file (`state_dict` and `model_args`)
        sources: see `from_openunmix`
        sample_rate: see `from_openunmix`, by default from `model_args`
        hop: see `from_openunmix`, by default from `model_args`

    Raises:
        ValueError: missing, unknown or misshaped parameters; the message names source and parameter.
    """
    settings = dict(state.get("model_args") or {})
    state = state.get("state_dict", state)
    if settings.get("spec_power", 1) != 1:
        raise ValueError(f"spec_power is {settings['spec_power']}: only networks on magnitudes (spec_power 1) can be imported.")
    names = list(dict.fromkeys(name.split(".")[1] for name in state if name.startswith("layer_enc.")))
    if not names:
        raise ValueError("Parameter layer_enc.<source>... not found: this is not the state dict of asteroid's XUMX.")
    layers: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, value in state.items():
        if key not in WINDOWS:
            source, name = _from_asteroid_name(key, names)
            layers[source][name] = value
    return _join(
        _ordered(layers, sources), True, sample_rate or int(settings.get("sample_rate", RATE)), hop or settings.get("n_hop")
    )


def _from_asteroid_name(key: str, sources: Sequence[str]) -> tuple[str, str]:
    """Source, and name in Open-Unmix, of a parameter of XUMX."""
    for source in sources:
        for theirs, ours in ASTEROID_LAYERS.items():
            prefix = theirs.format(source) + "."
            if key.startswith(prefix):
                return source, f"{ours}.{key.removeprefix(prefix)}"
        for scale in SCALES:
            if key == f"mean_scale.{scale}_{source}":
                return source, scale
    raise ValueError(f"{key} is not a parameter of asteroid's XUMX with the sources {', '.join(sources)}.")


def _ordered(states: Mapping[str, Any], sources: Sequence[str] | None) -> dict[str, Any]:
    sources = list(states) if sources is None else list(sources)
    if not sources or set(sources) != set(states):
        raise ValueError(
            f"Got weights for {', '.join(states) or 'no source'}, expected {', '.join(sources) or 'at least one source'}."
        )
    return {source: states[source] for source in sources}


def _join(layers: Mapping[str, Mapping[str, Tensor]], bridge: bool, sample_rate: int, hop: int | None) -> ImportedSeparator:
    """Join the layers of all sources, checked against a network of the size of the first one."""
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
        raise ValueError(
            f"{source}: parameter {missing[0]} is missing, expected {len(expected)} parameters ({len(missing)} missing)."
        )
    if extra:
        raise ValueError(f"{source}: unknown parameter {extra[0]}, expected {len(expected)} others ({len(extra)} unknown).")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            shape = tuple(expected[name].shape)
            raise ValueError(f"{source}: parameter {name} has shape {tuple(value.shape)}, expected {shape}.")
        if not value.isfinite().all():
            raise ValueError(f"{source}: parameter {name} contains values that are not finite.")


def _sizes(source: str, state: Mapping[str, Tensor], sample_rate: int) -> dict[str, Any]:
    """Arguments of UMX from the shapes of one source's parameters."""
    needed = {"fc1.weight": 2, "input_mean": 1, "output_mean": 1, "lstm.weight_ih_l0": 2}
    for name, axes in needed.items():
        if name not in state:
            raise ValueError(f"{source}: parameter {name} is missing: these are not the weights of an Open-Unmix network.")
        if state[name].dim() != axes or not state[name].numel():
            raise ValueError(f"{source}: parameter {name} has shape {tuple(state[name].shape)}, expected {axes} axes.")
    hidden, inputs = state["fc1.weight"].shape
    bins_in, bins = len(state["input_mean"]), len(state["output_mean"])
    return {
        "hidden": hidden,
        "layers": sum(name.startswith("lstm.weight_ih_l") and not name.endswith("_reverse") for name in state),
        "unidirectional": "lstm.weight_ih_l0_reverse" not in state,
        "channels": max(inputs // bins_in, 1),
        "sample_rate": sample_rate,
        "n_fft": 2 * (bins - 1),
        "bandwidth": _bandwidth(bins_in, bins, sample_rate),
    }


def _bandwidth(bins_in: int, bins: int, sample_rate: int) -> float | None:
    """Bandwidth for this number of input bins, in whole Hz if possible."""
    if bins_in >= bins:
        return None
    exact = (bins_in - 1) * sample_rate / (2 * (bins - 1))
    rounded = float(math.ceil(exact))
    return rounded if max_bin(rounded, sample_rate, 2 * (bins - 1)) == bins_in else exact
