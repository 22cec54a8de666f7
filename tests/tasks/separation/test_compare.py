"""`compare` of separation: the paper's tables, seeds averaged, only the paper's protocol beside it, baselines elsewhere."""

import json
import statistics
from functools import partial
from pathlib import Path

import pytest
import yaml

from tasks.separation import compare, paper
from tasks.separation.report import POLICY
from tests.helpers.run_compare import compared, departing, table

CONFIGS = Path(__file__).parents[3] / "configs" / "separation"
MUSDB = {**paper.PROTOCOL.about(), "mixture": "file"}
DEMO = {"name": "demo", "subset": "all", "split": "test", "policy": POLICY, "mixture": "sum"}
SOURCES = ("drums", "bass", "other", "vocals")


def write_run(folder, row="p", seed=0, sdr=5.0, data=MUSDB, tracks=50, sources=SOURCES, baselines=None, report=None, **trainer):
    """A run folder as `fit` and `test` leave it; the k-th source's SDR is sdr + k."""
    folder.mkdir(parents=True)
    metrics = {f"sdr_{source}": sdr + k for k, source in enumerate(sources)}
    metrics["sdr"] = statistics.fmean(metrics.values())
    metrics |= {name.replace("sdr", "usdr"): value + 0.5 for name, value in metrics.items()}
    content = {"task": "separation", "row": row, "seed": seed, "data": data, "metrics": metrics | {"n_tracks": tracks}}
    content |= {"baselines": baselines or {}, "sources": list(sources), "parameters": 35573392}
    content["departures"] = departing("separation", trainer=trainer, report=report or {})
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


run = partial(compared, compare)


def test_paper_tables_are_whole_and_their_means_add_up():
    assert [len(one.rows) for one in paper.TABLES] == [8, 5]
    for row in (row for one in paper.TABLES for row in one.rows):
        assert row.mean == pytest.approx(statistics.fmean(row.sdr), abs=0.0051)
    assert [row.sdr for one in paper.TABLES for row in one.rows if row.config == "p"] == [(5.53, 6.33, 4.54, 6.50)] * 2
    assert paper.PROTOCOL.policy == POLICY


def test_every_row_of_the_paper_has_its_config_that_quotes_it():
    for row in (row for one in paper.TABLES for row in one.rows):
        lines = (CONFIGS / f"{row.config}.yaml").read_text().splitlines()
        numbers = " / ".join(f"{value:.2f}" for value in row.sdr)
        assert f"{numbers}, {row.mean:.2f} dB" in lines[1], row.config


def test_rows_of_table_1_are_the_three_switches():
    base = yaml.safe_load((CONFIGS / "base.yaml").read_text())["model"]
    for row in paper.TABLES[0].rows:
        model = (yaml.safe_load((CONFIGS / f"{row.config}.yaml").read_text()) or {}).get("model", {})
        net = base["net"]["init_args"] | model.get("net", {}).get("init_args", {})
        loss = base["loss"]["init_args"] | model.get("loss", {}).get("init_args", {})
        said = {"cUMX": net["bridge"], "MDL": loss["multi_domain"], "CL": loss["combination"]}
        system = row.system
        assert said == {"cUMX": system["network"] == "cUMX", "MDL": system["MDL"] == "yes", "CL": system["CL"] == "yes"}


def test_seeds_are_averaged_beside_the_paper_in_both_tables(tmp_path, capsys):
    for seed, sdr in enumerate((4.0, 4.2, 4.9)):
        write_run(tmp_path / "runs" / f"{seed}", seed=seed, sdr=sdr)
    out = run(tmp_path, tmp_path / "runs" / "*")
    printed = capsys.readouterr().out
    assert f"musdb18hq, subset full, split test, policy {POLICY}" in printed
    assert "5.37 ± 0.47" in printed  # bass, the second source
    for name, rows in (("table1_musdb18hq", 8), ("table2_musdb18hq", 5)):
        found = table(out, name)
        assert len(found) == rows
        (mine,) = [row for row in found if row["sdr"]]
        assert (mine["config"], mine["seeds"], mine["n_tracks"], mine["paper_bass"]) == ("p", "0 1 2", "50", "5.53")
        assert float(mine["sdr_drums"]) == pytest.approx(statistics.fmean((4.0, 4.2, 4.9)))
        assert float(mine["sdr_vocals_deviation"]) == pytest.approx(statistics.stdev((4.0, 4.2, 4.9)))
        assert float(mine["usdr"]) == pytest.approx(float(mine["sdr"]) + 0.5)
    assert "35,573,392" in (out / "compare.md").read_text()
    assert sorted(path.name for path in out.glob("*.png")) == ["table1.png", "table2.png"]


def test_one_table_alone(tmp_path):
    write_run(tmp_path / "runs" / "a", "conv_tasnet")
    out = run(tmp_path, tmp_path / "runs", "--table", "2")
    assert sorted(path.name for path in out.iterdir()) == ["compare.md", "table2.png", "table2_musdb18hq.csv"]


@pytest.mark.parametrize(
    ("data", "tracks"),
    [
        (DEMO, 50),
        (MUSDB | {"name": "musdb18"}, 50),
        (MUSDB | {"split": "validation"}, 50),
        (MUSDB | {"policy": "usdr"}, 50),
        (MUSDB | {"subset": "short"}, 50),
        (MUSDB | {"mixture": "sum"}, 50),
        (MUSDB, 49),
    ],
)
def test_other_protocols_never_stand_beside_the_paper(tmp_path, data, tracks):
    write_run(tmp_path / "runs" / "a", data=data, tracks=tracks, sdr=9.0)
    write_run(tmp_path / "runs" / "b", seed=1)
    out = run(tmp_path, tmp_path / "runs" / "*")
    for name in ("table1_musdb18hq", "table2_musdb18hq"):
        assert [row["sdr_drums"] for row in table(out, name) if row["sdr_drums"]] == ["5.0"]
    (other,) = table(out, "other_1")
    assert (other["sdr_drums"], other["n_tracks"]) == ("9.0", str(tracks))


def test_fewer_stems_never_stand_beside_the_paper(tmp_path):
    write_run(tmp_path / "runs" / "a", sources=("vocals", "bass"))
    out = run(tmp_path, tmp_path / "runs", "--table", "1")
    assert not any(row["seeds"] for row in table(out, "table1_musdb18hq"))
    assert table(out, "other_1")[0]["sdr_vocals"] == "5.0"


def test_other_data_have_their_own_stems_and_baselines(tmp_path, capsys):
    loops = DEMO | {"name": "loops"}
    stems = ("beat", "bass")
    held = {"silence": [0.0, 0.0], "ideal mask": [9.0, 12.0], "mixture": [None, -3.0]}
    write_run(tmp_path / "runs" / "a", "default", sources=stems, data=loops, tracks=7, baselines=held)
    write_run(tmp_path / "runs" / "b", "default", data=DEMO, tracks=7)
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "1")
    lines = capsys.readouterr().out.splitlines()
    heading = next(i for i, line in enumerate(lines) if "paper: loops" in line)
    header, rule, mine, silence, mask, mixture = (line.strip("| ").split("|") for line in lines[heading + 2 : heading + 8])
    assert [cell.strip() for cell in header][:5] == ["config", "beat", "bass", "mean", "uSDR"]
    assert [cell.strip() for cell in mine][1:5] == ["5.00", "6.00", "5.50", "6.00"]
    assert [[cell.strip() for cell in row][:4] for row in (silence, mask, mixture)] == [
        ["(silence)", "0.00", "0.00", "0.00"],
        ["(ideal mask)", "9.00", "12.00", "10.50"],
        ["(mixture)", "-", "-3.00", "-"],
    ]
    assert len(rule) == 7
    assert {row["data"] for name in ("other_1", "other_2") for row in table(out, name)} == {"demo", "loops"}
    assert not list(out.glob("*.png"))


def test_departures_from_the_config_stand_apart(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", seed=0)
    write_run(tmp_path / "runs" / "b", seed=1, sdr=1.0, max_epochs=2)
    run(tmp_path, tmp_path / "runs" / "*")
    printed = capsys.readouterr().out
    assert "p [trainer.max_epochs=2]" in printed
    assert "5.00" in printed


def test_how_a_report_is_made_does_not_tell_runs_apart(tmp_path):
    write_run(tmp_path / "runs" / "a", seed=0, report={"processes": 0, "bss": "full"})
    write_run(tmp_path / "runs" / "b", seed=1, report={"processes": 2, "bss": "sdr"})
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "1")
    assert [row["seeds"] for row in table(out, "table1_musdb18hq") if row["seeds"]] == ["0 1"]


def test_a_source_that_could_not_be_scored_is_a_dash(tmp_path, capsys):
    folder = write_run(tmp_path / "runs" / "a")
    content = json.loads((folder / "metrics.json").read_text())
    content["metrics"] |= {"sdr_bass": None, "sdr": None}
    (folder / "metrics.json").write_text(json.dumps(content))
    out = run(tmp_path, tmp_path / "runs" / "*", "--table", "1")
    assert [(row["sdr_bass"], row["sdr_drums"]) for row in table(out, "table1_musdb18hq") if row["seeds"]] == [("", "5.0")]
    assert "nan" not in capsys.readouterr().out


def test_nothing_to_compare_is_one_sentence_and_code_2(tmp_path, capsys):
    run(tmp_path, tmp_path / "nothing", code=2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert "runs/separation/NAME" in printed.err
