"""`compare` of alignment: the paper's Table II beside runs on mazurkas, other data with the baselines scored there."""

import json
from functools import partial
from pathlib import Path

import pytest

from tasks.alignment import compare, paper
from tasks.alignment.metrics import TOLERANCES_MS
from tests.helpers.run_compare import compared, departing, table

CONFIGS = Path(__file__).parents[3] / "configs" / "alignment"
POLICY = "share of events within a tolerance, DTW steps (1,0)x1 (0,1)x1 (1,1)x1, mean of frames"
MAZURKA = {"name": "mazurka", "subset": "all recordings at hand", "split": "test", "policy": POLICY}
DEMO = MAZURKA | {"name": "demo", "subset": "full"}
COUNTS = {"n_events": 4000, "n_recordings": 12}


def shares(mode, share):
    return {f"{mode}_within_{ms}": share + k / 100 for k, ms in enumerate(TOLERANCES_MS)}


def write_run(
    folder, row="scnn_cqt", seed=0, share=0.7, data=MAZURKA, modes=("distance", "binary"), baselines=(), best=0.5, **trainer
):
    """A run folder as `fit` and `test` leave it; shares rise by a hundredth from tolerance to tolerance."""
    folder.mkdir(parents=True)
    metrics = {name: value for k, mode in enumerate(modes) for name, value in shares(mode, share - 0.1 * k).items()}
    for mode in modes:
        metrics |= {f"{mode}_median_ms": 12.5, f"{mode}_lost": 0.25, f"{mode}_time_err_ms": 30.0}
    content = {"task": "alignment", "row": row, "seed": seed, "data": data, "metrics": metrics | COUNTS, "parameters": 1234567}
    content |= {"baselines": list(baselines), "validation": {"distance_within_50": best}}
    content["departures"] = departing("alignment", trainer=trainer)
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


run = partial(compared, compare)


def test_tolerances_are_those_that_are_measured():
    assert paper.TOLERANCES_MS == TOLERANCES_MS == (25, 50, 100, 200)


def test_seeds_are_averaged_beside_the_paper(tmp_path, capsys):
    for seed, share in enumerate((0.70, 0.72, 0.77)):
        write_run(tmp_path / "runs" / str(seed), seed=seed, share=share)
    out = run(tmp_path, tmp_path / "runs" / "*")
    printed = capsys.readouterr().out
    assert "Table II: % of beats of Mazurka recordings within a tolerance, paper | ours" in printed
    assert "68.1" in printed and "73.00 ± 3.61" in printed and "1,234,567" in printed
    rows = table(out, "table2")
    assert [row["system"] for row in rows] == [row.system for row in paper.TABLE2]
    (mine,) = [row for row in rows if row["seeds"]]
    assert (mine["config"], mine["seeds"], mine["paper_distance_within_25"]) == ("scnn_cqt", "0 1 2", "68.1")
    assert float(mine["distance_within_25"]) == pytest.approx(73.0) and float(mine["binary_within_200"]) == pytest.approx(66.0)
    assert (float(mine["distance_median_ms"]), float(mine["distance_time_err_ms"]), mine["n_events"]) == (12.5, 30.0, "4000")
    assert sorted(path.name for path in out.iterdir()) == ["compare.md", "table2.csv", "table2.png"]


def test_other_rows_on_the_same_recordings_stand_below_the_papers(tmp_path):
    write_run(tmp_path / "runs" / "a", "scnn_short", share=0.8)
    rows = table(run(tmp_path, tmp_path / "runs"), "table2")
    assert len(rows) == 10 and rows[-1]["system"] == "scnn_short" and rows[-1]["paper_distance_within_25"] == ""
    assert float(rows[-1]["distance_within_25"]) == pytest.approx(80.0)


def test_a_matrix_that_a_row_has_not_is_a_dash(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", "mlp_semigram", modes=("binary",), share=0.6)
    out = run(tmp_path, tmp_path / "runs")
    capsys.readouterr()
    (mine,) = [row for row in table(out, "table2") if row["seeds"]]
    assert mine["distance_within_25"] in ("", "nan") and float(mine["binary_within_25"]) == pytest.approx(60.0)
    assert "nan" not in (out / "compare.md").read_text()


@pytest.mark.parametrize("data", [DEMO, MAZURKA | {"name": "mazurkabl"}, MAZURKA | {"split": "validation"}])
def test_other_data_never_stand_beside_the_paper(tmp_path, data):
    write_run(tmp_path / "runs" / "a", data=data, share=0.9)
    write_run(tmp_path / "runs" / "b", seed=1)
    out = run(tmp_path, tmp_path / "runs" / "*")
    assert [float(row["distance_within_25"]) for row in table(out, "table2") if row["seeds"]] == [pytest.approx(70.0)]
    (other,) = table(out, "other_1")
    assert float(other["distance_within_25"]) == pytest.approx(90.0) and other["data"] == data["name"]


def test_baselines_stand_beside_runs_on_the_same_data(tmp_path, capsys):
    chroma = {"name": "DTW_chroma", "median_ms": 22.5, "lost": 0.125} | {f"within_{ms}": 0.5 for ms in TOLERANCES_MS}
    write_run(tmp_path / "runs" / "a", "default", data=DEMO)
    write_run(tmp_path / "runs" / "b", "frame_net", data=DEMO, baselines=[chroma])
    run(tmp_path, tmp_path / "runs" / "*")
    printed = capsys.readouterr().out
    other = printed[printed.index("Runs on other data than the paper's: demo") :]
    lines = [line for line in other.splitlines() if line.startswith("|")][2:]
    assert [line.strip("| ").split(" ")[0] for line in lines] == ["default", "frame_net", "DTW_chroma"]
    assert "50.00" in lines[-1] and "22.50" in lines[-1] and "12.50" in lines[-1]


def test_departures_from_the_config_stand_apart(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", seed=0)
    write_run(tmp_path / "runs" / "b", seed=1, share=0.1, max_epochs=2)
    rows = table(run(tmp_path, tmp_path / "runs" / "*"), "table2")
    assert sorted((row["seeds"], row["departs"]) for row in rows if row["seeds"]) == [("0", ""), ("1", "trainer.max_epochs=2")]
    assert "scnn_cqt [trainer.max_epochs=2]" in capsys.readouterr().out


def test_seeds_may_be_chosen_by_validation(tmp_path):
    for seed, (share, best) in enumerate(((0.9, 0.1), (0.6, 0.8), (0.8, 0.7))):
        write_run(tmp_path / "runs" / str(seed), seed=seed, share=share, best=best)
    rows = table(run(tmp_path, tmp_path / "runs" / "*", "--select", "within_50", "--best", "2"), "table2")
    assert [float(row["distance_within_25"]) for row in rows if row["seeds"]] == [pytest.approx(70.0)]


def test_nothing_to_compare_is_one_sentence_and_code_2(tmp_path, capsys):
    run(tmp_path, tmp_path / "nothing", code=2)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
