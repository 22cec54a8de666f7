"""The order in which measures are played, against what players do."""

from itertools import product
from xml.etree import ElementTree

import pytest

from datamodules.generation.reading.repeats import Signs, musicxml_signs, play_order

F, B = Signs(forward=True), Signs(backward=2)
PLAIN = Signs()


def ending(*numbers: int, back: int = 0) -> Signs:
    return Signs(ending=numbers, backward=back)


@pytest.mark.parametrize(
    ("signs", "order"),
    [
        ([PLAIN, PLAIN], [0, 1]),
        ([PLAIN, B, PLAIN], [0, 1, 0, 1, 2]),
        ([B, F, B], [0, 0, 1, 2, 1, 2]),
        ([Signs(forward=True, backward=4), PLAIN], [0, 0, 0, 0, 1]),
        ([F, ending(1, back=2), ending(2), PLAIN], [0, 1, 0, 2, 3]),
        ([F, ending(1, back=2), ending(2, back=2), PLAIN], [0, 1, 0, 2, 3]),  # as ABC closes it
        ([F, ending(1, back=2), PLAIN], [0, 1, 0, 2]),  # the second ending has no bracket
        ([F, ending(1, 2, back=3), ending(3)], [0, 1, 0, 1, 0, 2]),
        ([PLAIN, ending(1), ending(1, back=2), ending(2), ending(2)], [0, 1, 2, 0, 3, 4]),
        ([PLAIN, ending(1), ending(2)], [0, 1, 2]),  # brackets without a repeat
        ([PLAIN, Signs(fine=True), Signs(dacapo=True)], [0, 1, 2, 0, 1]),
        ([B, Signs(backward=2, fine=True), F, Signs(backward=2, dacapo=True)], [0, 0, 1, 1, 2, 3, 2, 3, 0, 1]),
        ([PLAIN, F, Signs(dacapo=True), B], [0, 1, 2, 3, 1, 2, 0, 1, 2, 3]),  # before the tail of a divided bar
        ([PLAIN, Signs(ending=(1,), dacapo=True), Signs(ending=(2,))], [0, 1, 0, 2]),
        ([PLAIN, Signs(segno=True), Signs(to_coda=True), Signs(dalsegno=True), Signs(coda=True)], [0, 1, 2, 3, 1, 2, 4]),
        ([PLAIN, Signs(dalsegno=True), Signs(to_coda=True)], [0, 1, 2]),  # signs that lead nowhere
    ],
)
def test_measures_are_played_as_players_do(signs, order):
    assert play_order(signs) == order


def test_repeats_may_be_left_out_and_jumps_too():
    signs = [F, ending(1, 2, back=3), ending(3), B, Signs(dacapo=True)]
    assert play_order(signs, {0: 1, 3: 1}, jumps=False) == [0, 2, 3, 4]
    assert play_order(signs, {0: 2}, jumps=False) == [0, 1, 0, 2, 3, 3, 4]
    assert play_order(signs, {3: 1}) == [0, 1, 0, 1, 0, 2, 3, 4, 0, 2, 3, 4]


def test_every_combination_of_signs_comes_to_an_end():
    kinds = [PLAIN, F, B, ending(1, back=2), ending(2), Signs(dacapo=True, fine=True), Signs(segno=True, dalsegno=True),
             Signs(to_coda=True, coda=True), Signs(forward=True, backward=2, dalsegno=True)]  # fmt: skip
    for signs in product(kinds, repeat=4):
        order = play_order(signs)
        assert order[0] in (0, 1, 2, 3) and len(order) < 60, signs


def test_endless_repeats_are_refused():
    with pytest.raises(ValueError, match="more than 100000 measures"):
        play_order([Signs(backward=10**9)])


def test_endings_of_many_numbers():
    def signs(number: str) -> list[Signs]:
        bar = f'<measure><barline><ending number="{number}" type="start"/></barline></measure>'
        return musicxml_signs(ElementTree.fromstring(f"<score-partwise><part>{bar}</part></score-partwise>"))

    assert [signs(number)[0].ending for number in ("1", "1, 2", "1-3", "1.2.", "")] == [(1,), (1, 2), (1, 2, 3), (1, 2), (1,)]
