"""Open-Unmix and X-UMX restated step by step, with the parameter names that their authors' weights have."""

import torch
from torch import Tensor, nn


class PlainUnmix(nn.Module):
    """One source, as in sigsep/open-unmix-pytorch; magnitudes are (frames, batch, channels, bins) within."""

    def __init__(self, bins: int, bins_in: int, channels: int, hidden: int, layers: int = 3, both: bool = True):
        super().__init__()
        self.fc1 = nn.Linear(bins_in * channels, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(hidden, hidden // 2 if both else hidden, layers, bidirectional=both)
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, bins * channels, bias=False)
        self.bn3 = nn.BatchNorm1d(bins * channels)
        self.input_mean, self.input_scale = nn.Parameter(torch.zeros(bins_in)), nn.Parameter(torch.ones(bins_in))
        self.output_mean, self.output_scale = nn.Parameter(torch.ones(bins)), nn.Parameter(torch.ones(bins))

    def encode(self, x: Tensor) -> Tensor:
        x = (x[..., : len(self.input_mean)] + self.input_mean) * self.input_scale
        dense = self.bn1(self.fc1(x.reshape(-1, x.shape[2] * x.shape[3])))
        return torch.tanh(dense.reshape(x.shape[0], x.shape[1], -1))

    def decode(self, joined: Tensor, channels: int) -> Tensor:
        dense = torch.relu(self.bn2(self.fc2(joined.reshape(-1, joined.shape[-1]))))
        rows = self.bn3(self.fc3(dense)).reshape(*joined.shape[:2], channels, -1)
        return torch.relu(rows * self.output_scale + self.output_mean)


def plain_masks(networks: list[PlainUnmix], magnitude: Tensor, bridge: bool) -> Tensor:
    """(batch, channels, bins, frames) -> (batch, sources, channels, bins, frames)."""
    x = magnitude.permute(3, 0, 1, 2)
    encodings = [network.encode(x) for network in networks]
    heard = [sum(encodings) / len(networks)] * len(networks) if bridge else encodings
    joined = [torch.cat([e, n.lstm(h)[0]], -1) for n, e, h in zip(networks, encodings, heard, strict=True)]
    if bridge:
        joined = [sum(joined) / len(networks)] * len(networks)
    masks = [network.decode(j, x.shape[2]) for network, j in zip(networks, joined, strict=True)]
    return torch.stack([mask.permute(1, 2, 3, 0) for mask in masks], 1)


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Norms, scales and statistics as training leaves them: fresh ones hide an exchange."""
    random = torch.Generator().manual_seed(seed)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in state.items():
        if value.dim() == 1 and value.is_floating_point() and "lstm" not in name and "window" not in name:
            value.data.copy_(torch.rand(value.shape, generator=random) + 0.5)
        if name.endswith(("mean", "bias")) and "lstm" not in name:
            value.data.sub_(0.9)


def asteroid_state(networks: dict[str, PlainUnmix], n_fft: int) -> dict[str, Tensor]:
    """The same parameters by the names of asteroid's XUMX, its windows among them."""
    places = {"fc1": "layer_enc.{}.enc.0", "bn1": "layer_enc.{}.enc.1", "lstm": "layer_lstm.{}"}
    places |= {f"{name}": f"layer_dec.{{}}.dec.{i}" for name, i in (("fc2", 0), ("bn2", 1), ("fc3", 3), ("bn3", 4))}
    state = {"encoder.0.window": torch.hann_window(n_fft)}
    for source, network in networks.items():
        for name, value in network.state_dict().items():
            layer, _, rest = name.partition(".")
            key = f"{places[layer].format(source)}.{rest}" if rest else f"mean_scale.{name}_{source}"
            state[key] = value.clone()
    return {**state, "decoder.window": torch.hann_window(n_fft)}
