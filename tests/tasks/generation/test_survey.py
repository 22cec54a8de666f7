"""Table 8.4 regenerated from the configs is the survey's, as far as there are systems."""

import pytest

from tasks.generation import tables
from tasks.generation.tables import Survey
from tests.helpers.commands import command

# Of the slides on Briot, Hadjeres, Pachet (2017), marks only.
TABLE = """
BachBot | RNN | itF S Cp
Celtic | RNN | itF S Cp
CONCERT | RNN | itF S Cp
Blues_C | RNN | itF
Blues_MC | RNN | itF
C-RBM | RBM CnV | S iM Cp
C-RNN-GAN | RNN GAN Cp | itF A Cp
deepAutoController | StAE | sfF
DeepHear_M | StAE | sfF
DeepHear_C | StAE | sfF iM Cp
DeepBach | Fd RNN Cp | S
Hexahedria | Fd RNN Cp | itF S Cp
MidiNet | Fd CnV CnD GAN Cp | sfF CnD A Cp
MiniBach | Fd | sfF
Rhythm | Fd RNN CnD Cp | sfF itF CnD Cp
RNN-RBM | RNN RBM Cp | itF S Cp
RL-Tuner | RNN RL Cp | itF RL Cp
UnitSelection | RNN StAE | sfF itF uS Cp
VRAE | RNN VAE Cp | sfF itF S Cp
VRASH | RNN VAE Cp | sfF itF S Cp
WaveNet | Fd CnV CnD Cp | itF CnD S Cp
"""
PUBLISHED = {
    name: (tuple(architecture.split()), tuple(strategy.split()))
    for name, architecture, strategy in (map(str.strip, line.split("|")) for line in TABLE.strip().splitlines())
}


def test_every_mark_is_the_surveys():
    ours = {name: row[:2] for name, row in tables.read().items() if row.architecture}
    assert ours == {name: PUBLISHED[name] for name in ours}
    assert set(PUBLISHED) - set(ours) == set(tables.LATER)
    assert len(ours) >= 13


def test_the_table_is_a_command():
    done = command("generation", "compare", "--table", "8.4")
    assert done.code == 0
    header = next(line for line in done.out.splitlines() if line.startswith("| system"))
    assert header.split("|")[2].strip() == "Fd"
    deepbach = next(line for line in done.out.splitlines() if line.startswith("| DeepBach")).split("|")
    assert [mark.strip() for mark in deepbach[2:13]].count("x") == 3
    assert "Markov chain" in done.out
    assert "RL-Tuner" in done.out.split("Not yet")[1]


def test_a_mark_that_the_table_does_not_have_is_refused():
    with pytest.raises(ValueError, match="unknown column"):
        Survey("X", ["CNN"], [])


def test_two_configs_of_one_system_must_agree(tmp_path):
    for name, marks in (("one", "[RNN]"), ("two", "[GAN]")):
        (tmp_path / f"{name}.yaml").write_text(f"model: {{survey: {{system: X, architecture: {marks}}}}}\n")
    with pytest.raises(ValueError, match=r"two\.yaml gives X other marks"):
        tables.read(tmp_path)
