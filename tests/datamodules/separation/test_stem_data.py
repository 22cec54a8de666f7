"""Stems as batches: what is drawn, that it depends on (index, seed) alone, and that waveforms are the files' own samples."""

import pickle

import numpy as np
import pytest
import soundfile
import torch

from datamodules.common.base import EpochSampler
from datamodules.common.input_spec import SeparationSpec
from datamodules.common.workers import mix
from datamodules.separation.musdb import MUSDBHQ
from datamodules.separation.stems import SHORTEST_S, StemBatch, TrackBatch, segments
from tests.helpers.stems import STEMS, write_musdb_hq, write_track

RATE = 8_000
SET = {"seconds": 3.0, "rate": RATE}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_musdb_hq(tmp_path_factory.mktemp("musdb"), **SET)


def ready(root, **options) -> MUSDBHQ:
    options = {"seconds": 1.0, "samples_per_track": 4, "batch_size": 4, "sample_rate": RATE, **options}
    return MUSDBHQ(str(root), **options)


def epoch(data, number: int = 0) -> list[StemBatch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def same(a: StemBatch, b: StemBatch) -> bool:
    return a.names == b.names and all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if isinstance(x, torch.Tensor))


def of_file(wav) -> np.ndarray:
    return soundfile.read(wav.path, dtype="float32", always_2d=True)[0]


def test_batches_have_the_promised_form(root):
    data = ready(root)
    assert len(data.train_set()) == 3 * 4
    batch = epoch(data)[0]
    assert batch.stems.shape == (4, 4, RATE, 2) and batch.stems.dtype == torch.int16
    assert batch.mixture.shape == (4, 0, 2)
    assert batch.gain.shape == (4, 4) and batch.gain.dtype == torch.float32
    assert batch.swap.shape == (4, 4) and batch.swap.dtype == torch.bool
    assert len(batch.names) == 4 and batch.start.shape == (4,)
    sources, mixture = batch.waveforms()
    assert sources.shape == (4, 4, 2, RATE) and mixture.shape == (4, 2, RATE)
    assert sources.dtype == mixture.dtype == torch.float32
    assert sources.is_contiguous()
    assert torch.equal(mixture, sources.sum(1))


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_waveforms_are_the_files_samples_times_gain_with_swapped_channels(tmp_path, subtype):
    root = write_musdb_hq(tmp_path / "set", **SET)
    if subtype == "FLOAT":  # of a single stem: the whole set is then read as float32
        path = root / "train" / "Artist A - One" / "bass.wav"
        soundfile.write(path, soundfile.read(path, dtype="float32")[0] * 1.7, RATE, subtype="FLOAT")
    data = ready(root, samples_per_track=16)
    dataset = data.train_set()
    files = {track.name: {name: of_file(wav) for name, wav in track.stems.items()} for track in dataset.tracks}
    swaps, places = 0, []
    for batch in epoch(data):
        assert batch.stems.dtype == (torch.int16 if subtype == "PCM_16" else torch.float32)
        sources, _ = batch.waveforms()
        for i in range(4):
            for j, name in enumerate(STEMS):
                got = sources[i, j].numpy().T
                got = got[:, ::-1] if batch.swap[i, j] else got
                swaps += int(batch.swap[i, j])
                gain = batch.gain[i, j].numpy()
                assert 0.25 <= gain <= 1.25
                tracks = [files[track][name] for track in batch.names[i].split(" + ")]
                places += [place for whole in tracks if (place := _place(got, whole * gain)) is not None][:1]
    assert len(places) == 12 * 4 * 4  # every one was found
    assert len(set(places)) > 180  # of 16,001 possible ones: no two sources share one but by chance
    assert 60 < swaps < 132  # of 192


def _place(piece: np.ndarray, whole: np.ndarray) -> int | None:
    """Where in the whole the piece is, bit by bit."""
    starts = np.flatnonzero((whole[: len(whole) - len(piece) + 1] == piece[0]).all(1))
    return next((int(start) for start in starts if np.array_equal(whole[start : start + len(piece)], piece)), None)


def test_every_source_is_of_a_track_and_place_of_its_own(root):
    batches = epoch(ready(root, samples_per_track=32))
    tracks = [len(name.split(" + ")) for batch in batches for name in batch.names]
    assert np.mean(tracks) > 1.8  # 4 draws of 3 tracks: 2.41 different ones are expected
    assert len({round(float(start), 6) for batch in batches for start in batch.start}) > 0.95 * len(tracks)


def test_without_random_tracks_all_sources_are_of_one_place(root):
    data = ready(root, random_tracks=False, gain=(1.0, 1.0), swap=0.0)
    dataset = data.train_set()
    for index in range(len(dataset)):
        item = dataset[index, 7 + index]
        track = dataset.tracks[index // 4]
        assert item.name == track.name
        start = round(item.start * RATE)
        for stem, name in zip(item.stems, STEMS, strict=True):
            np.testing.assert_array_equal(stem, track.stems[name].read(start, RATE))
    batch = data.collate(dataset.__getitems__([(0, 5)]))
    start = round(float(batch.start[0]) * RATE)
    own = of_file(dataset.tracks[0].mixture)[start : start + RATE]
    assert np.abs(batch.waveforms()[1][0].numpy().T - own).max() <= 5 / 32768  # five conversions to 16 bit


def test_an_item_is_a_function_of_index_and_seed_however_it_is_read(root):
    dataset = ready(root).train_set()
    items = [(3, 11), (3, 12), (9, 11)]
    batch = dataset.__getitems__(items)
    for i, item in enumerate(items):
        for one in (dataset[item], ready(root).train_set()[item]):
            assert np.array_equal(batch.stems[i], one.stems) and batch.names[i] == one.name
            assert np.array_equal(batch.gain[i], one.gain) and np.array_equal(batch.swap[i], one.swap)
    assert not np.array_equal(batch.stems[0], batch.stems[1])


def test_batches_do_not_depend_on_the_workers(root):
    runs = [[*epoch(data), *epoch(data, 1)] for data in (ready(root, num_workers=workers) for workers in (0, 2))]
    assert len(runs[0]) == 6
    assert all(same(a, b) for a, b in zip(*runs, strict=True))
    assert not any(same(a, b) for i, a in enumerate(runs[0]) for b in runs[0][:i])


def test_sets_travel_to_spawned_workers(root):
    data = ready(root)
    data.connect(SeparationSpec(lambda audio: audio, "none"))
    dataset, collate = pickle.loads(pickle.dumps((data.train_set(), data.collate)))
    assert same(collate(dataset.__getitems__([(1, 2), (3, 4)])), data.train_set().__getitems__([(1, 2), (3, 4)]))
    assert len(pickle.dumps(data.validation_set())) < 10_000


def test_ranks_draw_different_chunks(root):
    dataset = ready(root).train_set()
    shares = [list(EpochSampler(len(dataset), 2, seed=3, rank=rank, world=2)) for rank in (0, 1)]
    assert not {index for index, _ in shares[0]} & {index for index, _ in shares[1]}
    chunks = [dataset[item].stems.tobytes() for share in shares for item in share]
    assert len(set(chunks)) == len(chunks) == 12


def test_a_track_shorter_than_a_chunk_is_followed_by_zeros(tmp_path):
    write_track(tmp_path / "train" / "Short", 0.3, 1, rate=RATE)
    dataset = ready(tmp_path).train_set()
    item = dataset[0, 1]
    short = round(0.3 * RATE)
    np.testing.assert_array_equal(item.stems[1, :short], dataset.tracks[0].stems["bass"].read(0, short))
    assert not item.stems[:, short:].any()


def test_validation_pieces_cover_each_track_once_with_its_own_mixture(root):
    data = ready(root, validation_seconds=1.2)
    batches = list(data.val_dataloader())
    assert [batch.names for batch in batches] == [("Leaf - Summerghost",)] * 2
    assert [batch.stems.shape[2] for batch in batches] == [9600, 14400]  # the last 0.6 s are joined
    track = data.tracks("validation")[0]
    assert all(bool((batch.gain == 1).all()) and not batch.swap.any() for batch in batches)
    sources, mixtures = zip(*(batch.waveforms() for batch in batches), strict=True)
    np.testing.assert_array_equal(torch.cat(mixtures, 2)[0].T, of_file(track.mixture))
    for j, name in enumerate(STEMS):
        np.testing.assert_array_equal(torch.cat(sources, 3)[0, j].T, of_file(track.stems[name]))
    summed = ready(root, mixture="sum").validation_set()[0]
    assert summed.mixture.shape == (0, 2)


@pytest.mark.parametrize("seconds", [0.001, 0.4, 1.0, 9.0, 10.0, 10.99, 11.0, 20.0, 25.5, 200.3])
def test_pieces_cover_every_frame_once_and_none_is_shorter_than_a_second(seconds):
    frames = round(seconds * RATE)
    cut = segments(frames, RATE, 10.0)
    covered = np.zeros(max(frames, round(SHORTEST_S * RATE)), int)
    for start, length in cut:
        covered[start : start + length] += 1
        assert length >= SHORTEST_S * RATE
    assert (covered == 1).all()
    assert len(cut) == max(1, int(seconds // 10) + (seconds % 10 >= SHORTEST_S))


def test_test_items_are_whole_tracks(root):
    data = ready(root)
    batches = list(data.test_dataloader())
    assert [(batch.name, batch.index, batch.error) for batch in batches] == [
        ("Artist D - Four", 0, None),
        ("Artist E - Five", 1, None),
    ]
    for batch, track in zip(batches, data.tracks("test"), strict=True):
        assert isinstance(batch, TrackBatch)
        sources, mixture = batch.waveforms()
        np.testing.assert_array_equal(mixture.T, of_file(track.mixture))
        for j, name in enumerate(STEMS):
            np.testing.assert_array_equal(sources[j].T, of_file(track.stems[name]))


def test_mono_files_go_to_every_channel_and_mono_sets_stay_mono(tmp_path):
    root = write_musdb_hq(tmp_path, channels=1, **SET)
    mono, stereo = ready(root, channels=1).test_set()[0], ready(root).test_set()[0]
    assert mono.stems.shape[2] == 1
    assert torch.equal(stereo.stems, mono.stems.expand(-1, -1, 2))
    batch = epoch(ready(root, channels=1))[0]
    assert batch.waveforms()[0].shape == (4, 4, 1, RATE)


def test_fewer_sources_are_mixed_by_themselves(root):
    data = ready(root, sources=["vocals", "bass"])
    assert data.sources == ["vocals", "bass"]
    track = data.test_set()[0]
    assert track.stems.shape[0] == 2 and not len(track.mixture)
    assert torch.equal(track.waveforms()[1], track.waveforms()[0].sum(0))


def test_item_seeds_of_epochs_differ():
    assert mix(0, 0, 5) != mix(0, 1, 5)


@pytest.mark.parametrize(
    "options",
    [
        {"sources": ["bass"]},
        {"sources": ["bass", "bass"]},
        {"seconds": 0.0},
        {"samples_per_track": 0},
        {"gain": (1.25, 0.25)},
        {"swap": 1.5},
        {"validation_seconds": 0.5},
        {"batch_size": 0},
    ],
)
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match=r"\."):
        ready("somewhere", **options)
