"""musicnn weights in the package they were published in: a bundle of TensorFlow inside a zip."""

import struct
import zipfile

import numpy as np
import pytest
import torch

from models.tagging.importers import load_musicnn
from models.tagging.tf_bundle import variables
from tests.models.tagging.test_musicnn_weights import TAGS, made_up, write_npz


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def block(records: list[tuple[bytes, bytes]]) -> bytes:
    """A LevelDB block, keys cut by what they share with the one before."""
    out, before = b"", b""
    for key, value in records:
        shared = next(
            (i for i, pair in enumerate(zip(before, key, strict=False)) if pair[0] != pair[1]), min(len(before), len(key))
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def bundle(arrays: dict[str, np.ndarray], compression: int = 0) -> tuple[bytes, bytes]:
    """Index and data of a checkpoint in TensorFlow's format, in two data blocks."""
    records, data = [(b"", field(1, 1))], b""
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        kind = {"f": 1, "i": 9}[array.dtype.kind]
        checksum = varint(6 << 3 | 5) + bytes(4)
        place = (field(4, len(data)) if data else b"") + field(5, array.nbytes)
        records.append((name.encode(), field(1, kind) + field(2, shape) + place + checksum))
        data += array.tobytes()
    index, handles = b"", []
    for part in (records[: len(records) // 2], records[len(records) // 2 :]):
        content = block(part)
        handles.append((part[-1][0], varint(len(index)) + varint(len(content))))
        index += content + bytes([compression, 0, 0, 0, 0])
    content = block(handles)
    footer = varint(0) + varint(0) + varint(len(index)) + varint(len(content))
    return index + content + bytes(5) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57), data


def test_package_gives_the_same_network_as_an_npz(tmp_path):
    arrays = made_up()
    training = {f"{name}/{slot}": arrays[name] for name in arrays if name.startswith("dense") for slot in ("Adam", "Adam_1")}
    training |= {"beta1_power": np.float32(0.9), "beta2_power": np.float32(0.99), "step": np.int64(7)}
    index, data = bundle({**arrays, **training})
    wheel = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("musicnn/MSD_musicnn/.index", index)
        archive.writestr("musicnn/MSD_musicnn/.data-00000-of-00001", data)
        archive.writestr("musicnn/configuration.py", f"SR = 16000\nMTT_LABELS = ['x']\nMSD_LABELS = {TAGS}\nraise SystemExit\n")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    expected = load_musicnn(write_npz(tmp_path / "weights.npz", arrays))
    for path in (wheel, tmp_path / "musicnn"):
        found = load_musicnn(path, "MSD_musicnn")
        assert (found.tags, found.init_args) == (expected.tags, expected.init_args)
        assert found.state_dict.keys() == expected.state_dict.keys()
        assert all(torch.equal(found.state_dict[name], value) for name, value in expected.state_dict.items())
    with pytest.raises(ValueError, match=r"model MTT_musicnn not found"):
        load_musicnn(wheel)


def test_broken_checkpoints_are_refused():
    index, data = bundle({"a/x": np.arange(6, dtype=np.float32).reshape(2, 3), "a/y": np.float32(3), "b": np.int64(1)})
    found = variables(index, data)
    assert list(found) == ["a/x", "a/y"]
    np.testing.assert_array_equal(found["a/x"], [[0, 1, 2], [3, 4, 5]])
    assert found["a/y"] == 3
    with pytest.raises(ValueError, match="a/y is outside"):
        variables(index, data[:24])
    with pytest.raises(ValueError, match="the signature is missing"):
        variables(index[:-1], data)
    with pytest.raises(ValueError, match="truncated"):
        variables(index[-60:], data)
    with pytest.raises(ValueError, match="compressed"):
        variables(*bundle({"a": np.float32(1)}, compression=1))
