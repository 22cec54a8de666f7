"""Tiny sets of recordings and scores, written as the real ones lie on disk; what is played is known to the writer."""

import csv
import json
from pathlib import Path

import numpy as np

from tests.helpers.layouts import tone, write_audio

DIVISIONS = 12  # of a quarter note: eighths, triplets and sixteenths are whole
SCALE = (("C", 60), ("D", 62), ("E", 64), ("F", 65), ("G", 67), ("A", 69), ("B", 71))
FORWARD = '<barline location="left"><repeat direction="forward"/></barline>'
BACKWARD = '<barline location="right"><repeat direction="backward"/></barline>'


def write_midi_notes(path: Path, onsets, pitches=None, lengths=0.2, tempo: float = 120.0) -> Path:
    """Notes at seconds by pretty_midi, which writes them to 0.6 ms; pitches default to a scale."""
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(resolution=960, initial_tempo=tempo)
    midi.instruments.append(pretty_midi.Instrument(0))
    pitches = [SCALE[i % 7][1] for i in range(len(onsets))] if pitches is None else pitches
    for onset, pitch in zip(onsets, pitches, strict=True):
        midi.instruments[0].notes.append(pretty_midi.Note(80, int(pitch), float(onset), float(onset) + lengths))
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.write(str(path))
    return path


def note(index: int, quarters: float = 1.0, name: str = "", extra: str = "", octave: int = 4) -> str:
    """A note of the C major scale from C4 on; quarters 0: a grace note. extra: elements after <voice>."""
    step = SCALE[index % 7][0]
    size = f"<duration>{round(quarters * DIVISIONS)}</duration>" if quarters else ""
    head = f'<note id="{name}">' if name else "<note>"
    pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    return f"{head}{'' if quarters else '<grace/>'}{pitch}{size}<voice>1</voice>{extra}</note>"


def chord(index: int, quarters: float = 1.0, name: str = "") -> str:
    """A note that sounds with the one before it."""
    return note(index, quarters, name).replace("<pitch>", "<chord/><pitch>")


def attributes(over: int = 3, under: int = 4) -> str:
    """The head of a first measure: divisions and a time signature."""
    time = f"<time><beats>{over}</beats><beat-type>{under}</beat-type></time>"
    return f"<attributes><divisions>{DIVISIONS}</divisions><key><fifths>0</fifths></key>{time}</attributes>"


def tempo(quarters_a_minute: float) -> str:
    """A direction with a tempo to play at."""
    return f'<direction><direction-type><words>x</words></direction-type><sound tempo="{quarters_a_minute}"/></direction>'


def musicxml(*measures: str) -> str:
    """A MusicXML document of one part, a string of elements a measure."""
    body = "".join(f'<measure number="{i}">{measure}</measure>' for i, measure in enumerate(measures, 1))
    return (
        '<?xml version="1.0"?><score-partwise version="3.1"><part-list><score-part id="P1"><part-name>piano</part-name>'
        f'</score-part></part-list><part id="P1">{body}</part></score-partwise>'
    )


def waltz(bars: int, first: int = 1) -> list[str]:
    """Measures of three quarter notes each, up the scale; their ids are n1a, n1b, n1c, n2a and so on."""
    measures = ["".join(note(3 * bar + i, 1.0, f"n{first + bar}{'abc'[i]}") for i in range(3)) for bar in range(bars)]
    return [attributes() + measures[0], *measures[1:]] if first == 1 else measures


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def onsets_of(seed: int, count: int = 12) -> np.ndarray:
    """Rising times (count,), s, as a player's."""
    return np.cumsum(np.random.default_rng(seed).uniform(0.2, 0.6, count)).round(3)


def write_maps(root: Path, pieces=("alb_se3", "bk_xmas1", "mz_331_3"), pianos=("AkPnBcht", "ENSTDkCl")) -> Path:
    """MAPS: MAPS_<piano>_1/<piano>/MUS/MAPS_MUS-<piece>_<piano>.{wav,mid,txt}."""
    for i, piano in enumerate(pianos):
        for j, piece in enumerate(pieces):
            place = root / f"MAPS_{piano}_1" / piano / "MUS" / f"MAPS_MUS-{piece}_{piano}"
            onsets = onsets_of(10 * i + j)
            write_audio(place.with_name(f"{place.name}.wav"), tone(0.3, 10 * i + j))
            write_midi_notes(place.with_name(f"{place.name}.mid"), onsets)
            rows = [f"{t:.6f}\t{t + 0.2:.6f}\t{SCALE[k % 7][1]}" for k, t in enumerate(onsets)]
            write_text(place.with_name(f"{place.name}.txt"), "\n".join(["OnsetTime\tOffsetTime\tMidiPitch", *rows]))
    return root


def write_smd(root: Path, ending: str = ".wav") -> Path:
    """SMD: five movements, flat."""
    names = ("Bach_BWV849-01_001_20090916", "Bach_BWV849-02_001_20090916", "Chopin_Op028-01_003_20100611")
    for i, name in enumerate((*names, "Chopin_Op028-01_004_20100611", "Ravel_JeuxDEau_008_20110315")):
        write_audio(root / f"{name}-SMD{ending}", tone(0.3, i))
        write_midi_notes(root / f"{name}-SMD.mid", onsets_of(i))
    return root


def write_maestro(root: Path, sound: bool = True, table: str = "csv") -> Path:
    """MAESTRO: one piece a split, two performances of that to train on."""
    rows = []
    for i, (title, split) in enumerate((("Sonata", "train"), ("Sonata", "train"), ("Fugue", "validation"), ("Waltz", "test"))):
        place = f"2004/MIDI-Unprocessed_SMF_{i}"
        write_midi_notes(root / f"{place}.midi", onsets_of(i))
        if sound:
            write_audio(root / f"{place}.wav", tone(0.3, i))
        names = {"midi_filename": f"{place}.midi", "audio_filename": f"{place}.wav", "duration": 5.0}
        rows.append({"canonical_composer": "A, Major", "canonical_title": title, "split": split, "year": 2004, **names})
    if table == "json":
        columns = {column: {str(i): row[column] for i, row in enumerate(rows)} for column in rows[0]}
        write_text(root / "maestro-v3.0.0.json", json.dumps(columns))
    else:
        with (root / "maestro-v2.0.0.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return root


ASAP_COLUMNS = [
    *("composer", "title", "folder", "xml_score", "midi_score", "midi_performance", "performance_annotations"),
    *("midi_score_annotations", "maestro_midi_performance", "maestro_audio_performance", "start", "end", "audio_performance"),
]


def write_asap(root: Path, performances: dict[str, np.ndarray], kinds: list[str], audio=()) -> Path:
    """ASAP: performances by name (Bach/Fugue/bwv_846/Shi05M), each its beats; all scores have beats 0.5 s apart.

    kinds: the label of each beat (db, b or bR) in the scores. audio: names with a sound file.
    """
    rows = []
    for name, beats in performances.items():
        folder, who = name.rsplit("/", 1)
        score = np.arange(len(kinds)) * 0.5
        write_labels(root / folder / "midi_score_annotations.txt", score, kinds)
        write_labels(root / folder / f"{who}_annotations.txt", beats, kinds)
        write_midi_notes(root / folder / "midi_score.mid", score)
        write_midi_notes(root / folder / f"{who}.mid", beats)
        if name in audio:
            write_audio(root / folder / f"{who}.wav", tone(0.3))
        composer, *title = folder.split("/")
        row = {"composer": composer, "title": "_".join(title), "folder": folder, "midi_score": f"{folder}/midi_score.mid"}
        row |= {"midi_performance": f"{name}.mid", "performance_annotations": f"{name}_annotations.txt"}
        row |= {"midi_score_annotations": f"{folder}/midi_score_annotations.txt"}
        rows.append(row | ({"audio_performance": f"{name}.wav"} if name in audio else {}))
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ASAP_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return root


def write_labels(path: Path, times, kinds) -> Path:
    """An annotation file of ASAP: the first label also says the time signature and the key."""
    kinds = [f"{kind},3/4,0" if i == 0 else kind for i, kind in enumerate(kinds)]
    rows = [f"{time}\t{time}\t{kind}" for time, kind in zip(times, kinds, strict=False)]
    return write_text(path, "\n".join(rows) + "\n")


def match_line(name: str, index: int, beat: float, tick: int | None, duration: str = "1/4") -> str:
    """A line of a match file, version 1.0.0, of a note from C4 on; tick None: not played."""
    step, pitch = SCALE[index % 7]
    written = f"snote({name},[{step},n],4,1:1,0,{duration},{beat:.4f},{beat + 1:.4f},[v1,staff1])"
    return f"{written}-deletion." if tick is None else f"{written}-note(p{name},{pitch},{tick},{tick + 100},64,0,0)."


def write_match(path: Path, lines: list[str], units: int = 480, rate: int = 500_000) -> Path:
    """A match file, version 1.0.0, with the head and the pedal that the real ones have."""
    head = ["info(matchFileVersion,1.0.0).", "info(piece,x).", f"info(midiClockUnits,{units}).", f"info(midiClockRate,{rate})."]
    head += ["scoreprop(timeSignature,3/4,1:1,0,0.0000)."]
    return write_text(path, "\n".join([*head, *lines, "sustain(10,127).", "soft(12,0)."]) + "\n")


def write_vienna(root: Path, pieces=("Chopin_op38", "Mozart_K331_1st-mov", "Schubert_D783_no15"), pianists: int = 2) -> Path:
    """Vienna 4x22: waltzes of four bars; pianist p plays note i at `vienna_ticks(p)[i]`."""
    for piece in pieces:
        write_text(root / "musicxml" / f"{piece}.musicxml", musicxml(*waltz(4)))
        names = [f"n{bar}{beat}" for bar in range(1, 5) for beat in "abc"]
        for pianist in range(1, pianists + 1):
            ticks = vienna_ticks(pianist)
            lines = [match_line(name, i, float(i), int(ticks[i])) for i, name in enumerate(names)]
            write_match(root / "match" / f"{piece}_p{pianist:02}.match", lines)
            write_midi_notes(root / "midi" / f"{piece}_p{pianist:02}.mid", ticks / 960)
    return root


def vienna_ticks(pianist: int) -> np.ndarray:
    """When a pianist plays the twelve notes (12,) int, ticks of 1/960 s."""
    return np.cumsum(np.random.default_rng(pianist).integers(200, 900, 12))


def write_mazurkas(root: Path, beats: dict[str, np.ndarray], bars: int = 4) -> Path:
    """The mazurkas with tapped beats: recordings by name, each its beats; scores are waltzes with a repeat of all."""
    for i, (name, times) in enumerate(beats.items()):
        piece = "_".join(name.split("_")[:2])
        write_audio(root / "wav_22050_mono" / piece / f"{name}.wav", tone(0.3, i), 22_050)
        write_text(root / "annotations_beat" / piece / f"{name}.beat", "\n".join(f"{time:.6f}" for time in times))
        measures = waltz(bars)
        measures[-1] += BACKWARD
        write_text(root / "scores" / f"{piece}.musicxml", musicxml(*measures))
    return root


def write_mazurka_bl(root: Path, tables: dict[str, dict[str, np.ndarray]]) -> Path:
    """MazurkaBL: work such as 24-2 -> recording -> beats, which begin with a pickup; scores to them, repeats written out."""
    for work, recordings in tables.items():
        count = len(next(iter(recordings.values())))
        rows = [["", "", *recordings]]
        for i, place in enumerate([(1, 2), *((2 + i // 3, i % 3) for i in range(count - 1))]):
            rows.append([*place, *(f"{times[i]:.6f}" if i < len(times) else "" for times in recordings.values())])
        write_text(root / "beat_time" / f"M{work}beat_time.csv", "\n".join(",".join(map(str, row)) for row in rows) + "\n")
        measures = [attributes() + note(6, 1.0, "n0"), *waltz((count - 1) // 3, first=2)]
        write_text(root / "xml_scores" / f"mazurka{work}.xml", musicxml(*measures))
    return root
