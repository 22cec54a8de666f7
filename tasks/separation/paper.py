"""Published results of Sawata et al. (2021), "All for One and One for All", SDR in dB: its Tables 1 and 2.

Each row names its config in `configs/separation/`.
"""

from dataclasses import dataclass

from tasks.reporting.comparison_tables import Protocol

SOURCES = ("bass", "drums", "other", "vocals")  # in the order of the columns
TRACKS = 50  # of the test split


@dataclass(frozen=True)
class SeparationRow:
    """Row of a table: config, name in the paper, SDR in dB."""

    config: str
    system: dict[str, str]
    sdr: tuple[float, float, float, float]  # of SOURCES
    mean: float


@dataclass(frozen=True)
class SeparationTable:
    """Table of the paper."""

    number: str
    title: str
    rows: tuple[SeparationRow, ...]


PROTOCOL = Protocol("musdb18hq", "full", "test", "bsseval v4, median of frames, median of tracks")


def _method(name: str, network: str, mdl: bool, cl: bool) -> dict[str, str]:
    return {"method": name, "network": network, "MDL": "yes" if mdl else "no", "CL": "yes" if cl else "no"}


TABLES = (
    SeparationTable(
        "1",
        "bridging, multi-domain loss (MDL) and combination loss (CL)",
        (
            SeparationRow("c1", _method("C1", "UMX", False, False), (4.84, 5.77, 4.16, 6.28), 5.26),
            SeparationRow("c1_bar", _method("C1bar", "cUMX", False, False), (5.36, 5.80, 4.25, 5.80), 5.30),
            SeparationRow("c2", _method("C2", "UMX", True, False), (5.19, 5.82, 4.29, 6.18), 5.37),
            SeparationRow("c2_bar", _method("C2bar", "cUMX", True, False), (5.59, 6.03, 4.46, 6.71), 5.70),
            SeparationRow("c3", _method("C3", "UMX", False, True), (5.27, 5.71, 4.00, 6.08), 5.26),
            SeparationRow("c3_bar", _method("C3bar", "cUMX", False, True), (5.28, 6.12, 4.09, 6.35), 5.46),
            SeparationRow("c4", _method("C4", "UMX", True, True), (4.98, 5.98, 4.12, 6.30), 5.35),
            SeparationRow("p", _method("P (proposed)", "cUMX", True, True), (5.53, 6.33, 4.54, 6.50), 5.73),
        ),
    ),
    SeparationTable(
        "2",
        "cUMX and other methods",
        (
            SeparationRow("p", {"method": "cUMX (proposed)"}, (5.53, 6.33, 4.54, 6.50), 5.73),
            SeparationRow("umx_official", {"method": "UMX"}, (5.07, 6.04, 4.28, 6.25), 5.41),
            SeparationRow("conv_tasnet", {"method": "Conv-TasNet"}, (5.66, 6.08, 4.37, 6.81), 5.73),
            SeparationRow("meta_tasnet", {"method": "Meta-TasNet"}, (5.58, 5.91, 4.19, 6.40), 5.52),
            SeparationRow("demucs", {"method": "DEMUCS"}, (5.83, 6.08, 4.12, 6.29), 5.58),
        ),
    ),
)
