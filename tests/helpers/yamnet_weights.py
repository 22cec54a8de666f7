"""Weights of a YAMNet under their published Keras names."""

import numpy as np

from models.extractors import YAMNet


def keras_arrays(net: YAMNet) -> dict[str, np.ndarray]:
    """Name in the published .npz -> weights."""
    state, arrays = net.state_dict(), {}
    for i in range(27):
        kernel = state[f"layers.{i}.conv.weight"].numpy()
        if i % 2:
            arrays[f"layer_with_weights-{2 * i}/depthwise_kernel"] = kernel.transpose(2, 3, 0, 1)
        else:
            arrays[f"layer_with_weights-{2 * i}/kernel"] = kernel.transpose(2, 3, 1, 0)
        for theirs, ours in (("beta", "bias"), ("moving_mean", "mean"), ("moving_variance", "variance")):
            arrays[f"layer_with_weights-{2 * i + 1}/{theirs}"] = state[f"layers.{i}.{ours}"].numpy()
    for theirs, ours in (("kernel", "weight"), ("bias", "bias")):
        arrays[f"layer_with_weights-54/{theirs}"] = state[f"classes.{ours}"].numpy().T
    return arrays
