"""Tiny data sets written as the real ones lie on disk, tags and file names alike; the audio is tones and noise."""

import csv
import io
import pickle
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
MTAT_TAGS = (Path(__file__).parents[2] / "datamodules/tagging/tags/mtat_top50.txt").read_text().splitlines()
MSD_TAGS = (Path(__file__).parents[2] / "datamodules/tagging/tags/msd_top50.txt").read_text().splitlines()
JAMENDO_TAGS = (Path(__file__).parents[2] / "datamodules/tagging/tags/jamendo_top50.txt").read_text().splitlines()


def tone(seconds: float = 5.0, seed: int = 0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """(samples,) or (samples, channels) float32: a chord with a slow beat and some noise, of another pitch each seed."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 110 * 2 ** (random.integers(0, 36) / 12)
    sound = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3)) * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * time))
    sound = (0.15 * sound + 0.02 * random.standard_normal(len(time))).astype(np.float32)
    return sound if channels == 1 else np.stack([sound] * channels, axis=1)


def write_audio(path: Path, sound: np.ndarray, rate: int = RATE) -> Path:
    """Write float32 `sound` in the format of the path's ending; mp3 at about 40 kbps for 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(sound.tobytes(), sound.dtype.str, sound.shape, rate, path.suffix))
    return path


@lru_cache(256)  # many tests write the same clips
def _encoded(sound: bytes, dtype: str, shape: tuple[int, ...], rate: int, suffix: str) -> bytes:
    options = {"bitrate_mode": "CONSTANT", "compression_level": 0.8} if suffix == ".mp3" else {}
    subtype = "FLOAT" if suffix == ".wav" else None
    file = io.BytesIO()
    file.name = f"sound{suffix}"
    soundfile.write(file, np.frombuffer(sound, dtype).reshape(shape), rate, subtype=subtype, **options)
    return file.getvalue()


def write_mtat(
    root: Path, n: int = 24, seed: int = 0, mp3: bool = True, seconds: float = 5.0, tags: list[str] | None = None
) -> Path:
    """MagnaTagATune: annotations_final.csv (188 tags, the 50 at three clips in ten) and n clips, clip i in folder i % 16.

    mp3: false writes the clips as wav under the same scheme. tags: other columns than the 188.
    """
    random = np.random.default_rng(seed)
    root = Path(root)
    columns = list(tags) if tags else sorted(MTAT_TAGS + [f"rare tag {i:03}" for i in range(138)])
    paths = []
    for i in range(n):
        name = f"artist_{i % 5}-album_{i % 3}-{i:02}-piece_{i}-{29 * (i % 4)}-{29 * (i % 4 + 1)}"
        paths.append(f"{i % 16:x}/{name}.{'mp3' if mp3 else 'wav'}")
        write_audio(root / paths[-1], tone(seconds, seed * 1000 + i))
    with (root / "annotations_final.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["clip_id", *columns, "mp3_path"])
        for i, path in enumerate(paths):
            row = [int(tag.startswith("rare tag") is False and random.random() < 0.3) for tag in columns]
            writer.writerow([2 + 4 * i, *row, path])
    return root


def write_annotations(root, columns, rows):
    """annotations_final.csv alone: rows of (path, tags)."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "annotations_final.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
        writer.writerow(["clip_id", *columns, "mp3_path"])
        writer.writerows([i, *(int(c in tags) for c in columns), path] for i, (path, tags) in enumerate(rows))
    return root


def msd_ids(n: int, seed: int = 0) -> list[str]:
    """n MSD track ids such as TRAAAAK128F9318786."""
    random = np.random.default_rng(seed)
    letters, digits = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), list("0123456789ABCDEF")
    return ["TR" + "".join(random.choice(letters, 5)) + "128F" + "".join(random.choice(digits, 7)) for _ in range(n)]


def write_msd(
    root: Path,
    n: int = 24,
    n_test: int = 4,
    seed: int = 0,
    kind: str = "bytes",
    seven_digital: bool = False,
    seconds: float = 5.0,
) -> Path:
    """MSD with Last.fm tags: n ids of train and validation, n_test of test, pickles, 50tagList.txt and mp3 files.

    kind: `python2` (protocol 0 as Python 2 wrote it: ids and array bytes as str), `bytes` or `str` ids of Python 3.
    seven_digital: audio under 7digital's names, with the two pickles that lead there.
    """
    random = np.random.default_rng(seed)
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    ids = msd_ids(n + n_test, seed)
    vectors = {one: random.random((50, 1)) < 0.3 for one in ids}
    encode = (lambda one: one.encode()) if kind == "bytes" else (lambda one: one)
    lists = {
        "filtered_list_train.cP": [encode(one) for one in ids[:n]],
        "filtered_list_test.cP": [encode(one) for one in ids[n:]],
        "msd_id_to_tag_vector.cP": {encode(one): vector for one, vector in vectors.items()},
    }
    names = {one: f"{one[2]}/{one[3]}/{one[4]}/{one}.mp3" for one in ids}
    if seven_digital:
        numbers = {one: str(8_000_000 + i) for i, one in enumerate(ids)}
        names = {one: f"{number[0]}/{number[1]}/{number}.clip.mp3" for one, number in numbers.items()}
        lists["MSD_id_to_7D_id.pkl"] = {encode(one): encode(number) for one, number in numbers.items()}
        lists["7D_id_to_path.pkl"] = {encode(numbers[one]): encode(names[one]) for one in ids}
    for name, content in lists.items():
        (root / name).write_bytes(python2_pickle(content) if kind == "python2" else pickle.dumps(content, 2))
    (root / "50tagList.txt").write_text("\n".join(MSD_TAGS) + "\n")
    for i, one in enumerate(ids):
        write_audio(root / names[one], tone(seconds, seed * 1000 + i))
    return root


def python2_pickle(content) -> bytes:
    """What Python 2's cPickle wrote of lists and dictionaries of str and bool arrays, protocol 0, text in it as str."""
    return _opcodes(content) + b"."


def _opcodes(value) -> bytes:
    if isinstance(value, str):
        return b"S'" + value.encode().decode("latin1").encode("unicode_escape") + b"'\n"
    if isinstance(value, list):
        return b"(lp0\n" + b"".join(_opcodes(one) + b"a" for one in value)
    if isinstance(value, dict):
        return b"(dp0\n" + b"".join(_opcodes(key) + _opcodes(one) + b"s" for key, one in value.items())
    rows, columns = value.shape
    raw = "".join(f"\\x{byte:02x}" for byte in value.tobytes()).encode()
    dtype = b"cnumpy\ndtype\n(S'b1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    built = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    return built + b"(I1\n(I%d\nI%d\nt" % (rows, columns) + dtype + b"I00\nS'" + raw + b"'\ntb"


def write_jamendo(root: Path, n: int = 40, seed: int = 0, split: int = 0, low: bool = False, seconds: float = 5.0) -> Path:
    """MTG-Jamendo: data/splits/split-N/autotagging_top50tags-*.tsv, 1 to 6 tags a row, audio/ or audio-low/."""
    random = np.random.default_rng(seed)
    root = Path(root)
    folder = root / "data" / "splits" / f"split-{split}"
    folder.mkdir(parents=True, exist_ok=True)
    part = {"train": [], "validation": [], "test": []}
    for i in range(n):
        number = 1000 + 37 * i
        tags = random.choice(JAMENDO_TAGS, int(random.integers(1, 7)), replace=False)
        path = f"{number % 100:02}/{number}.mp3"
        row = [f"track_{number:07}", f"artist_{i // 2:06}", f"album_{i:06}", path, f"{seconds:.1f}", *sorted(tags)]
        part[("train", "train", "validation", "test")[i % 4]].append("\t".join(row))
        name = path.replace(".mp3", ".low.mp3") if low else path
        write_audio(root / ("audio-low" if low else "audio") / name, tone(seconds, seed * 1000 + i))
    for name, rows in part.items():
        header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
        (folder / f"autotagging_top50tags-{name}.tsv").write_text("\n".join([header, *rows]) + "\n")
    return root


def write_folder(
    root: Path,
    n: int = 40,
    seed: int = 0,
    kind: str = "binary",
    seconds: float = 5.0,
    ending: str = "ogg",
    prefix: str = "score:",
) -> Path:
    """One's own files under clips/ and a clips.csv: tags as `binary` columns, `scores` (score:*), or `names` in a cell."""
    random = np.random.default_rng(seed)
    root = Path(root)
    tags = ["piano", "slow", "no vocals"]
    columns = {"binary": tags, "scores": [f"{prefix}{tag}" for tag in tags], "names": ["tags"]}[kind]
    rows = []
    for i in range(n):
        name = f"piece{i // 2}_{i % 2}.{ending}"
        write_audio(root / "clips" / name, tone(seconds, seed * 1000 + i))
        scores = random.random(len(tags))
        cells = {
            "binary": [int(score >= 0.5) for score in scores],
            "scores": [f"{score:.3f}" for score in scores],
            "names": ["; ".join(tag for tag, score in zip(tags, scores, strict=True) if score >= 0.5)],
        }[kind]
        rows.append([name, ("train", "train", "valid", "test")[i // 2 % 4], f"piece{i // 2}", *cells])
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "source", *columns])
        writer.writerows(rows)
    return root
