"""Published results of Won, Chun, Serra (2019), "Toward Interpretable Music Tagging with Self-Attention", in percent.

Each row names its config in `configs/tagging/`.
"""

from dataclasses import dataclass

from tasks.reporting import comparison_tables


@dataclass(frozen=True)
class TaggingProtocol(comparison_tables.Protocol):
    """Evaluation protocol: data, split, policy, number of clips and tags."""

    clips: int  # of the complete split
    tags: int = 50


@dataclass(frozen=True)
class TaggingRow:
    """Row of a table: config, name in the paper, scores."""

    config: str
    system: dict[str, str]
    auroc: float
    ap: float | None
    quoted: bool = False  # marked * in the paper: taken from the reference, not run by the authors


@dataclass(frozen=True)
class TaggingTable:
    """Table of the paper on one data set."""

    number: str
    title: str
    protocol: TaggingProtocol
    rows: tuple[TaggingRow, ...]


MTAT = TaggingProtocol("mtat", "top50", "test", "won16", 4332)  # clips with one of the 50 tags: "the 21k subset"
MSD = TaggingProtocol("msd", "top50", "test", "won16", 28435)

# Aliases of the same training: Tables 3 and 4 repeat the main model.
SAME_RUN = {"mtat_heads_8": "mtat_spec_att", "mtat_layers_2": "mtat_spec_att"}


def _system(front: str, back: str) -> dict[str, str]:
    return {"front-end": front, "back-end": back}


def _size(heads: int, layers: int) -> dict[str, str]:
    return {"heads": str(heads), "layers": str(layers)}


def _length(frames: int, layers: int) -> dict[str, str]:
    return {"input frames": str(frames), "layers": str(layers)}


SYSTEMS = "state of the art and self-attention"
TABLES = (
    TaggingTable(
        "2",
        SYSTEMS,
        MTAT,
        (
            TaggingRow("mtat_raw_cnn_l", _system("Raw", "CNN_L"), 90.62, 44.20),
            TaggingRow("mtat_raw_att", _system("Raw", "Att"), 90.66, 44.21),
            TaggingRow("mtat_spec_cnn_p", _system("Spec", "CNN_P"), 90.89, 45.03),
            TaggingRow("mtat_spec_att", _system("Spec", "Att"), 90.80, 44.39),
        ),
    ),
    TaggingTable(
        "2",
        SYSTEMS,
        MSD,
        (
            TaggingRow("msd_raw_cnn_l", _system("Raw", "CNN_L"), 88.42, None, quoted=True),
            TaggingRow("msd_raw_att", _system("Raw", "Att"), 88.07, 29.90),
            TaggingRow("msd_spec_cnn_p", _system("Spec", "CNN_P"), 88.75, 31.24, quoted=True),
            TaggingRow("msd_spec_att", _system("Spec", "Att"), 88.14, 30.47),
        ),
    ),
    TaggingTable(
        "3",
        "attention heads and layers",
        MTAT,
        (
            TaggingRow("mtat_heads_1", _size(1, 2), 87.73, 36.93),
            TaggingRow("mtat_heads_2", _size(2, 2), 89.40, 41.20),
            TaggingRow("mtat_heads_3", _size(3, 2), 90.23, 43.23),
            TaggingRow("mtat_heads_4", _size(4, 2), 90.40, 43.89),
            TaggingRow("mtat_heads_5", _size(5, 2), 90.60, 43.91),
            TaggingRow("mtat_heads_6", _size(6, 2), 90.61, 44.39),
            TaggingRow("mtat_heads_7", _size(7, 2), 90.74, 44.43),
            TaggingRow("mtat_heads_8", _size(8, 2), 90.80, 44.39),
            TaggingRow("mtat_layers_1", _size(8, 1), 90.54, 44.12),
            TaggingRow("mtat_layers_2", _size(8, 2), 90.80, 44.39),
            TaggingRow("mtat_layers_3", _size(8, 3), 90.19, 43.22),
        ),
    ),
    TaggingTable(
        "4",
        "length of the input",
        MTAT,
        (
            TaggingRow("mtat_spec_att", _length(256, 2), 90.80, 44.39),
            TaggingRow("mtat_long_2_layers", _length(1024, 2), 89.62, 41.61),
            TaggingRow("mtat_long_3_layers", _length(1024, 3), 89.85, 42.25),
            TaggingRow("mtat_long_4_layers", _length(1024, 4), 89.86, 41.84),
        ),
    ),
)

# Table 5: area under the ROC curve per tag on MTAT, Spec Att. Their mean is 90.83, not the 90.80 of Table 2.
TABLE_5_CONFIG = "mtat_spec_att"
TABLE_5 = {
    "metal": 98.79, "choral": 98.68, "choir": 98.65, "rock": 98.52, "opera": 98.34,
    "flute": 97.91, "harpsichord": 97.85, "cello": 96.61, "techno": 96.51, "dance": 96.08,
    "ambient": 95.69, "piano": 95.69, "harp": 95.12, "country": 94.05, "pop": 94.01,
    "sitar": 93.99, "man": 93.70, "woman": 93.53, "female": 93.41, "beat": 93.23,
    "female vocal": 92.99, "male": 92.91, "violin": 92.62, "male vocal": 92.34, "beats": 92.25,
    "classical": 92.15, "loud": 91.30, "female voice": 91.05, "guitar": 90.98, "quiet": 90.89,
    "solo": 90.36, "drums": 89.99, "indian": 89.99, "male voice": 89.79, "singing": 89.77,
    "electronic": 89.37, "fast": 89.15, "vocal": 88.81, "new age": 88.73, "classic": 88.66,
    "strings": 88.59, "vocals": 88.11, "synth": 86.17, "voice": 84.60, "slow": 84.09,
    "soft": 83.63, "weird": 81.68, "no vocal": 71.86, "no vocals": 70.22, "no voice": 67.88,
}  # fmt: skip

# Figure 5 has no printed numbers: validation scores against the epoch, one curve per optimizer.
FIGURE_5 = {"mtat_adam": "Adam", "mtat_sgd": "SGD", "mtat_spec_att": "Adam, then SGD (proposed)"}
FIGURE_5_SWITCHES = (60, 80, 100)  # epochs of the proposed schedule

# Figures 6 and 8-11: the tag of each attention heat map.
ATTENTION_TAGS = {
    "6": ("beats", "female", "quiet"),
    "8": ("male", "female", "vocal", "no vocal"),
    "9": ("quiet", "loud", "slow", "fast", "soft", "weird"),
    "10": ("cello", "sitar", "harp", "piano", "strings", "flute", "drums", "violin", "guitar", "synth"),
    "11": ("classic", "country", "opera", "new age", "rock", "metal", "pop", "dance", "electronic", "techno"),
}

# Figures 7 and 12: the two tags of each joined spectrogram, first half and second half.
PAIRS = (
    ("piano", "flute"),
    ("techno", "classic"),
    ("quiet", "loud"),
    ("female", "male"),
    ("classic", "metal"),
    ("vocal", "no vocals"),
    ("no voice", "choir"),
    ("slow", "fast"),
    ("drums", "harp"),
)
