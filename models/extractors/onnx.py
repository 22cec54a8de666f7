"""ONNX networks as embedding extractors; needs the extra `onnx` (onnxruntime)."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.extractors.extractor import Extractor
from models.extractors.inputs import ImageExtractor, PatchExtractor

MISSING = "package onnxruntime: pip install -e '.[onnx]'"


class ONNXSession:
    """ONNX network, input -> features: the last dimension of `output`, averaged over the others."""

    def __init__(self, path: str, output: str | None) -> None:
        if not Path(path).is_file():
            raise ValueError(f"weights {path} do not exist: give the path of an .onnx file")
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(MISSING) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in self.session.get_outputs()]
        self.output = names[0] if output is None else output
        if self.output not in names:
            raise ValueError(f"{path} has no output {output!r}, expected one of {', '.join(names)}")
        self.input = self.session.get_inputs()[0]
        self.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    def __call__(self, x: Tensor, channel: bool) -> Tensor:
        """(n, ...) -> (n, features); one at a time if the file's batch size is 1. channel: add an axis of size 1."""
        x = x[:, None] if channel else x
        array = x.cpu().numpy().astype(np.float32)
        parts = np.split(array, len(array)) if self.input.shape[0] == 1 else [array]
        outputs = [np.asarray(self.session.run([self.output], {self.input.name: part})[0], np.float32) for part in parts]
        means = [part.reshape(len(piece), -1, part.shape[-1]).mean(1) for part, piece in zip(outputs, parts, strict=True)]
        return torch.from_numpy(np.concatenate(means))


class ONNXPatches(PatchExtractor):
    """ONNX network on log-mel patches (n, 1, 96, 64) of 0.96 s, as of VGGish and YAMNet; see PatchExtractor.

    weights: path of the .onnx; output: name of the output, by default the first; offset: in log(x + offset).
    Raises ValueError for a missing file or output.
    """

    def __init__(
        self,
        weights: str,
        output: str | None = None,
        step_s: float = 0.06,
        centred: bool = False,
        offset: float = 0.001,
        batch: int = 64,
    ) -> None:
        session = ONNXSession(weights, output)
        super().__init__(offset, step_s, centred, batch, file=session.digest, output=session.output)
        self.session = session
        self.dim = features_of(session, torch.zeros(1, 96, 64), True)

    def embed(self, piece: Tensor) -> Tensor:
        return self.session(piece, True)


class ONNXImages(ImageExtractor):
    """ONNX network on images (n, 3, height, width), standardised by `mean` and `std` of values from 0 to 1.

    Raises ValueError for a missing file or output.
    """

    def __init__(
        self,
        weights: str,
        output: str | None = None,
        fps: float = 15.0,
        size: tuple[int, int] = (224, 224),
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        batch: int = 16,
    ) -> None:
        session = ONNXSession(weights, output)
        super().__init__(fps, size, mean, std, batch, file=session.digest, output=session.output)
        self.session = session
        self.dim = features_of(session, torch.zeros(1, 3, *size), False)

    def embed(self, piece: Tensor) -> Tensor:
        return self.session(piece, False)


class ONNXAudio(Extractor):
    """ONNX network on windows of samples (n, window), one per `step_s`.

    sample_rate in Hz; window_s: length of a window; centred: pad with silence, so that embedding k is centred on k * step_s;
    else the first is centred on half a window. Raises ValueError for a missing file or output.
    """

    kind: Literal["audio"] = "audio"

    def __init__(
        self,
        weights: str,
        sample_rate: int = 16_000,
        window_s: float = 1.0,
        step_s: float = 0.06,
        output: str | None = None,
        centred: bool = False,
        batch: int = 64,
    ) -> None:
        session = ONNXSession(weights, output)
        settings: dict[str, Any] = {"rate": sample_rate, "window_s": window_s, "step_s": step_s, "centred": centred}
        super().__init__(**settings, file=session.digest, output=session.output)
        self.session, self.sample_rate, self.centred, self.batch = session, sample_rate, centred, batch
        self.window, self.step = round(window_s * sample_rate), round(step_s * sample_rate)
        if self.step < 1 or self.window < 1:
            raise ValueError(f"window_s {window_s} and step_s {step_s} must be at least one sample of {sample_rate} Hz")
        self.dim = features_of(session, torch.zeros(1, self.window), False)

    def times(self, n: int) -> np.ndarray:
        return (np.arange(n) * self.step + (0 if self.centred else self.window / 2)) / self.sample_rate

    def pieces(self, signal: np.ndarray) -> Iterator[Tensor]:
        if self.centred:
            count, lead = 1 + len(signal) // self.step, self.window // 2
        else:
            count, lead = 1 + max(0, len(signal) - self.window) // self.step, 0
        behind = max(0, (count - 1) * self.step + self.window - lead - len(signal))
        padded = torch.from_numpy(np.pad(np.asarray(signal, np.float32), (lead, behind)))
        yield from padded.unfold(0, self.window, self.step)[:count].split(self.batch)

    def embed(self, piece: Tensor) -> Tensor:
        return self.session(piece, False)


def features_of(session: ONNXSession, example: Tensor, channel: bool) -> int:
    """Number of features of the network."""
    return session(example, channel).shape[1]
