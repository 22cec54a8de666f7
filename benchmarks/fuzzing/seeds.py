"""Small valid files of every supported format: (ending, content) by format."""

import io
import json
import pickle
import zipfile
from functools import lru_cache

import numpy as np

RATE = 8000
ABC = b"""X:1
T:Fuzz
C:Trad.
M:6/8
L:1/8
Q:1/4=120
R:jig
K:Gdor
"Gm"G2A B>cd|{ag}[G2B2d2]- G (3ABc|1 "F7"f2 z =e^fg:|2 !fermata!G6|]
V:2
[V:2] G,,6|G,6|[M:3/4][K:D]d4z2||
"""
KERN = b"""**kern\t**kern
*clefF4\t*clefG2
*k[b-]\t*k[b-]
*M3/4\t*M3/4
*MM100\t*MM100
=1\t=1
4F\t4a
8A\t[8cc
8c\t8cc]
4.d\t4.ff;
8r\t8ee
=2\t=2
*>A\t*>A
2.F\t12f
.\t12g
.\t12a
.\t2b-
==\t==
*-\t*-
"""
MEI = b"""<?xml version="1.0" encoding="UTF-8"?>
<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="4.0.0"><meiHead><fileDesc><titleStmt><title>Fuzz</title>
</titleStmt><pubStmt/></fileDesc></meiHead><music><body><mdiv><score>
<scoreDef meter.count="4" meter.unit="4" key.sig="1s"><staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2" trans.semi="-2" trans.diat="-1"/>
</staffGrp></scoreDef><section><measure n="1" xml:id="m1"><staff n="1"><layer n="1"><note xml:id="a" pname="c" oct="4" dur="4"/>
<note pname="d" oct="4" dur="8" dots="1"/><note pname="e" oct="4" dur="16"/><rest dur="4"/><chord dur="4"><note pname="f" oct="4"/>
<note pname="a" oct="4" accid="s"/></chord></layer></staff></measure><measure n="2" right="rptend"><staff n="1"><layer n="1">
<tuplet num="3" numbase="2"><note pname="c" oct="5" dur="4"/><note pname="d" oct="5" dur="4"/><note pname="e" oct="5" dur="4"/></tuplet>
<note pname="c" oct="4" dur="2"/></layer></staff></measure></section></score></mdiv></body></music></mei>
"""  # noqa: E501
MUSICXML = b"""<?xml version="1.0" encoding="UTF-8"?>
<score-partwise version="4.0"><work><work-title>Fuzz</work-title></work><part-list><score-part id="P1"><part-name>Flute</part-name>
<midi-instrument id="P1-I1"><midi-program>74</midi-program></midi-instrument></score-part></part-list><part id="P1">
<measure number="0" implicit="yes"><attributes><divisions>4</divisions><key><fifths>-1</fifths><mode>minor</mode></key>
<time><beats>3</beats><beat-type>4</beat-type></time><transpose><chromatic>-2</chromatic></transpose></attributes>
<direction><direction-type><metronome><beat-unit>quarter</beat-unit><per-minute>96</per-minute></metronome></direction-type></direction>
<note><pitch><step>A</step><octave>4</octave></pitch><duration>4</duration><voice>1</voice></note></measure>
<measure number="1"><barline location="left"><repeat direction="forward"/></barline>
<harmony><root><root-step>D</root-step></root><kind>minor</kind></harmony>
<note><grace/><pitch><step>C</step><octave>5</octave></pitch><voice>1</voice></note>
<note><pitch><step>D</step><alter>1</alter><octave>5</octave></pitch><duration>6</duration><tie type="start"/><voice>1</voice>
<lyric number="1"><syllabic>begin</syllabic><text>la</text></lyric></note>
<note><chord/><pitch><step>F</step><octave>5</octave></pitch><duration>6</duration><voice>1</voice></note>
<note><rest/><duration>2</duration></note><note><pitch><step>D</step><alter>1</alter><octave>5</octave></pitch><duration>4</duration>
<tie type="stop"/><voice>1</voice><notations><fermata/></notations></note><backup><duration>12</duration></backup>
<note><pitch><step>D</step><octave>3</octave></pitch><duration>12</duration><voice>2</voice><staff>1</staff></note>
<barline location="right"><ending number="1" type="stop"/><repeat direction="backward" times="2"/></barline></measure></part></score-partwise>
"""  # noqa: E501
MATCH = b"""info(matchFileVersion,5.0).
info(midiClockUnits,480).
info(midiClockRate,500000).
snote(n1,[C,n],4,1:1,0,1/4,0.0,1.0,[v1])-note(0,[C,n],4,480,900,900,60).
snote(n2,[D,n],4,1:2,0,1/4,1.0,2.0,[v1])-note(1,[D,n],4,960,1400,1400,62).
snote(n3,[E,n],4,1:3,0,1/4,2.0,3.0,[grace])-deletion.
insertion-note(2,[G,n],4,1500,1600,1600,50).
"""
EVENTS = b"filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.25\tBell\na.wav\t1,5\t2,0\tBird\nb.wav\t\t\t\n"
WEAK = b"filename\tevent_labels\na.wav\tBell,Bird\nb.wav\t\nc.wav\tBird\n"
DURATIONS = b"filename,duration\na.wav,10\nb.wav,9.5\n"
TABLE = b'path,rock,"jazz, slow",pop\na.wav,1,0,1.0\nb.wav,0,1,\nc.wav,True,False,0\n'
TIMES = b"# score_s performance_s\n0.0;0,5\n1.0;1,6\n2.0;2,4\n"
YAML = b"""# a config
seed_everything: 0
model: {net: {class_path: models.tagging.Spec, init_args: {channels: 1, width: 16}}, loss: null}
trainer: &t {max_epochs: 2, callbacks: []}
data:
  class_path: datamodules.MTAT
  init_args: {root: /data, batch_size: 8}
report: {<<: {baselines: false}, resamples: 20}
"""
METRICS = {
    "task": "tagging",
    "row": "tiny",
    "seed": 0,
    "data": {"name": "mtat", "subset": "full", "split": "test", "policy": "won16"},
    "metrics": {"auroc_macro": 0.9, "ap_macro": None, "n_clips": 3.0},
}


@lru_cache
def seeds() -> dict[str, list[tuple[str, bytes]]]:
    """Valid files by format, deterministic."""
    return {
        "wav": [("wav", _sound("WAV", "PCM_16", 2)), ("wav", _sound("WAV", "FLOAT")), ("wav", _sound("WAV", "PCM_24"))],
        "flac": [("flac", _sound("FLAC", "PCM_16", 2))],
        "mp3": [("mp3", _sound("MP3", "MPEG_LAYER_III"))],
        "ogg": [("ogg", _sound("OGG", "VORBIS"))],
        "midi": [("mid", _midi()), ("mid", _midi(bare=True))],
        "musicxml": [("musicxml", MUSICXML)],
        "mxl": [("mxl", _mxl())],
        "abc": [("abc", ABC)],
        "mei": [("mei", MEI)],
        "kern": [("krn", KERN)],
        "table": [("tsv", EVENTS), ("tsv", WEAK), ("csv", DURATIONS), ("csv", TABLE), ("csv", TIMES), ("match", MATCH)],
        "yaml": [("yaml", YAML)],
        "json": [("json", json.dumps(METRICS).encode())],
        "checkpoint": [("ckpt", _checkpoint())],
        "npz": [("npz", _npz())],
        "pickle": [("pickle", pickle.dumps({"train": [[(60, 64), ()], [(62,)]], "x": np.arange(3)}, 2))],
    }


def _sound(kind: str, subtype: str, channels: int = 1) -> bytes:
    import soundfile

    time = np.arange(RATE // 4) / RATE
    sound = 0.3 * np.sin(2 * np.pi * 220 * time)[:, None].repeat(channels, 1)
    held = io.BytesIO()
    soundfile.write(held, sound.astype(np.float32), RATE, format=kind, subtype=subtype)
    content = bytearray(held.getvalue())
    if (peak := content.find(b"PEAK")) >= 0:
        content[peak + 12 : peak + 16] = bytes(4)  # when it was written
    return _same_serial(content) if kind == "OGG" else bytes(content)


def _same_serial(content: bytearray) -> bytes:
    """An Ogg file whose stream has the number 1 instead of a random one, with the check sums of its pages."""
    at = 0
    while at < len(content):
        segments = content[at + 26]
        end = at + 27 + segments + sum(content[at + 27 : at + 27 + segments])
        content[at + 14 : at + 18], content[at + 22 : at + 26] = b"\1\0\0\0", bytes(4)
        content[at + 22 : at + 26] = _ogg_sum(content[at:end]).to_bytes(4, "little")
        at = end
    return bytes(content)


def _ogg_sum(page: bytes) -> int:
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (0x04C11DB7 if total & 0x80000000 else 0)) & 0xFFFFFFFF
    return total


def _midi(bare: bool = False) -> bytes:
    """Format 1 with tempo, metre, key, names, lyrics, controllers; bare: format 0 with running status."""
    notes = b"\x00\x90\x3c\x40\x60\x3c\x00\x00\x3e\x40\x60\x3e\x00\x00\xff\x2f\x00"
    head = b"\x00\xff\x03\x06melody\x00\xc0\x49\x00\xb0\x40\x7f\x00\xff\x05\x02la\x00\xe0\x00\x50"
    meta = b"\x00\xff\x51\x03\x07\xa1\x20\x00\xff\x58\x04\x03\x02\x18\x08\x00\xff\x59\x02\xff\x00"
    meta += b"\x00\xff\x06\x03end\x00\xff\x2f\x00"
    tracks = [notes] if bare else [meta, head + notes, b"\x00\x99\x26\x40\x60\x89\x26\x00\x00\xff\x2f\x00"]
    header = b"MThd\x00\x00\x00\x06" + bytes([0, 0 if bare else 1, 0, len(tracks), 0, 96])
    return header + b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)


def _mxl() -> bytes:
    container = b'<container><rootfiles><rootfile full-path="score.xml"/></rootfiles></container>'
    return zipped({"META-INF/container.xml": container, "score.xml": MUSICXML})


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip file with these members, the same bytes at any time."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return held.getvalue()


def content_of_checkpoint() -> dict:
    """Content of the good checkpoint."""
    import torch

    mel = {"class_path": "models.blocks.LogMel", "init_args": {"n_mels": 48}}
    net = {"class_path": "models.tagging.Spec", "init_args": {"channels": 1, "width": 16, "mel": mel}}
    return {
        "state_dict": {"net.weight": torch.zeros(2, 3)},
        "hyper_parameters": {"tags": ["rock", "pop"], "net": net, "loss": None, "scheduler_interval": "step"},
        "datamodule_hyper_parameters": {"_class_path": "datamodules.MTAT", "root": "/data", "batch_size": 8},
        "pytorch-lightning_version": "2.6.6",
        "epoch": 0,
        "quintet": {"task": "tagging", "row": "tiny", "seed": 0},
    }


def _checkpoint() -> bytes:
    return saved(content_of_checkpoint())


def saved(content: object) -> bytes:
    """torch.save file of a value."""
    import torch

    held = io.BytesIO()
    torch.save(content, held)
    return held.getvalue()


def _npz() -> bytes:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from datamodules.generation.corpora.corpus import Splits
    from datamodules.generation.pack import write
    from datamodules.generation.reading import read_pieces

    with TemporaryDirectory() as folder:
        (Path(folder) / "x.abc").write_bytes(ABC)
        piece = read_pieces(Path(folder) / "x.abc")[0]
        write(Path(folder) / "x.npz", Splits([piece], [piece], [piece], []))
        return (Path(folder) / "x.npz").read_bytes()
