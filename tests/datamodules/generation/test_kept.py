"""A user's own music in the answer of a system: notes, voices and MIDI events as they were given, remarks on the rest."""

from collections import Counter
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.audio.midi_file import NAME
from datamodules.common.errors import DataError
from datamodules.generation.adapting import closed
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, in_order
from datamodules.generation.reading import read_piece
from datamodules.generation.reading.midi import LYRIC, MidiSource, read_source
from datamodules.generation.user_pieces import UserPieces
from datamodules.generation.views import BarImage, PianoRoll, Serial, VoiceGrid
from datamodules.generation.voices import likely_melody, monophonic
from datamodules.generation.writing.midi import midi_bytes
from models.generation import NextStep
from models.generation.cores import RNNCore
from models.generation.heads import BernoulliHead, SoftmaxHead, VoiceHead
from tasks.generation.adapt_input import accompanied, adapted, restored, sparse
from tasks.generation.inference import GeneratedPiece, Writer
from tasks.generation.module import GenerationModule
from tasks.generation.options import GenerationOptions
from tasks.generation.writer import PieceFiles, only_in_midi
from tests.helpers.music_files import midi, written
from tests.helpers.pieces import chorale, fitted, piece_of
from tests.helpers.symbolic_layouts import write_midi

MUSIC = Path(__file__).parents[2] / "music"
LINES = ("grace.musicxml", "grace_type0.mid", "jitter.mid", "legato.mid", "one.mid", "reel.abc", "seven8.mid", "triplets.mid")
HEADS = {
    "voice_grid": partial(VoiceHead, hidden=8),
    "serial": SoftmaxHead,
    "piano_roll": BernoulliHead,
    "bar_image": BernoulliHead,
}


@cache
def composer(kind: type = VoiceGrid) -> GenerationModule:
    """A small network on a view of chorales that has learned nothing."""
    view = fitted(kind(), *map(chorale, range(3)))
    torch.manual_seed(0)
    net = partial(NextStep, core=partial(RNNCore, kind="gru", width=8), head=HEADS[view.name])
    return GenerationModule(view.state(), net)


def answer(path, use: str, kind: type = VoiceGrid, seed: int = 0, span: str | None = None, **options) -> GeneratedPiece:
    question = UserPieces(use=use, span=span, **({"bars": 2} if use == "continue" else {}), **options).ask((str(path),))
    return Writer(composer(kind))(question, seed)[0]


def heads(piece, ticks: int) -> Counter:
    """Onset, duration and pitch of every note at a number of ticks a quarter note."""
    scale = ticks // piece.ticks
    return Counter((onset * scale, lasts * scale, pitch) for onset, lasts, pitch in piece.notes[:, :3].tolist())


def of(path, content: bytes):
    path.write_bytes(content)
    return read_piece(path)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("use", ["harmonise", "continue"])
def test_every_given_note_comes_back(tmp_path, name, use):
    given = read_piece(MUSIC / name, "played")
    made = of(tmp_path / "out.mid", answer(MUSIC / name, use).midi())
    assert not heads(given, made.ticks) - heads(made, made.ticks)
    assert made.voices == (4 if use == "harmonise" else given.voices)
    if use == "harmonise":
        assert np.array_equal(made.voice(0)[:, PITCH], given.notes[:, PITCH])
        assert made.length == given.length * made.ticks // given.ticks


def test_a_melody_played_legato_is_one_voice_and_keeps_its_notes(tmp_path):
    given = read_piece(MUSIC / "legato.mid")
    assert (given.voices, len(given.notes)) == (1, 8)
    frames = VoiceGrid().encode(given).frames
    assert np.flatnonzero(frames[:, 0] > 1).tolist() == list(range(0, 32, 4)), "every note is struck on its own beat"
    longer = given.with_notes(np.where(np.arange(5) == DURATION, 900, given.notes))
    assert len(VoiceGrid().encode(longer).frames), "notes held nearly until the next but one too"


def test_a_pitch_struck_again_while_it_is_held_keeps_the_line():
    again = piece_of((0, 12, 60, 0), (4, 2, 60, 0), (6, 2, 62, 0), (8, 2, 64, 0)).notes
    assert monophonic(again)
    assert not monophonic(in_order([*again, [4, 6, 50, 80, 0]]))
    spread = piece_of((0, 96, 60, 0), (2, 96, 64, 0), (96, 96, 62, 0), (98, 96, 65, 0)).notes
    assert not monophonic(spread, slack=12), "a chord that is struck nearly at once is no legato"


def test_the_melody_is_taken_by_its_name_and_said(tmp_path):
    low, high = [(0, 480, 60), (480, 480, 62)], [(0, 480, 80), (480, 480, 82)]
    path = write_midi(tmp_path / "song.mid", {"MELODY": low, "BRIDGE": high, "PIANO": [(0, 960, 40)]})
    made = answer(path, "harmonise")
    assert made.piece.voice(0)[:, PITCH].tolist() == [60, 62]
    assert made.remarks[0] == (
        "the melody is 'MELODY' (--data.voice takes another): the file has voices 0 (BRIDGE), 1 (MELODY), 2 (PIANO)"
    )
    for voice, pitches in (("bridge", [80, 82]), ("pia", [40]), (0, [80, 82]), ("2", [40])):
        assert answer(path, "harmonise", voice=voice).piece.voice(0)[:, PITCH].tolist() == pitches
    with pytest.raises(DataError, match=r"no voice is called --data.voice flute: the file has voices 0 \(BRIDGE\)"):
        answer(path, "harmonise", voice="flute")


@pytest.mark.parametrize(
    ("names", "voice"),
    [
        (("BRIDGE", "MELODY", "PIANO"), 1),
        (("Strings", "Lead Vocals", "Lead Guitar"), 1),
        (("Backing Vocals", "Vox", "Bass"), 1),
        (("Flute", "Gesang", "Klavier"), 1),
        (("伴奏", "主旋律"), 1),
        (("Synth", "Lead"), 1),
        (("Soprano", "Alto", "Tenor", "Bass"), 0),
        (("Voice 1", "Voice 2"), 0),
        (("Violin", "Cello"), 0),
        (("Mellotron", "Choir Voices", "Lead_2"), 2),
        ((), 0),
    ],
)
def test_a_name_says_which_voice_is_the_melody(names, voice):
    assert likely_melody(names) == voice


def messages(source: MidiSource, scale: int = 1) -> list[Counter]:
    """Events other than notes of each track, with their times."""
    return [
        Counter((event.tick * scale, event.message) for event in events if event.kind not in (8, 9)) for events in source.tracks
    ]


@pytest.mark.parametrize("use", ["continue", "harmonise", "inpaint"])
def test_tracks_names_controllers_bends_and_words_come_back(tmp_path, use):
    path = MUSIC / "pop_multi.mid"
    given, source = read_piece(path), read_source(path.read_bytes())
    made = answer(path, use, span="3" if use == "inpaint" else None)
    back = read_source(made.midi())
    scale = back.ticks // source.ticks
    for before, after in zip(messages(source, scale), messages(back), strict=False):
        assert before == after
    names = [event.message[3:] for events in back.tracks[5:] for event in events if event.meta == NAME]
    assert names == ([b"Alto", b"Tenor", b"Bass (new)"] if use == "harmonise" else [])
    again = of(tmp_path / "out.mid", made.midi())
    assert np.array_equal(again.drums, given.at(again.ticks).drums)
    if use != "inpaint":
        assert not heads(given, again.ticks) - heads(again, again.ticks)
    used = {event.message[0] & 15 for events in source.tracks for event in events if event.message[0] < 0xF0}
    new = {event.message[0] & 15 for events in back.tracks[5:] for event in events if event.message[0] < 0xF0}
    assert not used & new, "new voices are on channels of their own"


def test_what_only_midi_holds_is_said():
    made = answer(MUSIC / "pop_multi.mid", "continue")
    (said,) = only_in_midi(made, PieceFiles())
    assert said == (
        "the score has only notes; the MIDI file keeps 1 copyright note, 1 marker, 1 lyric, 3 controllers, 8 pitch bends of the "
        "input"
    )
    assert only_in_midi(made, PieceFiles(score=False)) == []
    others, _ = only_in_midi(answer(MUSIC / "pop_multi.mid", "harmonise"), PieceFiles())
    assert others == "score, picture and sound have the melody and the generated voices; the MIDI file has the others too"
    assert "the system generates no drums: those of the input are copied" in made.remarks


def test_a_view_of_one_melody_leaves_the_other_voices_as_they_are(tmp_path):
    given = read_piece(MUSIC / "pop_multi.mid")
    made = answer(MUSIC / "pop_multi.mid", "inpaint", BarImage, span="2")
    assert "the system generates only the melody: the other 2 are copied from the input" in made.remarks
    kept = made.piece.at(made.piece.ticks)
    for voice in (1, 2):
        assert np.array_equal(kept.voice(voice)[:, :3], given.at(made.piece.ticks).voice(voice)[:, :3])
        assert len(made.fixed.voice(voice)) == len(given.voice(voice))


def test_overlapping_notes_of_one_pitch_all_come_back(tmp_path):
    notes = [(480 * k, 480, 60 + k % 3) for k in range(8)] + [(1000, 400, 62), (1920, 900, 60)]
    path = write_midi(tmp_path / "again.mid", {"": sorted(notes)})
    given = read_piece(path)
    assert len(given.notes) == 10
    for use in ("harmonise", "continue"):
        made = of(tmp_path / "out.mid", answer(path, use).midi())
        assert not heads(given, made.ticks) - heads(made, made.ticks)


def test_a_tempo_long_after_the_end_is_cut(tmp_path):
    late = b"\x87\xa6\x00\xff\x51\3\x0f\x42\x40"  # 119,680 ticks later
    path = written(tmp_path, "late.mid", midi(b"\0\x90\x3c\x50\x83\x60\x80\x3c\0" + late))
    given = read_piece(path)
    assert given.tempi.tolist() == [[0, 500_000]]
    for use in ("harmonise", "continue"):
        made = read_source(answer(path, use).midi())
        assert max(event.tick for events in made.tracks for event in events) <= 3 * 1920


def test_a_lyric_is_not_read_as_a_name_and_names_without_utf8_stay(tmp_path):
    track = b"\0\xff\3\2\xd6\xf7\0\xff\5\1\xc4\0\x90\x3c\x50\x83\x60\x80\x3c\0"
    path = written(tmp_path, "gbk.mid", midi(track))
    back = read_source(answer(path, "continue").midi())
    assert [event.message for event in back.tracks[0] if event.meta in (NAME, LYRIC)] == [b"\xff\3\2\xd6\xf7", b"\xff\5\1\xc4"]


@pytest.mark.parametrize("content", [b"\0\x3c\x50", b"\0\x90\x3c", b"\0\xff\x51\x7f", b"\x80\x80\x80\x80\x80"])
def test_events_that_are_none_are_refused(content):
    with pytest.raises(ValueError, match=r"without|cut short"):
        read_source(b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(content).to_bytes(4, "big") + content)


@pytest.mark.parametrize("kind", [VoiceGrid, Serial, PianoRoll])
@pytest.mark.parametrize("use", ["continue", "inpaint"])
def test_a_lone_melody_stays_alone(kind, use):
    given = read_piece(MUSIC / "grace_meter.mid")
    for seed in range(3):
        made = answer(MUSIC / "grace_meter.mid", use, kind, seed, "3-4" if use == "inpaint" else None).piece
        assert made.voices == given.voices == 1
        assert monophonic(made.notes)


def test_a_voice_that_was_seen_octaves_away_goes_on_in_its_own():
    view = fitted(VoiceGrid(voices=2, low=48, high=72), piece_of((0, 4, 60, 0), (0, 4, 55, 1)))
    given = piece_of(*((2 * k, 2, 60 + k, 0) for k in range(8)), *((4 * k, 4, 36 - k, 1) for k in range(4)))
    template = given.with_notes(given.notes, length=32)
    seen, _, _ = adapted(view, template, given, "continue")
    assert seen.voice(1)[:, PITCH].tolist() == [48, 59, 58, 57]
    written = seen.with_notes([*seen.notes, [16, 16, 57, 80, 1], [16, 16, 62, 80, 0]])
    made = restored(view, template, seen, written, "continue", (16, 32))
    assert made.notes[made.notes[:, ONSET] == 16][:, PITCH].tolist() == [62, 33]


@pytest.mark.parametrize("kind", [VoiceGrid, Serial, PianoRoll])
def test_voices_that_a_piece_lacks_are_free(kind):
    view, piece = fitted(kind(), chorale(0)), chorale(1)
    melody = piece.with_notes(piece.voice(0))
    span = (piece.pickup + piece.bar, piece.length)
    for one, lacks in ((piece, False), (melody, True)):
        fixed = view.fixed(one, "inpaint", span)
        freed = view.freed(fixed, one)
        assert (freed <= fixed).all()
        assert (freed < fixed).any() == lacks
        values = view.encode(one).frames
        sounding = values > 0 if view.name == "piano_roll" else np.zeros_like(fixed)
        assert (freed | ~(fixed & sounding)).all(), "what sounds stays fixed"


def test_short_gaps_of_a_melody_are_closed_for_the_system_alone():
    piece = piece_of((0, 2, 60, 0), (4, 1, 62, 0), (8, 4, 64, 0), (0, 1, 40, 1), length=32)
    assert closed(piece).voice(0)[:, [ONSET, DURATION]].tolist() == [[0, 4], [4, 4], [8, 4]]
    assert closed(piece).voice(1).tolist() == piece.voice(1).tolist()
    given = read_piece(MUSIC / "stacc.mid")
    made = answer(MUSIC / "stacc.mid", "harmonise").piece
    assert made.voice(0)[:, [ONSET, DURATION, PITCH]].tolist() == given.notes[:, [ONSET, DURATION, PITCH]].tolist()


def test_a_metre_of_one_quarter_is_read_as_four(tmp_path):
    path = write_midi(tmp_path / "song.mid", {"MELODY": [(480 * k, 480, 60 + k) for k in range(8)]}, metre=(1, 4))
    piece = read_piece(path)
    assert piece.metres.tolist() == [[0, 4, 4]]
    assert "its metre 1/4 is read as 4/4" in answer(path, "harmonise").remarks
    assert b"\xff\x58\4\1\2" in answer(path, "harmonise").midi(), "in the user's own file it stays"
    pickup = read_piece(MUSIC / "grace_meter.mid")
    assert (pickup.pickup, pickup.metres.tolist()) == (480, [[0, 3, 4]])


def test_silence_under_a_melody_is_said():
    silent = piece_of((0, 8, 60, 0), (8, 8, 62, 0), (0, 4, 50, 1))
    assert accompanied(silent) == 0.25
    assert sparse(silent) == ["the generated voices cover only 25 % of the melody: it differs from the training data"]
    assert sparse(piece_of((0, 8, 60, 0), (0, 8, 50, 1))) == []


def test_a_chorale_written_as_midi_and_asked_again_is_the_same(tmp_path):
    piece = chorale(2)
    path = tmp_path / "chorale.mid"
    path.write_bytes(midi_bytes(piece))
    made = answer(path, "continue")
    assert GenerationOptions().samples == 1
    back = of(tmp_path / "out.mid", made.midi())
    whole = made.piece.at(back.ticks)
    assert np.array_equal(back.notes[:, [ONSET, DURATION, PITCH, VOICE]], whole.notes[:, [ONSET, DURATION, PITCH, VOICE]])
    assert (back.length, back.pickup) == (whole.length, whole.pickup)
    assert np.array_equal(back.chords, whole.chords) and np.array_equal(back.fermatas, whole.fermatas)
