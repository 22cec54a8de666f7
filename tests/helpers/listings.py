"""What the tests of all loaders of recordings and scores ask of a listing."""

import pickle
from collections import Counter

import numpy as np

from datamodules.alignment.listing import Listing, Pair
from datamodules.alignment.reading import read_score


def names(listing: Listing) -> list[str]:
    return sorted(pair.name for pair in listing.pairs)


def one(listing: Listing, name: str) -> Pair:
    return next(pair for pair in listing.pairs if pair.name == name)


def check(listing: Listing) -> None:
    """What holds of every set: names are unique, pieces stay together, truths rise, files are there, workers can have it."""
    assert len({pair.name for pair in listing.pairs}) == len(listing.pairs) > 0
    splits = Counter((pair.piece, pair.split) for pair in listing.pairs)
    assert len(splits) == len({piece for piece, _ in splits})
    for pair in pickle.loads(pickle.dumps(listing.pairs)):
        events = pair.truth()
        assert events.dtype == np.float64 and events.shape[1] == 2 and len(events) > 1 and np.all(np.diff(events, axis=0) > 0)
        assert pair.performance.path.is_file() and pair.score.path.is_file() and pair.score.font
        assert pair.midi is None or len(read_score(pair.midi).notes.onset)
