"""Plausible sampling rates: a header beyond them is damaged, and resampling from it would fill the memory."""

from pathlib import Path

from datamodules.errors import DataError, printable

LOWEST, HIGHEST = 1_000, 768_000
"""Hz; telephones have 8,000, the fastest converters 768,000."""


def check_rate(path: str | Path, rate: int) -> int:
    """The rate that a file's header claims.

    Args:
        path: of the file, for the sentence
        rate: in Hz

    Raises:
        DataError: below 1 kHz or above 768 kHz.
    """
    if not LOWEST <= rate <= HIGHEST:
        raise DataError(
            f"{printable(str(path))} claims a sampling rate of {rate} Hz, expected 1 to 768 kHz: its header is damaged, "
            "replace it or leave it out."
        )
    return rate
