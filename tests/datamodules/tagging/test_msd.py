"""MSD: pickles of Python 2 and 3, read without running what they ask for."""

import os
import pickle
import sys

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.tagging import msd
from datamodules.tagging.msd import MSD
from datamodules.tagging.tags import published
from tests.helpers.layouts import MSD_TAGS, msd_ids, write_msd
from tests.helpers.tagging_batches import ready


@pytest.mark.parametrize("kind", ["python2", "bytes", "str"])
def test_msd_pickles_of_every_kind_say_the_same(tmp_path, kind):
    root = write_msd(tmp_path, n=36, n_test=3, kind=kind, seconds=0.1)
    index = MSD(str(root)).index
    ids = msd_ids(39)
    assert index.tags == MSD_TAGS == published("msd")
    assert index.paths.tolist() == [f"{one[2]}/{one[3]}/{one[4]}/{one}.mp3" for one in ids]
    random = np.random.default_rng(0)
    expected = [(random.random((50, 1)) < 0.3).ravel().astype(int).tolist() for _ in ids]
    assert index.labels.tolist() == expected
    assert index.split.tolist() == [0] * 34 + [1] * 2 + [2] * 3


def test_msd_audio_under_7digitals_names(tmp_path):
    root = write_msd(tmp_path, n=4, n_test=2, seven_digital=True, seconds=0.1)
    data = ready(MSD(str(root)))
    assert data.index.paths[0] == "8/0/8000000.clip.mp3"
    assert len(data.files.present) == 6


def test_msd_cuts_the_published_list_after_201680(tmp_path):
    ids = [f"TR{i:016}" for i in range(213_454)]
    vector = np.ones((50, 1), bool)
    write_msd(tmp_path, n=2, n_test=1, seconds=0.1)
    (tmp_path / "filtered_list_train.cP").write_bytes(pickle.dumps(ids, 2))
    (tmp_path / "filtered_list_test.cP").write_bytes(pickle.dumps(ids[:3], 2))
    (tmp_path / "msd_id_to_tag_vector.cP").write_bytes(pickle.dumps(dict.fromkeys(ids, vector), 2))
    split = MSD(str(tmp_path)).index.split
    assert np.bincount(split).tolist() == [201_680, 11_774, 3]
    assert split[201_679] == 0
    assert split[201_680] == 1


class Evil:
    """Would write a file when unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("name", ["filtered_list_train.cP", "msd_id_to_tag_vector.cP"])
def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_msd(tmp_path, n=4, n_test=2, seconds=0.1)
    for content in (Evil(), [Evil()], {"TRAAAAAAAAAAAAAAAA": np.array([Evil()], dtype=object)}):
        (tmp_path / name).write_bytes(pickle.dumps(content, 2))
        with pytest.raises(DataError, match=r"asks for \w+\.system") as caught:
            _ = MSD(str(tmp_path)).index
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_every_protocol_are_read(tmp_path, monkeypatch, protocol):
    content = {"a": np.arange(6).reshape(2, 3), b"b": np.ones((50, 1), bool), "c": np.float32(2.5)}
    (tmp_path / "x").write_bytes(pickle.dumps(content, protocol))
    read = msd.load(tmp_path / "x")
    assert np.array_equal(read["a"], content["a"])
    assert read[b"b"].all()
    assert read["c"] == 2.5
    # NumPy 1 wrote its module under another name.
    old = pickle.dumps(content, protocol).replace(b"numpy._core", b"numpy.core")
    if protocol < 4:  # later ones state the length of a name
        (tmp_path / "x").write_bytes(old)
        for module in ("numpy.core", "numpy.core.multiarray", "numpy.core.numeric"):  # a NumPy without its former name
            monkeypatch.setitem(sys.modules, module, None)
        assert np.array_equal(msd.load(tmp_path / "x")["a"], content["a"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("filtered_list_train.cP", b"", "not a pickle"),
        ("filtered_list_train.cP", b"hello", "not a pickle"),
        ("filtered_list_train.cP", pickle.dumps({"a": 1}), "not a list"),
        ("filtered_list_test.cP", pickle.dumps([]), "not a list"),
        ("msd_id_to_tag_vector.cP", pickle.dumps([1]), "not a dictionary"),
        ("msd_id_to_tag_vector.cP", pickle.dumps({}), "no vector of 50 tags"),
    ],
)
def test_msd_files_that_do_not_belong_are_named(tmp_path, name, content, said):
    write_msd(tmp_path, n=4, n_test=2, seconds=0.1)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        _ = MSD(str(tmp_path)).index
    assert name in str(caught.value)
