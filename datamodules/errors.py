"""The one error that data can cause and a user can mend."""


class DataError(Exception):
    """Data on disk is not as expected: one sentence with the file, what was expected and what mends it.

    The command line prints it without a traceback and exits with status 2.
    """
