"""Error class of user data, and text helpers for messages: printable file names, plurals."""


class DataError(Exception):
    """Error in user data: one sentence with the file, what was expected and what helps.

    The command line prints it without a traceback and exits with status 2.
    """

    def __str__(self) -> str:
        """The message alone: a loader process passes its error on as text behind its own traceback."""
        text = super().__str__()
        if text.startswith("Caught DataError in "):
            return text.rstrip().rsplit("DataError: ", 1)[-1]
        return text


def printable(text: str) -> str:
    """Replace bytes of file names that are not UTF-8, for printing and logging."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def counted(number: int, thing: str) -> str:
    """Number with its noun, in the plural if it is not 1: 1 file, 2 files, 2 notes of a chord."""
    noun, separator, rest = thing.partition(" of ")
    return f"{number} {noun}{'s' * (number != 1)}{separator}{rest}"


def escaped(text: str) -> str:
    """Escape bytes of file names that are not UTF-8 as `\\xff`: printable and unique."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # half a UTF-16 pair in a Windows file name
        return text.encode(errors="backslashreplace").decode()
