"""Data modules of all tasks, each imported on first use."""

from typing import Any

from datamodules.common.lazy_names import import_name

_HOMES = {
    "MTAT": "datamodules.tagging.mtat",
    "MSD": "datamodules.tagging.msd",
    "Jamendo": "datamodules.tagging.jamendo",
    "Folder": "datamodules.tagging.folder",
    "DCASE2018": "datamodules.sed.dcase",
    "DESED": "datamodules.sed.dcase",
    "Soundscapes": "datamodules.sed.soundscapes",
    "MUSDBHQ": "datamodules.separation.musdb",
    "MUSDB18": "datamodules.separation.musdb",
    "StemFolder": "datamodules.separation.stem_folder",
    "LoopSessions": "datamodules.separation.loops",
    "PaperData": "datamodules.alignment.sets",
    "MAPS": "datamodules.alignment.sets",
    "SMD": "datamodules.alignment.sets",
    "MAESTRO": "datamodules.alignment.sets",
    "ASAP": "datamodules.alignment.sets",
    "MazurkaBL": "datamodules.alignment.sets",
    "Pairs": "datamodules.alignment.sets",
    "Vienna": "datamodules.alignment.rendered",
    "GenerationDataModule": "datamodules.generation.data",
    "TaggingDemo": "datamodules.demo.data",
    "SoundEventDemo": "datamodules.demo.data",
    "SeparationDemo": "datamodules.demo.data",
    "AlignmentDemo": "datamodules.demo.data",
    "GenerationDemo": "datamodules.demo.data",
}


def __getattr__(name: str) -> Any:
    return import_name(__name__, name, _HOMES)
