"""Tagging batches: crops and chunks equal to their files, a function of seed and epoch, direct or from a pack."""

import numpy as np
import pytest
import torch

from datamodules.audio import reading
from datamodules.audio.pack import Pack
from datamodules.audio.windows import cover, cut, won16
from datamodules.common.base import EpochSampler
from datamodules.common.errors import DataError
from datamodules.tagging.data import TaggingDataModule
from datamodules.tagging.mtat import MTAT
from tests.helpers.layouts import RATE, tone, write_mtat
from tests.helpers.tagging_batches import WINDOW, crops_of, lone_clip, peak_level, ready, same


@pytest.fixture(scope="module")
def mtat_root(tmp_path_factory):
    return write_mtat(tmp_path_factory.mktemp("mtat"), n=32, seconds=2.2)


@pytest.fixture
def mtat(mtat_root, tmp_path):
    return ready(MTAT(str(mtat_root), batch_size=4, cache_dir=str(tmp_path)))


def test_a_training_chunk_is_a_crop_of_its_clip(mtat, mtat_root):
    batches = crops_of(mtat)
    assert len(batches) == 6
    clips = mtat.clips("train")
    for batch in batches:
        assert batch.audio.shape == (4, WINDOW.samples)
        assert batch.audio.dtype == torch.int16
        assert batch.weight.tolist() == [1.0] * 4
        assert batch.level.isnan().all()
        for i, name in enumerate(batch.names):
            clip = int(batch.clip[i])
            assert name == clips.paths[clip]
            assert batch.labels[i].tolist() == clips.labels[clip].tolist()
            whole = reading.to_int16(reading.read_file(mtat_root / name, RATE))
            start = round(float(batch.start[i]) * RATE)
            assert start % WINDOW.hop == 0
            expected = cut(whole, WINDOW, start)
            assert np.abs(batch.audio[i].numpy().astype(int) - expected).max() <= 1
    assert len({name for batch in batches for name in batch.names}) == 24
    assert len({float(start) for batch in batches for start in batch.start}) > 12


def test_batches_depend_on_the_seed_and_the_epoch_alone(mtat_root, tmp_path):
    def made(**options):
        return ready(MTAT(str(mtat_root), batch_size=4, cache_dir=str(tmp_path), **options), level=peak_level)

    first = crops_of(made())
    assert all(same(a, b) for a, b in zip(first, crops_of(made(num_workers=2)), strict=True))
    assert not same(first[0], crops_of(made(seed=1))[0])
    assert not same(first[0], crops_of(made(), epoch=1)[0])
    again = [batch.names for batch in crops_of(made(), epoch=1)]
    assert again != [batch.names for batch in first]


def test_a_clip_is_cropped_elsewhere_in_each_epoch(mtat):
    crops = mtat.train_set()
    seeds = [seed for epoch in range(30) for index, seed in EpochSampler(24, 4, epoch=epoch) if index == 0]
    starts = [float(crops[0, seed].start[0]) for seed in seeds]
    assert len(set(starts)) > 20
    assert min(starts) < 0.3
    assert max(starts) > 0.8


@pytest.mark.parametrize("policy", ["won16", "cover"])
def test_an_evaluation_batch_holds_all_chunks_of_its_clips(mtat_root, tmp_path, policy):
    data = ready(MTAT(str(mtat_root), policy=policy, eval_batch_size=4, cache_dir=str(tmp_path)), level=peak_level)
    batches = list(data.test_dataloader())
    assert [len(set(batch.clip.tolist())) for batch in batches] == [4, 2]
    for batch in batches:
        for clip in set(batch.clip.tolist()):
            mine = batch.clip == clip
            name = batch.names[int(mine.nonzero()[0])]
            whole = reading.to_int16(reading.read_file(mtat_root / name, RATE))
            starts, weights = {"won16": won16, "cover": cover}[policy](WINDOW, len(whole))
            assert torch.allclose(batch.start[mine], torch.tensor(starts / RATE).float())
            assert torch.allclose(batch.weight[mine], torch.tensor(weights).float())
            assert batch.weight[mine].sum() == pytest.approx(1, abs=1e-6)
            expected = np.stack([cut(whole, WINDOW, int(start)) for start in starts])
            assert np.array_equal(batch.audio[mine].numpy(), expected)
            assert torch.allclose(batch.level[mine], peak_level(torch.from_numpy(whole)[None]).expand(len(starts)))
            assert batch.labels[mine].tolist() == [data.clips("test").labels[clip].tolist()] * len(starts)
    assert sorted({int(clip) for batch in batches for clip in batch.clip}) == list(range(6))


@pytest.mark.parametrize(
    ("seconds", "rate", "channels"),
    [(0.01, RATE, 1), (1.0, RATE, 1), (WINDOW.samples / RATE, RATE, 1), (1.0, 44_100, 2), (1.5, 8000, 1), (3.0, 48_000, 6)],
)
def test_any_length_rate_and_channel_count_becomes_a_chunk(tmp_path, seconds, rate, channels):
    data = lone_clip(tmp_path, tone(seconds, rate=rate, channels=channels), rate)
    (batch,) = data.train_dataloader()
    assert batch.audio.shape == (1, WINDOW.samples)
    assert batch.audio.any()
    samples = round(seconds * RATE)
    if samples + 256 < WINDOW.samples:
        assert not batch.audio[0, 256 + samples + 1 :].any()  # zero padded
        assert batch.start.tolist() == [0.0]


def test_silence_is_data(tmp_path):
    (batch,) = lone_clip(tmp_path, np.zeros(3 * RATE, np.float32)).train_dataloader()
    assert not batch.audio.any()
    assert batch.level.tolist() == [pytest.approx(-100)]


def test_ten_minutes(tmp_path):
    data = lone_clip(tmp_path, np.zeros(600 * RATE, np.float32), ending="flac")
    (batch,) = data.train_dataloader()
    assert batch.audio.shape == (1, WINDOW.samples)
    assert len(data.clips("train").whole(0)) == 600 * RATE


def test_levels_are_measured_once_and_shared_with_the_workers(mtat_root, tmp_path):
    calls = torch.zeros(1).share_memory_()

    def counted(sound):
        calls.add_(1)
        return peak_level(sound)

    data = ready(MTAT(str(mtat_root), batch_size=4, num_workers=2, cache_dir=str(tmp_path)), level=counted)
    first, second = crops_of(data), crops_of(data, epoch=1)
    assert calls == 24
    level = {name: float(dB) for batch in first for name, dB in zip(batch.names, batch.level, strict=True)}
    assert all(level[name] == float(dB) for batch in second for name, dB in zip(batch.names, batch.level, strict=True))
    name = next(iter(level))
    whole = torch.from_numpy(reading.to_int16(reading.read_file(mtat_root / name, RATE)))
    assert level[name] == pytest.approx(float(peak_level(whole[None])[0]), abs=1e-5)


def test_a_pack_gives_the_same_batches(mtat_root, tmp_path, monkeypatch):
    options = {"batch_size": 4, "eval_batch_size": 2, "cache_dir": str(tmp_path)}
    direct = ready(MTAT(str(mtat_root), pack="never", **options), level=peak_level)
    packed = ready(MTAT(str(mtat_root), pack="build", **options), level=peak_level)
    pairs = [*zip(crops_of(direct), crops_of(packed), strict=True)]
    pairs += zip(direct.val_dataloader(), packed.val_dataloader(), strict=True)
    assert isinstance(packed.store[0], Pack)
    for one, other in pairs:
        assert (one.audio.int() - other.audio.int()).abs().max() <= 1
        assert torch.allclose(one.level, other.level, atol=1e-4)
        assert same(one._replace(audio=other.audio, level=other.level), other)
    # `auto` takes the pack that is there, and nothing is decoded or measured any more.
    monkeypatch.setattr(reading, "decode", None)
    monkeypatch.setattr("datamodules.audio.clips.measure", None)
    automatic = ready(MTAT(str(mtat_root), **options), level=peak_level)
    assert all(same(a, b) for a, b in zip(crops_of(automatic), [other for _, other in pairs], strict=False))


def test_a_required_pack_that_is_not_there(mtat_root, tmp_path):
    with pytest.raises(DataError, match="build it with `prepare`"):
        ready(MTAT(str(mtat_root), pack="require", cache_dir=str(tmp_path))).train_set()


def test_one_pack_serves_every_subset_and_another_rate_another(mtat_root, tmp_path):
    made = [ready(MTAT(str(mtat_root), subset=subset, cache_dir=str(tmp_path))) for subset in ("full", "top50")]
    assert made[0].pack_folder() == made[1].pack_folder()
    other = ready(MTAT(str(mtat_root), cache_dir=str(tmp_path)), WINDOW._replace(sample_rate=22_050))
    assert other.pack_folder() != made[0].pack_folder()


def test_a_data_set_is_rebuilt_from_its_stored_settings(mtat_root, tmp_path):
    data = MTAT(str(mtat_root), subset="full", tags=["guitar", "slow"], batch_size=3, policy="cover", cache_dir=str(tmp_path))
    twin = MTAT(**data.hparams)
    assert (twin.subset, twin.tags, twin.batch_size, twin.policy) == ("full", ["guitar", "slow"], 3, "cover")
    assert isinstance(twin, TaggingDataModule)


def test_the_data_must_be_told_the_window(mtat_root):
    with pytest.raises(ValueError, match=r"call connect\(TaggingSpec"):
        MTAT(str(mtat_root)).train_set()
