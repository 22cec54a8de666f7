"""Published results of Boes and Van hamme (2021), "Audiovisual transfer learning", F1 in %: its Table 3.

Each row names its config in `configs/sed/`. Scores are means over the 5 systems, of 20 trained, that were best in validation.
"""

from dataclasses import dataclass

from tasks.reporting.comparison_tables import Protocol

BEST, TRAINED = 5, 20
CLIPS = 779  # of the test split; the task lists 880, of which some are no longer available

PROTOCOL = Protocol("dcase2018", "full", "test", "threshold 0.5, median filter 7")


@dataclass(frozen=True)
class DetectionRow:
    """Row of the table: config, inputs of the network, and clip, segment and event F1."""

    config: str
    spectral: bool
    audio: bool
    visual: bool
    f1: tuple[float, float, float]

    def system(self) -> dict[str, str]:
        """First columns of the table."""
        inputs = {"spectral": self.spectral, "pretrained audio": self.audio, "pretrained visual": self.visual}
        return {name: "yes" if used else "no" for name, used in inputs.items()}


TABLE3 = (
    DetectionRow("spectral", True, False, False, (76.22, 70.09, 33.03)),
    DetectionRow("spectral_vgg16", True, False, True, (80.72, 73.81, 32.58)),
    DetectionRow("spectral_vggish", True, True, False, (81.03, 74.74, 33.40)),
    DetectionRow("spectral_vggish_vgg16", True, True, True, (83.72, 76.86, 32.65)),
    DetectionRow("vgg16", False, False, True, (61.60, 51.83, 15.68)),
    DetectionRow("vggish", False, True, False, (78.17, 70.20, 18.83)),
    DetectionRow("vggish_vgg16", False, True, True, (80.04, 71.01, 22.31)),
)
