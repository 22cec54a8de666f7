"""DESED, the domestic sounds of DCASE 2019 to 2024 task 4: real clips weakly, strongly or not labelled, and soundscapes."""

from typing import ClassVar

from datamodules.dcase2018 import DCASE2018


class DESED(DCASE2018):
    """The data set's own folders `dataset/{metadata,audio}`; lists that are not there are not used.

    Lists to train on are weak, unlabeled, synthetic and strong; `validation` validates, the public evaluation set tests.
    """

    name = "desed"
    layout = (
        "the folder with metadata/{train/weak.tsv, train/unlabel_in_domain.tsv, validation/validation.tsv, eval/public.tsv, ...} "
        "and audio/ beside it"
    )
    tables: ClassVar = {
        "weak": ("train/weak.tsv", "train/weak", "weak"),
        "unlabeled": ("train/unlabel_in_domain.tsv", "train/unlabel_in_domain", "none"),
        "synthetic": ("train/synthetic21_train/soundscapes.tsv", "train/synthetic21_train/soundscapes", "strong"),
        "strong": ("train/audioset_strong.tsv", "train/strong_label_real", "strong"),
        "validation": ("validation/validation.tsv", "validation/validation", "strong"),
        "test": ("eval/public.tsv", "eval/public", "strong"),
    }
