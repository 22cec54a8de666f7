"""Small files of music, byte by byte, for the tests of who reads them."""

import io
import zipfile
from pathlib import Path


def written(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def midi(*tracks: bytes, ticks: int = 480, kind: int = 1) -> bytes:
    """A MIDI file of tracks, each without its end."""
    number = len(tracks).to_bytes(2, "big")
    chunks = [b"MTrk" + (len(track) + 4).to_bytes(4, "big") + track + b"\0\xff\x2f\0" for track in tracks]
    return b"MThd\0\0\0\6" + kind.to_bytes(2, "big") + number + ticks.to_bytes(2, "big") + b"".join(chunks)


def played(*notes: tuple[int, int], channel: int = 0) -> bytes:
    """Notes (pitch, 127 ticks at most) one after the other."""
    return b"".join(bytes((0, 0x90 | channel, pitch, 80, ticks, 0x80 | channel, pitch, 0)) for pitch, ticks in notes)


METRE = b"\0\xff\x58\4"


def zipped(**members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_xml", ".xml"), text)
    return stream.getvalue()
