"""What is known of a frame before its notes are."""

from dataclasses import replace

import numpy as np

from datamodules.generation.harmony import find_key
from datamodules.generation.views import VoiceGrid
from tests.helpers.pieces import chorale, piece_of


def test_position_counts_from_the_pickup_and_starts_again_with_a_metre():
    metres = np.array([[0, 3, 4], [14, 4, 4]], np.int32)
    piece = piece_of((0, 34, 60, 0), length=34, pickup=2, metres=metres)
    position, beats = VoiceGrid(conditions=["position", "beats"]).encode(piece).conditions[:, :16], slice(16, 20)
    assert position.argmax(1).tolist() == [10, 11, *range(12), *range(16), 0, 1, 2, 3]
    started = piece_of(length=20, pickup=4, metres=np.array([[0, 1, 4], [4, 3, 4]], np.int32))
    assert VoiceGrid(conditions=["position"]).encode(started).conditions.argmax(1).tolist() == [
        8,
        9,
        10,
        11,
        *range(12),
        0,
        1,
        2,
        3,
    ]
    strength = VoiceGrid(conditions=["position", "beats"]).encode(piece).conditions[:, beats].argmax(1)
    assert strength[2:14].tolist() == [0, 3, 2, 3, 1, 3, 2, 3, 1, 3, 2, 3]
    compound = piece_of(length=12, metres=np.array([[0, 6, 8]], np.int32))
    assert VoiceGrid(conditions=["beats"]).encode(compound).conditions.argmax(1).tolist() == [0, 3, 2, 3, 2, 3, 1, 3, 2, 3, 2, 3]


def test_fermata_and_key_are_known_of_each_frame():
    piece = piece_of((0, 4, 67, 0), (4, 8, 66, 0), (4, 10, 60, 1), fermatas=np.array([4], np.int32), tonic=7, mode="major")
    known = VoiceGrid(conditions=["fermata", "key"]).encode(piece).conditions
    assert np.flatnonzero(known[:, 0]).tolist() == [*range(4, 12)]
    assert np.flatnonzero(known[0, 1:]).tolist() == [1]  # one sharp
    minor = VoiceGrid(conditions=["key"]).encode(replace(piece, tonic=4, mode="minor")).conditions
    assert np.flatnonzero(minor[0]).tolist() == [1, 12]
    tonic, mode = find_key(chorale(0))
    guessed, named = (
        VoiceGrid(conditions=["key"]).encode(replace(chorale(0), tonic=t, mode=m)) for t, m in ((None, None), (tonic, mode))
    )
    assert np.array_equal(guessed.conditions, named.conditions)
