"""The one error that data can cause and a user can mend, and how it names files."""


class DataError(Exception):
    """Data on disk is not as expected: one sentence with the file, what was expected and what mends it.

    The command line prints it without a traceback and exits with status 2.
    """

    def __str__(self) -> str:
        """The sentence alone: a loader's worker hands its error over as text behind its own traceback."""
        text = super().__str__()
        if text.startswith("Caught DataError in "):
            return text.rstrip().rsplit("DataError: ", 1)[-1]
        return text


def printable(text: str) -> str:
    """Text with the bytes of file names that are no UTF-8 replaced: safe to print and to log."""
    return text.encode(errors="surrogateescape").decode(errors="replace")
