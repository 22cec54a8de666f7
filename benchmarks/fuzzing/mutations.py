"""Seeded mutations of valid files: bytes, numbers, lines, members of archives, values of checkpoints."""

import io
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

from benchmarks.fuzzing.seeds import content_of_checkpoint, saved, seeds, zipped

LARGEST = {"kern": 8000, "mei": 30_000, "musicxml": 100_000}
"""Largest size of a mutated file in bytes; smaller for formats whose libraries are slow on long valid files."""
NUMBERS = ("0", "-1", "1", "1e999", "nan", "inf", "-0.5", "99999999999", "2147483648", "0.0000001", "1/0", "", "9" * 400)
TEXTS = {
    "abc": ("{", "[", '"', "(3", "|:", "-", "<", "[K:", "[M:1/64]", "V:9\n", "X:2\n", "//", "&", "=", "Z99", '"Cmino', "[r:"),
    "musicxml": ("<note>", "<chord/>", "<backup><duration>99</duration></backup>", "&x;", "<!DOCTYPE x>", "<![CDATA[", "</part>"),
    "mei": ("<note/>", "<chord>", "&x;", "<tuplet>", "</layer>", 'dur="0"', 'dots="99"'),
    "kern": ("\t", "*^", "*v", "\t.", "*-", "!!", "4..", "q", "0", "[", "=:|!", "*x", "3%2"),
    "table": ("\t", ",", ";", '"', "\r", "nan", "'", "\u2028", "[", ")-note("),
    "yaml": ("*t", "&t ", "[", "{", "- ", "? ", "!!python/object/apply:os.system [x]", ": ", "<<: ", "\t", '"', "|", "%"),
    "json": ("[", "{", '"', ",", "NaN", "null", "\\u0000"),
}
VALUES: tuple[Any, ...] = (
    *("", "../../x", "/etc/passwd", "os.system", "torch.optim.optimizer.warnings.warn", "{class_path: os.system}", "\0"),
    "[" * 500,
    *(None, True, -1, 0, 2**70, float("nan"), b"x", [], {}, [[[]]], {"class_path": "os.system"}, {"class_path": None}),
    *({"init_args": 3}, {"class_path": "models.tagging.Spec", "init_args": []}, ("a",), {1: 2}),
)


def mutated(kind: str, seed: int, number: int) -> tuple[str, bytes]:
    """(ending, content) of input `number` of a format; the valid files come first."""
    good = seeds()[kind]
    if number < len(good):
        return good[number]
    draw = random.Random(f"{seed} {kind} {number}")
    ending, content = draw.choice(good)
    for change in range(draw.choice((1, 1, 1, 2, 3, 5))):
        if kind == "checkpoint" and not change and draw.random() < 0.5:
            content = saved(_value(draw, content_of_checkpoint()))
        elif kind in ("mxl", "npz", "checkpoint") and draw.random() < 0.6:
            content = _member(draw, content, kind)
        elif kind in TEXTS and draw.random() < 0.8:
            content = draw.choice(TEXT)(draw, content, kind)
        else:
            content = draw.choice(BYTES)(draw, content)
    return ending, content[: LARGEST.get(kind, 300_000)]


def _place(draw: random.Random, content: bytes) -> int:
    """Random offset, in the header with probability 1/2."""
    return draw.randrange(min(len(content), 64 if draw.random() < 0.4 else len(content)) or 1)


def _flip(draw: random.Random, content: bytes) -> bytes:
    held = bytearray(content or b"\0")
    for _ in range(draw.choice((1, 1, 4, 32))):
        held[_place(draw, held)] ^= 1 << draw.randrange(8)
    return bytes(held)


def _extreme(draw: random.Random, content: bytes) -> bytes:
    """Overwrite a field of 1 to 8 bytes by an extreme value."""
    size, at = draw.choice((1, 2, 4, 8)), _place(draw, content)
    value = draw.choice((0, 1, 0x7F, 0x80, 0xFF, (1 << 8 * size) - 1, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1))
    field = (value & ((1 << 8 * size) - 1)).to_bytes(size, draw.choice(("little", "big")))
    return content[:at] + field + content[at + size :]


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: _place(draw, content)]


def _drop(draw: random.Random, content: bytes) -> bytes:
    at = _place(draw, content)
    return content[:at] + content[at + draw.choice((1, 4, 50)) :]


def _repeat(draw: random.Random, content: bytes) -> bytes:
    at, size = _place(draw, content), draw.choice((1, 2, 8, 64))
    return content[:at] + content[at : at + size] * draw.choice((2, 10, 1000)) + content[at + size :]


def _insert(draw: random.Random, content: bytes) -> bytes:
    at = _place(draw, content)
    return content[:at] + draw.choice((draw.randbytes(8), b"\0" * 16, b"\xff" * 16, b"\xef\xbb\xbf", b"\r")) + content[at:]


def _number(draw: random.Random, content: bytes, kind: str) -> bytes:
    """Replace a number by an unusual one."""
    spans = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", content)]
    if not spans:
        return content
    start, end = draw.choice(spans)
    return content[:start] + draw.choice(NUMBERS).encode() + content[end:]


def _word(draw: random.Random, content: bytes, kind: str) -> bytes:
    """Insert a token of the format at a random position, once or many times."""
    at = draw.randrange(len(content) + 1)
    word = draw.choice(TEXTS[kind]).encode() * draw.choice((1, 1, 1, 2, 30, 5000))
    return content[:at] + word + content[at:]


def _line(draw: random.Random, content: bytes, kind: str) -> bytes:
    """Delete, duplicate or move a line or an element."""
    parts = re.split(rb"(?<=\n)|(?<=>)", content)
    at, to = draw.randrange(len(parts)), draw.randrange(len(parts))
    if draw.random() < 0.4:
        parts[at] *= draw.choice((0, 2, 100))
    else:
        parts[at], parts[to] = parts[to], parts[at]
    return b"".join(parts)


BYTES: tuple[Callable[..., bytes], ...] = (_flip, _flip, _extreme, _extreme, _cut, _drop, _repeat, _insert)
TEXT: tuple[Callable[..., bytes], ...] = (_number, _number, _word, _line)


def _member(draw: random.Random, content: bytes, kind: str) -> bytes:
    """Mutate a member of an archive, with a valid checksum."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # an earlier mutation has damaged it
        return draw.choice(BYTES)(draw, content)
    if not members:
        return content
    name = draw.choice(sorted(members))
    if kind == "mxl" and name.endswith(".xml"):
        members[name] = draw.choice((*TEXT, _word))(draw, members[name], "musicxml")
    else:
        members[name] = draw.choice(BYTES)(draw, members[name])
    if draw.random() < 0.05:
        members[draw.choice(("../x", "/x", "x" * 300))] = members.pop(name)
    return zipped(members)


def _value(draw: random.Random, value: Any) -> Any:
    """Replace a value of nested content."""
    inner = isinstance(value, dict | list) and value
    if not inner or draw.random() < 0.15:
        return draw.choice(VALUES)
    if isinstance(value, list):
        at = draw.randrange(len(value))
        return [*value[:at], _value(draw, value[at]), *value[at + 1 :]]
    key = draw.choice(sorted(value, key=str))
    if draw.random() < 0.1:
        other = draw.choice(("hparams", "module_arguments", "_instantiator", 3, ""))
        return {other if name == key else name: item for name, item in value.items()}
    return value | {key: _value(draw, value[key])}
