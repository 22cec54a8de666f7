"""Alignment: SCNN on whole recordings vs. patches, ten minutes vs. Sync Toolbox, DTW vs. librosa."""

import importlib
from importlib.util import find_spec

import torch

from benchmarks.paired import HEADER, paired
from models.alignment import SCNN
from models.alignment.front import CQT

PLACES, PATCHES = 2048, 48
"""Frames embedded at once (a block of a recording), and the number of them embedded as patches."""
OTHERS = ("alignment_long", "dtw")


def run() -> None:
    """Print time per frame and difference of embeddings, then run the other benchmarks of alignment."""
    torch.set_num_threads(1)
    print(f"SCNN of Table I, valid, random weights, 128 bins; CPU time of {PATCHES} frames, one thread\n{HEADER}")
    _dense()
    for name in OTHERS:
        if find_spec(f"benchmarks.{name}"):
            print(f"\n{name}", flush=True)
            importlib.import_module(f"benchmarks.{name}").run()


@torch.no_grad()
def _dense() -> None:
    torch.manual_seed(0)
    net = SCNN(CQT(bins=128)).eval()
    for norm in net.norms:
        norm.running_mean.uniform_(0, 0.2), norm.running_var.uniform_(0.5, 1.5)  # as if it had been trained
    features = torch.rand(1, net.front.channels, net.front.bins, PLACES + net.context - 1)
    starts = range(0, PLACES, -(-PLACES // PATCHES))
    patches = torch.cat([features[..., start : start + net.context] for start in starts])
    result = paired(lambda: net.embed(patches), lambda: net.embed(features), 3)
    share = len(starts) / PLACES
    scaled = result._replace(ours_s=result.ours_s * share, ratios=tuple(ratio / share for ratio in result.ratios))
    print(scaled.row(f"patch by patch / {PLACES} frames at once"))
    alone, together = net.embed(patches)[:, 0], net.embed(features)[0, list(starts)]
    print(f"  largest difference of embeddings as large as {alone.abs().max():.2f}: {(alone - together).abs().max():.1e}")
