"""Reference events of a user's files: matched by the longest tail of their paths, what is left over is named."""

import pytest

from tasks.sed.writer import match_tails, read_reference


@pytest.mark.parametrize(
    ("paths", "names", "matches"),
    [
        (["/d/eval/x.wav"], ["eval/x.wav"], {"/d/eval/x.wav": "eval/x.wav"}),
        (["/d/x.wav"], ["/other/machine/x.wav"], {"/d/x.wav": "/other/machine/x.wav"}),
        (["/d/a/x.wav", "/d/b/x.wav"], ["b/x.wav", "a/x.wav"], {"/d/a/x.wav": "a/x.wav", "/d/b/x.wav": "b/x.wav"}),
        (["/d/a/x.wav", "/d/b/x.wav"], ["a/x.wav"], {"/d/a/x.wav": "a/x.wav"}),  # b's events are not a's
        (["/d/a/x.wav", "/d/b/x.wav"], ["x.wav"], {}),  # whose are they?
        (["/d/c/x.wav"], ["a/x.wav", "b/x.wav"], {}),
        (["/d/c/x.wav"], ["c\\x.wav", "x.wav"], {"/d/c/x.wav": "c\\x.wav"}),
        (["/d/x.wav"], ["y.wav", "x.wa"], {}),
        (["x.wav"], ["x.wav"], {"x.wav": "x.wav"}),
    ],
)
def test_the_longest_tail_wins(paths, names, matches):
    assert match_tails(paths, names) == matches


def test_what_has_no_counterpart_is_named(tmp_path):
    table = tmp_path / "true.tsv"
    table.write_text("filename\tonset\toffset\tevent_label\neval/a.wav\t1.0\t2.5\tDog\neval/quiet.wav\t\t\t\nz.wav\t0\t1\tDog\n")
    paths = [str(tmp_path / "eval" / name) for name in ("a.wav", "b.wav", "quiet.wav")]
    reference = read_reference(str(table), ["Cat", "Dog"], paths)
    assert reference.events == {paths[0]: [(1.0, 2.5, "Dog")], paths[2]: []}
    assert reference.remarks("true.tsv") == [
        "true.tsv has no rows for 1 file (b.wav)",
        "not among the inputs, but in true.tsv: 1 file (z.wav)",
    ]
