"""Million Song Dataset with Last.fm tags, in the split of Lee et al. (2017), published as pickles."""

import io
import logging
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.common.errors import DataError
from datamodules.common.report import locate
from datamodules.tagging.data import Index, TaggingDataModule
from datamodules.tagging.tags import published

# Restricted unpickler

MODULES = {"numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric"}
FUNCTIONS = {"_reconstruct", "scalar", "_frombuffer"}
_INDEX, _SIZE = re.compile(rb"r(?=(.{4}))", re.DOTALL), re.compile(rb"\x96(?=(.{8}))", re.DOTALL)
_TEXT_INDEX = re.compile(rb"p(\d{1,18})")
PLAIN = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _DataUnpickler(pickle.Unpickler):
    """Unpickler that builds numpy arrays, under the names of numpy 1 and 2, and plain types only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PLAIN and (module not in MODULES or name not in FUNCTIONS):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _exhausts_memory(data: bytes) -> bool:
    """True if an opcode has an index or size larger than the file, for which the unpickler would allocate memory.

    Opcodes are parsed only if bytes look like such, since parsing takes a hundred times as long as reading.
    """
    sizes = (int.from_bytes(match[1], "little") for pattern in (_INDEX, _SIZE) for match in pattern.finditer(data))
    if not any(size > len(data) for size in sizes) and not any(int(match[1]) > len(data) for match in _TEXT_INDEX.finditer(data)):
        return False
    try:
        return any(code.name in ("PUT", "LONG_BINPUT") and arg > len(data) for code, arg, _ in pickletools.genops(data))
    except ValueError as error:  # fewer bytes than an opcode takes
        return "expected" in str(error)


def load(path: Path) -> Any:
    """Load a pickle of Python 2 or 3 with numbers, text, containers and arrays; Python 2 text as latin-1.

    Raises:
        DataError: the file is missing, damaged, or holds other objects.
    """
    try:
        data = path.read_bytes()
        if _exhausts_memory(data):
            raise pickle.UnpicklingError("it asks for more memory than it has bytes")
        return _DataUnpickler(io.BytesIO(data), encoding="latin1").load()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except Exception as error:
        raise DataError(
            f"{path} is not a pickle of plain data ({error or type(error).__name__}) and was not loaded: download it again "
            f"from the publisher of the list."
        ) from error


log = logging.getLogger(__name__)

TRAIN, TEST, TAGS = "filtered_list_train.cP", "filtered_list_test.cP", "msd_id_to_tag_vector.cP"
TAG_LIST = "50tagList.txt"
TO_7DIGITAL, TO_PATH = "MSD_id_to_7D_id.pkl", "7D_id_to_path.pkl"
LISTED, TRAINED = 213_454, 201_680
METADATA = (".", "metadata", "data", "split/msd", "MSD_split", "lastfm_annotation")
AUDIO = (".", "audio", "mp3", "songs", "msd")


class MSD(TaggingDataModule):
    """MSD with the 50 most frequent Last.fm tags: 201,680 / 11,774 / 28,435 clips of 29 s or more.

    The first 201,680 ids of filtered_list_train.cP are train, the rest validation (a shorter list is split in the same
    proportion). Audio files are id[2]/id[3]/id[4]/id.mp3, or the paths in 7digital's two pickles. The pickles are of Python 2
    or 3, with ids as text or bytes.

    Args:
        metadata: folder of the pickles and 50tagList.txt, if it is not under the root
    """

    name = "msd"
    subset = "top50"
    layout = f"the folder with {TRAIN}, {TEST}, {TAGS} and the audio as id[2]/id[3]/id[4]/id.mp3"

    def __init__(self, root: str | None = None, metadata: str | None = None, **kwargs) -> None:
        super().__init__(root, **kwargs)
        self.metadata = metadata

    def read_index(self, root: Path) -> Index:
        """Read the training list, then the test list."""
        folder = self._metadata_folder(root)
        train, test = _ids(folder / TRAIN), _ids(folder / TEST)
        cut = TRAINED if len(train) == LISTED else round(len(train) * TRAINED / LISTED)
        if len(train) != LISTED:
            log.warning("%s lists %d tracks, not %d: the first %d are train.", folder / TRAIN, len(train), LISTED, cut)
        split = np.repeat(np.array([0, 1, 2], np.int8), [cut, len(train) - cut, len(test)])
        names = (folder / TAG_LIST).read_text().splitlines() if (folder / TAG_LIST).is_file() else published("msd")
        labels = _labels(folder / TAGS, train + test, len(names))
        audio, paths = _audio(root, folder, train + test)
        return Index(audio, names, paths, labels, split)

    def _metadata_folder(self, root: Path) -> Path:
        folders = [Path(self.metadata).expanduser()] if self.metadata else [root / folder for folder in METADATA]
        for folder in folders:
            if (folder / TRAIN).is_file():
                return folder
        raise DataError(f"{folders[0]} holds no {TRAIN}: --data.root must name {self.layout}. {self.advice()}")


def _text(name: str | bytes | int) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _ids(path: Path) -> list[str]:
    ids = load(path)
    if not isinstance(ids, (list, tuple)) or not ids or not all(isinstance(id_, (str, bytes)) and len(id_) > 4 for id_ in ids):
        raise DataError(f"{path} is not a list of MSD track ids: download it again.")
    return [_text(id_) for id_ in ids]


def _mapping(path: Path) -> dict:
    content = load(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a dictionary: download it again.")
    return {_text(key): value for key, value in content.items()}


def _labels(path: Path, ids: list[str], tags: int) -> np.ndarray:
    vectors = _mapping(path)
    labels = np.zeros((len(ids), tags), np.uint8)
    for i, id_ in enumerate(ids):
        vector = np.asarray(vectors[id_]).ravel() if id_ in vectors else np.zeros(0)
        if vector.size != tags:
            raise DataError(f"{path} has no vector of {tags} tags for {id_}: the lists do not belong together.")
        labels[i] = vector != 0
    return labels


def _audio(root: Path, folder: Path, ids: list[str]) -> tuple[Path, np.ndarray]:
    """Audio folder and paths by id, or by 7digital's names if more of those exist."""
    layouts = [(AUDIO, np.array([f"{id_[2]}/{id_[3]}/{id_[4]}/{id_}.mp3" for id_ in ids]))]
    if (folder / TO_7DIGITAL).is_file() and (folder / TO_PATH).is_file():
        numbers, names = _mapping(folder / TO_7DIGITAL), _mapping(folder / TO_PATH)
        paths = [_text(names.get(_text(numbers.get(id_, "")), f"unknown/{id_}.mp3")) for id_ in ids]
        layouts.append((AUDIO, np.array(paths)))
    return locate(root, *layouts)
