"""Published results of Agrawal and Dixon (2021), "Learning Frame Similarity using Siamese networks", Table II.

Shares of beats in % within 25, 50, 100 and 200 ms, on recordings of five Mazurkas, trained on MAPS and the Saarland set. Each row
names its config in `configs/alignment/`. The paper gives no intervals; differences of some tenths are noise.
"""

from typing import NamedTuple

from tasks.reporting.comparison_tables import Protocol

TOLERANCES_MS = (25, 50, 100, 200)  # as in `tasks.alignment.metrics`, which imports torch
Shares = tuple[float, float, float, float]


class AlignmentRow(NamedTuple):
    """Row of the table: config, system, and shares with the binary and with the distance matrix."""

    config: str
    system: str
    binary: Shares | None
    distance: Shares | None


TABLE2 = (
    AlignmentRow("match", "MATCH", None, (64.8, 72.1, 77.6, 83.7)),
    AlignmentRow("dtw_chroma", "DTW_Chroma", None, (62.9, 70.5, 76.3, 82.4)),
    AlignmentRow("mlp_semigram", "MLP_Semigram", (63.8, 69.5, 77.2, 83.4), None),
    AlignmentRow("scnn_stft", "SCNN_STFT", (65.6, 71.9, 78.1, 84.8), (67.2, 73.4, 78.7, 85.6)),
    AlignmentRow("scnn_cqt", "SCNN_CQT", (66.4, 73.1, 78.7, 85.3), (68.1, 74.8, 80.1, 86.7)),
    AlignmentRow("scnn_chroma", "SCNN_Chroma", (67.1, 74.6, 79.2, 86.1), (69.4, 75.1, 80.7, 87.2)),
    AlignmentRow("scnn_sal", "SCNN_Sal", (68.2, 75.3, 81.4, 87.8), (70.3, 76.7, 82.1, 88.4)),
    AlignmentRow("scnn_cqt_da", "SCNN_CQT+DA", (67.9, 74.4, 80.8, 86.7), (69.6, 75.4, 81.6, 87.9)),
    AlignmentRow("scnn_sal_da", "SCNN_Sal+DA", (69.4, 76.4, 81.2, 87.5), (71.7, 78.2, 83.3, 90.1)),
)

DATA = "mazurka"
"""Name of the evaluation data."""


def columns(row: AlignmentRow) -> dict[str, float]:
    """Shares by the names in metrics.json, such as `binary_within_25`."""
    kinds = {"binary": row.binary, "distance": row.distance}
    return {f"{mode}_within_{ms}": v for mode, all_ in kinds.items() if all_ for ms, v in zip(TOLERANCES_MS, all_, strict=True)}


def row_of(config: str) -> AlignmentRow | None:
    """Row of a config; None for others, such as the same systems on other data (vienna_cqt_da)."""
    return next((row for row in TABLE2 if row.config == config), None)


PROTOCOL = Protocol(DATA, "five mazurkas", "test", "share of beats within a tolerance")
