"""Ring of batch buffers: reused when free, never while anything still refers to one, in any number of processes."""

import copy
import gc
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.separation.musdb import MUSDBHQ
from datamodules.separation.stems import EACH, RingBuffer
from tests.helpers.stems import write_musdb_hq

SHAPE = (3, 5)


def filled(ring, value, shape=SHAPE):
    result, tensor = ring.fill(shape, lambda array: array.fill(value) or value)
    assert result == value
    return tensor


def test_a_buffer_is_used_again_once_nothing_refers_to_it():
    ring = RingBuffer(SHAPE, np.int16)
    places = set()
    for value in range(20):
        tensor = filled(ring, value)
        assert tensor.dtype == torch.int16 and tensor.eq(value).all()
        places.add(tensor.data_ptr())
        del tensor
    assert len(places) == 1


@pytest.mark.parametrize("keep", [
    lambda tensor: tensor, lambda tensor: tensor[1:], lambda tensor: tensor.view(-1)[3], lambda tensor: tensor.numpy(),
    lambda tensor: tensor.numpy()[0, 2:], lambda tensor: tensor.T.unbind(0), lambda tensor: tensor.untyped_storage(),
    lambda tensor: memoryview(tensor.numpy()), lambda tensor: {"deep": [tensor.unsqueeze(0).expand(4, -1, -1)]},
])  # fmt: skip
def test_whatever_refers_to_a_buffer_keeps_it(keep):
    ring = RingBuffer(SHAPE, np.int16)
    tensor = filled(ring, 7)
    place, kept = tensor.data_ptr(), keep(tensor)
    del tensor
    gc.collect()
    others = [filled(ring, value) for value in range(3 * EACH)]
    assert place not in {other.data_ptr() for other in others}
    assert all(other.eq(value).all() for value, other in enumerate(others))
    del kept, others
    gc.collect()
    again = [filled(ring, 9) for _ in range(EACH)]
    assert place in {tensor.data_ptr() for tensor in again}


def test_a_buffer_is_free_again_where_filling_it_fails():
    ring = RingBuffer(SHAPE, np.float32)

    def fail(array):
        raise KeyError("no such file")

    for _ in range(EACH + 1):
        with pytest.raises(KeyError):
            ring.fill(SHAPE, fail)
    assert len({filled(ring, 1).data_ptr() for _ in range(3)}) == 1


def test_larger_batches_are_fresh_and_smaller_ones_a_part():
    ring = RingBuffer(SHAPE, np.float32)
    assert filled(ring, 2, (9, 5)).shape == (9, 5) and filled(ring, 2, (2, 5)).shape == (2, 5)
    assert filled(ring, 2, (3, 6)).eq(2).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_copies_are_rings_of_their_own(workers):
    ring = RingBuffer(SHAPE, np.int16, workers)
    for twin in (copy.deepcopy(ring), pickle.loads(pickle.dumps(ring))):
        first, second = filled(ring, 1), filled(twin, 2)
        assert twin.number != ring.number and first.eq(1).all() and second.eq(2).all()


class Numbers(Dataset):
    """Batches that hold the numbers of their items."""

    def __init__(self, workers):
        self.ring = RingBuffer((4, 50), np.int16, workers)

    def __len__(self):
        return 80

    def __getitems__(self, items):
        def write(array):
            array[:] = np.array(items)[:, None]

        return self.ring.fill((len(items), 50), write)[1]


def itself(batch):
    return batch


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (1, "spawn")])
def test_loader_processes_never_write_where_a_batch_still_is(workers, start):
    data = Numbers(workers)
    how = {"multiprocessing_context": start, "persistent_workers": workers > 0}
    loader = DataLoader(data, 4, num_workers=workers, collate_fn=itself, **how)
    for _ in range(2):
        kept = []
        for number, batch in enumerate(loader):
            assert isinstance(batch, torch.Tensor)
            if number % 3 == 0:
                kept.append((number, batch[2:]))  # for good, as a logger or a metric may
        assert len(kept) == 7
        assert all(part.eq(torch.tensor([[4 * n + 2], [4 * n + 3]])).all() for n, part in kept)
    iterator = iter(loader)
    next(iterator)  # an epoch that is left early
    del iterator
    assert [int(batch[0, 0]) for batch in loader] == list(range(0, 80, 4))


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches_are_those_of_fresh_buffers(tmp_path, workers):
    root = write_musdb_hq(tmp_path / "set", seconds=1.0, rate=8000)

    def batches(ring):
        data = MUSDBHQ(str(root), sample_rate=8000, seconds=0.5, samples_per_track=8, batch_size=4, num_workers=workers)
        loader = data.train_dataloader()
        if not ring:
            loader.dataset.ring = None
        return loader

    fresh = list(batches(False))
    places = set()
    for one, other in zip(batches(True), fresh, strict=True):
        assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, other, strict=True))
        places.add(one.stems.data_ptr())
        del one
    assert len(places) <= EACH * max(workers, 1) < len(fresh) * 2
