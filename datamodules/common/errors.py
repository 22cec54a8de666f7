"""The one error that data can cause and a user can mend, and how messages name files and numbers."""


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


def counted(number: int, thing: str) -> str:
    """A number with its noun, which gets an s for the plural before any "of": 1 file, 2 files, 2 notes of a chord."""
    noun, of, rest = thing.partition(" of ")
    return f"{number} {noun}{'s' * (number != 1)}{of}{rest}"


def escaped(text: str) -> str:
    """Text with the bytes of file names that are no UTF-8 written as `\\xff`: printable, and different for different names."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # half a UTF-16 pair, in a name on Windows
        return text.encode(errors="backslashreplace").decode()
