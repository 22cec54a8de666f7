"""`compare`: the paper's numbers, seeds averaged, different protocols never side by side, errors in one sentence."""

import json
import os
import statistics
from functools import partial
from pathlib import Path

import pytest

from tasks.reporting import comparison
from tasks.reporting.tables import markdown, write_csv
from tasks.tagging import compare, paper
from tests.helpers.run_compare import compared, departing, table

CONFIGS = Path(__file__).parents[2] / "configs" / "tagging"
MTAT = {"name": paper.MTAT.name, "subset": paper.MTAT.subset, "split": "test", "policy": "won16"}
DEMO = {"name": "demo", "subset": "all", "split": "test", "policy": "cover"}


def write_run(folder, row="mtat_spec_att", seed=0, auroc=0.9, data=MTAT, clips=4332, per_tag=None, curve=(), **trainer):
    """A run folder as `fit` and `test` leave it."""
    folder.mkdir(parents=True)
    per_tag = dict.fromkeys(paper.TABLE_5, auroc) if per_tag is None else per_tag
    metrics = {"auroc_macro": auroc, "ap_macro": auroc - 0.4, "auroc_micro": auroc, "ap_micro": auroc}
    metrics |= {"n_clips": float(clips), "n_tags_scored": float(len(per_tag))}
    content = {"task": "tagging", "row": row, "seed": seed, "data": data, "metrics": metrics, "per_tag": per_tag}
    content["departures"] = departing("tagging", trainer=trainer)
    (folder / "metrics.json").write_text(json.dumps(content | {"epoch": 1, "step": 10, "parameters": 6882452}))
    if curve:
        lines = ["epoch,step,train/loss,val/ap_macro,val/auroc_macro"]
        for epoch, value in enumerate(curve):
            lines += [f"{epoch},{10 * epoch},0.5,,", f"{epoch},{10 * epoch + 9},,{value - 0.4},{value}"]
        (folder / "logs" / "version_0").mkdir(parents=True)
        (folder / "logs" / "version_0" / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


run = partial(compared, compare)


def test_paper_tables_are_whole():
    assert len(paper.TABLE_5) == 50
    assert list(paper.TABLE_5.values()) == sorted(paper.TABLE_5.values(), reverse=True)
    assert statistics.fmean(paper.TABLE_5.values()) == pytest.approx(90.80, abs=0.05)
    assert {t.number: len(t.rows) for t in paper.TABLES if t.protocol == paper.MTAT} == {"2": 4, "3": 11, "4": 4}
    main = [row for t in paper.TABLES for row in t.rows if paper.SAME_RUN.get(row.config, row.config) == "mtat_spec_att"]
    assert len(main) == 4
    assert {(row.auroc, row.ap) for row in main} == {(90.80, 44.39)}
    shown = [tag for tags in paper.ATTENTION_TAGS.values() for tag in tags] + [tag for pair in paper.PAIRS for tag in pair]
    assert set(shown) <= set(paper.TABLE_5)
    assert len(paper.PAIRS) == 9
    assert len(shown) == 3 + 4 + 6 + 10 + 10 + 18


def test_every_row_of_the_paper_has_its_config():
    named = {row.config for t in paper.TABLES for row in t.rows} | set(paper.FIGURE_5) | {paper.TABLE_5_CONFIG}
    assert {name for name in named if not (CONFIGS / f"{name}.yaml").is_file()} == set()


def test_seeds_are_averaged_beside_the_paper(tmp_path, capsys):
    for seed, auroc in enumerate((0.904, 0.906, 0.911)):
        write_run(tmp_path / "runs" / f"{seed}", seed=seed, auroc=auroc)
    out = run(tmp_path, tmp_path / "runs" / "*")
    printed = capsys.readouterr().out
    assert f"mtat, subset {paper.MTAT.subset}, split test, policy won16" in printed
    assert "90.70 ± 0.36" in printed
    row = next(row for row in table(out, "table2_mtat") if row["config"] == "mtat_spec_att")
    assert float(row["paper_auroc"]) == 90.80
    assert float(row["auroc_macro"]) == pytest.approx(90.70)
    assert float(row["auroc_macro_deviation"]) == pytest.approx(statistics.stdev((90.4, 90.6, 91.1)))
    assert (row["seeds"], row["data"], row["policy"], row["n_clips"]) == ("0 1 2", "mtat", "won16", "4332")
    # The main model is a row of Tables 3 and 4 too, under other names.
    assert [r["config"] for r in table(out, "table3_mtat") if r["auroc_macro"]] == ["mtat_heads_8", "mtat_layers_2"]
    assert [r["input frames"] for r in table(out, "table4_mtat") if r["auroc_macro"]] == ["256"]
    per_tag = table(out, "table5_mtat")
    assert len(per_tag) == 50
    assert float(per_tag[0]["paper"]) == 98.79
    assert float(per_tag[0]["ours"]) == pytest.approx(90.70)
    assert (out / "table5_1.png").is_file()
    assert "| 3     | 6,882,452  | mtat_heads_8" in (out / "compare.md").read_text()


def test_the_same_training_under_two_names_is_one_group(tmp_path):
    write_run(tmp_path / "runs" / "a", row="mtat_spec_att", seed=0)
    write_run(tmp_path / "runs" / "b", row="mtat_heads_8", seed=1)
    out = run(tmp_path, tmp_path / "runs", "--table", "2")
    assert [row["seeds"] for row in table(out, "table2_mtat") if row["seeds"]] == ["0 1"]


@pytest.mark.parametrize(
    ("data", "clips"),
    [
        (DEMO, 180),
        (MTAT | {"policy": "cover"}, 4332),
        (MTAT | {"subset": "full"}, 4332),
        (MTAT | {"split": "validation"}, 4332),
        (MTAT, 4000),  # a folder with missing files
        (MTAT, 5329),
    ],
)
def test_other_protocols_never_stand_beside_the_paper(tmp_path, capsys, data, clips):
    write_run(tmp_path / "runs" / "a", data=data, clips=clips, auroc=0.987)
    write_run(tmp_path / "runs" / "b", auroc=0.905, seed=1)
    out = run(tmp_path, tmp_path / "runs" / "*")
    for name in ("table2_mtat", "table3_mtat", "table4_mtat"):
        assert {row["auroc_macro"] for row in table(out, name) if row["auroc_macro"]} == {"90.5"}
    assert {row["ours"] for row in table(out, "table5_mtat")} == {"90.5"}
    other = table(out, "other_1")
    assert [row["auroc_macro"] for row in other] == ["98.7"]
    assert {key: other[0][key] for key in ("subset", "split", "policy")} == {k: data[k] for k in ("subset", "split", "policy")}
    heading = comparison.describe(data | {"n_clips": str(clips), "n_tags_scored": "50"})
    assert f"## Runs without numbers in the paper: {heading}" in capsys.readouterr().out


def test_tags_that_could_not_be_scored_make_it_another_average(tmp_path):
    write_run(tmp_path / "runs" / "a", per_tag=dict.fromkeys(list(paper.TABLE_5)[:49], 0.9))
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "2")
    assert not any(row["auroc_macro"] for row in table(out, "table2_mtat"))
    assert table(out, "other_1")[0]["n_tags_scored"] == "49"


def test_departures_from_the_config_are_printed_and_not_averaged_in(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", seed=0, auroc=0.90)
    write_run(tmp_path / "runs" / "b", seed=1, auroc=0.80, max_epochs=2)
    write_run(tmp_path / "runs" / "c", seed=2, auroc=0.70, limit_train_batches=1)
    write_run(tmp_path / "runs" / "d", seed=3, auroc=0.60, fast_dev_run=True)
    write_run(tmp_path / "runs" / "e", seed=4, auroc=0.92, limit_train_batches=1.0, fast_dev_run=False, devices=2)
    run(tmp_path, tmp_path / "runs" / "*", "--table", "2")
    printed = capsys.readouterr().out
    assert "91.00 ± 1.41 | 51.00 ± 1.41 | 2     | 6,882,452  | mtat_spec_att " in printed
    assert "mtat_spec_att [trainer.max_epochs=2]" in printed
    assert "mtat_spec_att [trainer.limit_train_batches=1]" in printed
    assert "mtat_spec_att [trainer.fast_dev_run=true]" in printed


def test_settings_that_no_config_states_tell_groups_apart(tmp_path):
    write_run(tmp_path / "runs" / "a", seed=0, auroc=0.90, precision="32-true")
    write_run(tmp_path / "runs" / "b", seed=1, auroc=0.80, precision="bf16-mixed")
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "2")
    departs = {row["departs"] for row in table(out, "table2_mtat") if row["auroc_macro"]}
    assert departs == {"trainer.precision=32-true", "trainer.precision=bf16-mixed"}


def test_the_newer_of_two_runs_with_one_seed_counts(tmp_path, capsys):
    old, new = write_run(tmp_path / "runs" / "new", auroc=0.8), write_run(tmp_path / "runs" / "old", auroc=0.9)
    os.utime(old / "metrics.json", (1, 1))
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "2")
    row = next(row for row in table(out, "table2_mtat") if row["auroc_macro"])
    assert (row["auroc_macro"], row["seeds"]) == ("90.0", "0")
    assert f"left out: {old} has the config and seed 0 of the newer {new}" in capsys.readouterr().out


def test_demo_runs_get_their_own_per_tag_table(tmp_path):
    for seed, auroc in enumerate((0.9, 0.8)):
        per_tag = {"piano": auroc, "slow": float("nan")}
        write_run(tmp_path / "runs" / str(seed), "default", seed, auroc, DEMO, 180, per_tag)
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "5")
    rows = table(out, "other_1_per_tag")
    assert [row["tag"] for row in rows] == ["piano", "slow"]
    assert (float(rows[0]["ours"]), rows[1]["ours"]) == (pytest.approx(85), "")
    assert rows[0]["data"] == "demo"


def test_figure_5_reads_the_logged_curves(tmp_path):
    folder = write_run(tmp_path / "runs" / "a", curve=[0.6, 0.7, 0.8])
    resumed = folder / "logs" / "version_1" / "metrics.csv"
    resumed.parent.mkdir()
    resumed.write_text("epoch,step,val/auroc_macro,val/ap_macro\n2,29,0.85,0.45\n3,39,0.9,0.5\n")
    os.utime(folder / "logs" / "version_0" / "metrics.csv", (1, 1))
    found = comparison.read_curves(folder, list(compare.MEASURES))
    assert found["epoch"].tolist() == [0, 1, 2, 3]
    assert found["val/auroc_macro"].tolist() == [0.6, 0.7, 0.85, 0.9]
    assert found["val/ap_macro"][-1] == 0.5
    write_run(tmp_path / "runs" / "b", "mtat_adam", curve=[0.6, 0.7, 0.75])
    write_run(tmp_path / "runs" / "c", "default", data=DEMO, clips=9, curve=[0.6])
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "figure5")
    assert sorted(path.name for path in out.iterdir()) == ["curves_2.png", "figure5.png"]


def test_figure_5_without_curves_is_an_error(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a")
    run(tmp_path, tmp_path / "runs" / "*", "--table", "figure5", code=2)
    assert capsys.readouterr().err.count("\n") == 1


def test_bad_folders_are_named_and_skipped(tmp_path, capsys):
    write_run(tmp_path / "runs" / "good")
    for name, text in {"broken": '{"task":', "list": "[]", "halved": '{"task": "tagging"}', "sed": '{"task": "sed"}'}.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "metrics.json").write_text(text)
    (tmp_path / "runs" / "empty").mkdir()
    content = json.loads((tmp_path / "runs" / "good" / "metrics.json").read_text())
    (tmp_path / "runs" / "sed" / "metrics.json").write_text(json.dumps(content | {"task": "sed"}))
    run(tmp_path, tmp_path / "runs" / "*", "--table", "2")
    printed = capsys.readouterr().out
    left_out = [line for line in printed.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == 5
    for name in ("broken", "list", "halved", "sed", "empty"):
        assert any(str(tmp_path / "runs" / name) in line for line in left_out)
    assert "90.00" in printed


@pytest.mark.parametrize("asked", ["nothing", "nothing/*", "empty"])
def test_nothing_to_compare_is_one_sentence_and_code_2(tmp_path, capsys, asked):
    (tmp_path / "empty").mkdir()
    run(tmp_path, tmp_path / asked, code=2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert asked in printed.err
    assert printed.err.count("\n") == 1
    assert "python -m tasks.tagging" in printed.err or "runs/tagging/NAME" in printed.err


def test_a_misspelt_option_is_one_sentence_and_code_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        compare.main(["--tabel", "2"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_tables_on_disk_and_screen(tmp_path):
    rows = [{"a": 1, "b": None}, {"a": float("nan"), "c": "x|y"}]
    assert markdown(rows) == "| a | b | c    |\n|---|---|------|\n| 1 | - | -    |\n| - | - | x\\|y |"
    assert write_csv(tmp_path / "new" / "t.csv", rows, {"data": "demo"}).read_text() == "a,b,data,c\n1,,demo,\n,,demo,x|y\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.csv"]
